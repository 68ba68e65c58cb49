"""Maps functions over processes with a thread each."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

Answer = TypeVar("Answer")


def mapped(function: Callable[..., Answer], *several: Iterable[Any]) -> list[Answer]:
    """Return what a function of a module answers, in order; as many at once as there are CPUs."""
    # Not forked: libraries of this process have threads, whose locks a fork would leave locked.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_single_thread) as pool:
        return list(pool.map(function, *several))


def _single_thread() -> None:
    import numpy  # noqa: F401 - its BLAS must be there to be limited
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
