"""What runs on a worker: sweep → fits, the sealed dataset, shared memory, the measured fit."""
