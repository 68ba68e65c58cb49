"""What a user may still submit or run. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most that a user may have of each; None is no limit."""

    running_cpus: float | None = None
    running_memory_bytes: int | None = None
    queued_fits: int | None = None
    stored_bytes: int | None = None
