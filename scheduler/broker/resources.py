"""CPUs, memory and GPUs as one thing. Pure."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each resource; of resource-seconds where that is said."""

    cpus: float = 0.0
    memory_bytes: float = 0.0
    gpus: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """All that is left to do of a workflow, and what it can use at once."""

    cpu_s: float = 0.0
    memory_byte_s: float = 0.0
    gpu_s: float = 0.0
    most: Resources = field(default_factory=Resources)
