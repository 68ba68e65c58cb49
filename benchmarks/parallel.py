"""Maps functions over processes with a thread each."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class Processes:
    """As many processes as there are CPUs; they take seconds to start, so keep them."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def mapped(self, function: Callable[..., Answer], *several: Iterable[Any]) -> list[Answer]:
        """Return what a function of a module answers, in order."""
        return list(self._pool.map(function, *several))


@contextmanager
def processes() -> Iterator[Processes]:
    """Give processes to map functions over."""
    # Not forked: libraries of this process have threads, whose locks a fork would leave locked.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=_single_thread) as pool:
        yield Processes(pool)


def _single_thread() -> None:
    import numpy  # noqa: F401 - its BLAS must be there to be limited
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
