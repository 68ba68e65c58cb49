"""When a background process that has nothing to do ends. No clock of its own."""

from collections.abc import Callable
from threading import Lock


class Idleness:
    """Decides it; a request comes before the end, or finds it decided.

    Parameters
    ----------
    after_s : float
        So long nothing is asked and nothing runs, before it ends.
    is_busy : callable
        Whether a workflow runs.
    now_s : float
        The time, by any steady clock.
    """

    def __init__(self, after_s: float, is_busy: Callable[[], bool], now_s: float) -> None:
        self._after_s = after_s
        self._is_busy = is_busy
        self._last_s = now_s
        self._asking = 0
        self._lock = Lock()
        self.is_ending = False

    def begin(self, now_s: float) -> bool:
        """Note that a request came; False if it is to be refused, as the process is ending."""
        with self._lock:
            if self.is_ending:
                return False
            self._asking += 1
            self._last_s = now_s
            return True

    def end(self, now_s: float) -> None:
        """Note that a request was answered."""
        with self._lock:
            self._asking -= 1
            self._last_s = now_s

    def left_s(self, now_s: float) -> float:
        """Return in how many seconds it may be over; at 0 it is, and requests are refused."""
        busy = self._is_busy()
        with self._lock:
            if busy or self._asking:
                self._last_s = now_s
            left_s = self._last_s + self._after_s - now_s
            if left_s > 0.0 or busy or self._asking:
                return max(left_s, _LEAST_S)
            self.is_ending = True
            return 0.0

    def end_now(self) -> None:
        """Refuse all requests from now on."""
        with self._lock:
            self.is_ending = True


_LEAST_S = 0.05
