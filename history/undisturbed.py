"""What a fit would have taken on a machine that nothing disturbs, from what was measured beside it.

Pure: numbers in, numbers out. Not in: where the numbers are read
(:mod:`fitcast.trainer.attempt.task_waits`), what a forecast makes of a busy machine
(:mod:`fitcast.scheduler.forecast.availability`).

A fit's time is work on a core, waiting that is its own (for a disk, another process, a timer), and
waiting for a core. Only the last tells of others, so only that is taken off; it is measured as the
kernel counts it: a thread that is ready to run and has no core, because others have them, because
the quota of its control group is used up, or because the hypervisor took the core away.
"""

import math

DISTURBED_SD = 0.3
"""Standard deviation, in natural logarithms, of what is left of a runtime once all of it but a
trace was waiting for a core: caches that others emptied and cores that share their units cost CPU
time too, and that can't be told from work. In between it is in proportion to the share lost."""


def undisturbed_s(
    runtime_s: float, cpu_s: float | None, cpu_wait_s: float | None, threads: int
) -> float:
    """Return the seconds that an attempt would have taken if it had got a core whenever it wanted.

    Parameters
    ----------
    runtime_s : float
        Wall clock of the attempt, in seconds.
    cpu_s : float or None
        CPU seconds of all its threads and processes.
    cpu_wait_s : float or None
        Seconds for which these were ready to run and had no core, summed; None if not measured.
    threads : int
        Threads that it was given. One that makes more of them than that isn't disturbed by them:
        on average it is charged its CPU time over the threads given, as it will be beside others.

    Returns
    -------
    float
        `runtime_s` if nothing was measured; never more than that, and never less than its CPU
        time on `threads` cores.
    """
    known = cpu_s is not None and cpu_wait_s is not None
    if not known or not math.isfinite(runtime_s) or runtime_s <= 0.0:
        return runtime_s
    assert cpu_s is not None
    assert cpu_wait_s is not None
    if not (math.isfinite(cpu_s) and cpu_wait_s > 0.0 and cpu_s >= 0.0):
        return runtime_s
    # Threads that wait side by side lose that time once: it is shared by as many as wanted cores.
    abreast = max(1.0, (cpu_s + cpu_wait_s) / runtime_s)
    least_s = cpu_s / max(1, threads)
    return min(runtime_s, max(runtime_s - cpu_wait_s / abreast, least_s))


def disturbed_sd(runtime_s: float, alone_s: float) -> float:
    """Return how unsure an undisturbed runtime is by the disturbance, in natural logarithms."""
    if not (math.isfinite(runtime_s) and runtime_s > 0.0):
        return 0.0
    return DISTURBED_SD * min(max(1.0 - alone_s / runtime_s, 0.0), 1.0)


def availability_of(cpu_s: float | None, cpu_wait_s: float | None) -> float | None:
    """Return the share of a core that threads got of what they wanted; None if it isn't known."""
    if cpu_s is None or cpu_wait_s is None or not cpu_s > 0.0 or not cpu_wait_s >= 0.0:
        return None
    return cpu_s / (cpu_s + cpu_wait_s)


def whole_wait_s(seen_cpu_s: float, seen_wait_s: float, cpu_s: float) -> float:
    """Return how long all threads waited, where some had ended before they were looked at.

    Parameters
    ----------
    seen_cpu_s, seen_wait_s : float
        Of the threads that were seen.
    cpu_s : float
        Of all of them: an ended thread's CPU time stays with its process, its waiting doesn't. It
        is taken to have waited as the others did, but for processes that only looked on.
    """
    if seen_cpu_s <= 0.0:
        return seen_wait_s
    return seen_wait_s * min(max(cpu_s / seen_cpu_s, 1.0), _MOST_UNSEEN)


def stolen_s(cpu_s: float, stolen: float, busy: float) -> float:
    """Return the seconds of an attempt that the hypervisor took, by the machine's account.

    Parameters
    ----------
    cpu_s : float
        CPU seconds of the attempt.
    stolen, busy : float
        Of the whole machine meanwhile, in one unit: what was stolen, and what its cores worked.
    """
    if stolen <= 0.0 or busy <= 0.0 or cpu_s <= 0.0:
        return 0.0
    return cpu_s * stolen / max(busy, stolen)


_MOST_UNSEEN = 20.0
