"""Time that passes only while somebody waits for it."""

from collections.abc import Callable


class VirtualTime:
    """A clock, and the way to wait by it; `at_wait` says what happens during which wait."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []
        self.at_wait: dict[int, Callable[[], None]] = {}

    def clock(self) -> float:
        return self.now_s

    def wait(self, condition, timeout_s) -> None:
        if timeout_s is None:
            condition.wait()  # for real: until there is something to do
            return
        self.waits_s.append(timeout_s)
        self.now_s += timeout_s
        self.at_wait.get(len(self.waits_s), lambda: None)()
