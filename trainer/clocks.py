"""The clocks that durations are measured by, out of reach of code that patches clocks.

In: the monotonic clock and the one for short durations. Not in: the time of day, which only
timestamps are made of. A fit may replace ``time.time`` and its like, and forget to put them back:
what it took would be nonsense, and negative. Libraries that do so look through the attributes of
modules, so the functions are held elsewhere.
"""

import time


class Clocks:
    """The clocks as they were before any user code ran."""

    def __init__(self) -> None:
        self._held = (time.monotonic, time.perf_counter)

    def monotonic_s(self) -> float:
        """Return the monotonic clock."""
        return self._held[0]()

    def performance_s(self) -> float:
        """Return the clock for short durations."""
        return self._held[1]()

    def patched_by_s(self) -> float:
        """Return how far the time of day, as user code sees it, is from the monotonic clock."""
        return time.time() - self._held[0]()


CLOCKS = Clocks()
