"""What gives workers: this machine, and a simulator in virtual time."""
