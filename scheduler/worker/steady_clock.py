"""A clock for Dask that never goes back: its own stops everything once the day's is set back.

In: what Dask and the event loop below it take for the time, in processes of ours. Not in: any clock
of fitcast's own, which are monotonic anyway.

Dask waits until moments that it names by the time of day (the next message, the next sign of life),
and so does tornado's loop. If that is set back by an hour, an hour goes by before anything is sent.
Nothing can be configured there. So both are given the time of day when this began, plus what has
gone by since then, suspended or not.
"""

import sys
import time
from typing import Any

_REAL = time.time


class SteadyClock:
    """The time of day at its making, and the seconds that have gone by since."""

    def __init__(self) -> None:
        self._began_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    def time(self) -> float:
        """Return seconds since the epoch."""
        return self._began_s + time.clock_gettime(time.CLOCK_BOOTTIME)


_CLOCK = SteadyClock()


def hold_steady(loop: Any) -> None:
    """Let Dask in this process, and one tornado loop, use a clock that never goes back.

    Parameters
    ----------
    loop : tornado.ioloop.IOLoop
        On which Dask runs here; no other loop is touched.
    """
    import distributed.metrics

    distributed.metrics.time = _CLOCK.time  # for what is imported later
    # A copy, as other threads import meanwhile: a list of the items is not made in one go.
    for name, module in sys.modules.copy().items():
        if name.startswith("distributed.") and vars(module).get("time") is _REAL:
            vars(module)["time"] = _CLOCK.time
    loop.time = _CLOCK.time
