"""Waiting for something to become true.

The bound only decides that a test has failed: no test may need it to pass, so that none fails
because the machine is busy.
"""

import time
from collections.abc import Callable
from typing import Any

LONGEST_S = 120.0
"""Longer than anything takes on a busy machine, shorter than the time limit of a test."""


def wait_for(condition: Callable[[], Any], timeout_s: float = LONGEST_S) -> bool:
    """Wait until a condition holds; return whether it does."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True
