"""The speed of one core of this machine, relative to the one that the prior was measured on.

In: a micro-benchmark of about a second, and keeping its answer per host. Not in: what a forecast
makes of it (:meth:`fitcast.sizing.learning.model.SizingModel.for_machine`).

Four kernels typical of fits: accumulating histograms (memory), sorting, multiplying matrices,
growing a tree in compiled code. Each is timed by its thread's own CPU time and the
quickest of several rounds counts, so that other work on the machine disturbs little. The speed is
the geometric mean of the kernels' speeds.
"""

import json
import math
import os
import platform
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

REFERENCE_S = {"histogram": 0.00384, "sorting": 0.01378, "matrix": 0.0038, "tree": 0.0262}
"""Seconds of each kernel on the machine of the campaign (two cores of a virtual x86-64 server)."""

_ROUNDS = 12
_VERSION = 1  # another benchmark needs another measurement
_LEAST, _MOST = 0.02, 50.0  # beyond, something went wrong


def machine_speed(cache: Path | None = None) -> float:
    """Return the speed of one core; 1.0 is the reference machine's, 2.0 twice as fast.

    Parameters
    ----------
    cache
        File that keeps what was measured, by host and processor; without one, or if it can't be
        read or written, it is measured anew.
    """
    key = f"{_VERSION} {socket.gethostname()} {_processor()}"
    kept = _read(cache)
    speed = kept.get(key)
    if speed is None:
        speed = kept[key] = round(speed_of(measure_kernels()), 3)
        _write(cache, kept)
    return speed


def speed_of(seconds: dict[str, float]) -> float:
    """Return the speed that kernels' seconds tell."""
    ratios = [math.log(REFERENCE_S[name] / max(took, 1e-9)) for name, took in seconds.items()]
    return min(max(math.exp(sum(ratios) / len(ratios)), _LEAST), _MOST)


def measure_kernels(rounds: int = _ROUNDS) -> dict[str, float]:
    """Return the CPU seconds of each kernel, the quickest of some rounds."""
    from threadpoolctl import threadpool_limits

    kernels = _kernels()
    best = dict.fromkeys(kernels, math.inf)
    with threadpool_limits(1):
        for _ in range(rounds):
            for name, kernel in kernels.items():
                start = time.thread_time()
                kernel()
                best[name] = min(best[name], time.thread_time() - start)
    return best


def _kernels() -> dict[str, Callable[[], object]]:
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(0)
    bins = rng.integers(0, 1_000_000, 1_000_000)  # beyond the caches of most cores
    weights = rng.random(1_000_000)
    numbers = rng.random(300_000)
    square = rng.random((360, 360))
    X, y = rng.random((3_000, 10)), rng.random(3_000)
    tree = DecisionTreeRegressor(min_samples_leaf=5, random_state=0)
    return {
        "histogram": lambda: np.bincount(bins, weights),
        "sorting": lambda: np.sort(numbers),
        "matrix": lambda: square @ square @ square,
        "tree": lambda: tree.fit(X, y).predict(X),
    }


def _processor() -> str:
    """Return what processor this is, and how many of it: a cloud's hosts share names."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} × {os.cpu_count()}"
    return f"{platform.machine()} × {os.cpu_count()}"


def _read(cache: Path | None) -> dict[str, float]:
    if cache is None:
        return {}
    try:
        kept = json.loads(cache.read_text(encoding="utf-8"))
        return {str(k): float(v) for k, v in kept.items() if _LEAST <= float(v) <= _MOST}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _write(cache: Path | None, kept: dict[str, float]) -> None:
    if cache is None:
        return
    with suppress(OSError):  # it is measured again next time
        written = cache.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        written.replace(cache)
