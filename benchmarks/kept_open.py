"""For quick runs: workers are started once and kept for all benchmarks.

Otherwise each way starts its own for each turn, so that nobody's idle processes disturb others.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_shelves: "list[tuple[ExitStack, dict[str, Any]]]" = []


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep what is opened by `opened` until this block is left."""
    with ExitStack() as stack:
        _shelves.append((stack, {}))
        try:
            yield
        finally:
            _shelves.pop()


@contextmanager
def opened(name: str, start: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
    """Open something, or give what was opened under this name and is kept."""
    if not _shelves:
        with start() as thing:
            yield thing
        return
    stack, things = _shelves[-1]
    if name not in things:
        things[name] = stack.enter_context(start())
    yield things[name]
