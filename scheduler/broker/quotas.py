"""What a user may still submit or run, and what to tell them if not. Pure.

A quota of None is no limit. Each check returns a reason in words for the user, empty if there is
none. What is charged to whom is kept in the store.
"""

from dataclasses import dataclass

from fitcast.scheduler.broker.resources import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most that a user may have of each; None is no limit."""

    running_cpus: float | None = None
    running_memory_bytes: int | None = None
    queued_fits: int | None = None
    stored_bytes: int | None = None

    @property
    def bounds_submissions(self) -> bool:
        """Whether it may refuse a submission."""
        return self.queued_fits is not None or self.stored_bytes is not None


def why_not_submitted(
    quota: Quota, *, queued_fits: int, stored_bytes: int, more_fits: int, more_bytes: int
) -> str:
    """Return why a user may not submit a workflow; empty if they may.

    Parameters
    ----------
    quota : Quota
        Of the user.
    queued_fits, stored_bytes : int
        What the user has now: fits of workflows that haven't ended, and bytes kept of all.
    more_fits, more_bytes : int
        What the workflow would add.
    """
    most_fits, most_bytes = quota.queued_fits, quota.stored_bytes
    if most_fits is not None and queued_fits + more_fits > most_fits:
        if more_fits > most_fits:
            return (
                f"the workflow has {more_fits:,} fits and your quota is {most_fits:,} fits that "
                "haven't ended; submit it in parts, or ask an administrator for more"
            )
        return (
            f"{queued_fits:,} of your fits haven't ended, and {more_fits:,} more would exceed your "
            f"quota of {most_fits:,}; wait for workflows to end, or cancel one"
        )
    if most_bytes is not None and stored_bytes + more_bytes > most_bytes:
        if more_bytes > most_bytes:
            return (
                f"the workflow's files have {_size(more_bytes)} and your quota is "
                f"{_size(most_bytes)}; use a smaller dataset, or ask an administrator for more"
            )
        return (
            f"your workflows keep {_size(stored_bytes)}, and {_size(more_bytes)} more would exceed "
            f"your quota of {_size(most_bytes)}; remove workflows that you no longer need"
        )
    return ""


def why_not_run(quota: Quota, used: Resources, more: Resources | None = None) -> str:
    """Return why a user may not run more now; empty if they may.

    Parameters
    ----------
    quota : Quota
        Of the user.
    used : Resources
        What the user's running workflows have.
    more : Resources, optional
        What would be added; by default anything at all.
    """
    add = more or Resources()
    checks = (
        (quota.running_cpus, used.cpus, add.cpus, "{:,.0f} CPUs".format),
        (quota.running_memory_bytes, used.memory_bytes, add.memory_bytes, _size),
    )
    for most, has, adds, told in checks:
        if most is None:
            continue
        if has >= most if more is None else adds > 0.0 and has + adds > most * (1.0 + 1e-9):
            return (
                f"your running workflows have {told(has)} and your quota is {told(most)}; it "
                "begins when one of them ends"
            )
    return ""


def at_most(quota: Quota, capacity: Resources) -> Resources:
    """Return what a user may run at once of what there is."""
    cpus, memory = quota.running_cpus, quota.running_memory_bytes
    return Resources(
        capacity.cpus if cpus is None else min(cpus, capacity.cpus),
        capacity.memory_bytes if memory is None else min(memory, capacity.memory_bytes),
        capacity.gpus,
    )


def _size(count: float) -> str:
    """Return bytes as people read them."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000.0:
            return f"{count:,.0f} {unit}"
        count /= 1000.0
    return f"{count:,.1f} TB"
