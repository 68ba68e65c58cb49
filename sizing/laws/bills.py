"""What fits within a fit cost together: sums, repetitions, and what of the data they get.

In: helpers of :mod:`fitcast.sizing.laws.composition` and :mod:`fitcast.sizing.laws.wrappers`. Not
in: how often a wrapper fits what.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import between, is_sparse, item_bytes

_GAUSS_POINTS = 3  # exact for polynomials up to the fifth degree
_GAUSS_NODE = math.sqrt(0.6)
_GAUSS_SIDE = 5.0 / 18.0

MAX_COUNT = 1e15
"""Inner fits; more are not meant seriously."""


@dataclass(frozen=True, slots=True)
class Bill:
    """What one or several fits cost, one after the other, at one thread."""

    serial_s: float = 0.0
    parallel_s: float = 0.0  # seconds of work that threads divide
    threading_s: float = 0.0
    memory_bytes: float = 0.0  # the most that is held at once, above the data that came in
    kept_bytes: float = 0.0  # of it, what stays: fitted models
    laws: Mapping[str, float] = field(default_factory=dict)  # seconds by the law that says so
    unsure: float = 0.0  # standard deviation of its logarithm, beside the laws' own
    text: str = ""

    @property
    def seconds(self) -> float:
        """All of its seconds."""
        return self.serial_s + self.parallel_s

    def times(self, count: float, *, kept: bool = False) -> "Bill":
        """Return the bill of as many like it.

        Parameters
        ----------
        count
            How many.
        kept
            Whether all fitted models are kept, or none.
        """
        count = between(count, 0.0, MAX_COUNT)
        held = self.kept_bytes * max(0.0, count - 1.0) if kept else 0.0
        return Bill(
            serial_s=count * self.serial_s,
            parallel_s=count * self.parallel_s,
            threading_s=count * self.threading_s,
            memory_bytes=held + (self.memory_bytes if count else 0.0),
            kept_bytes=self.kept_bytes * count if kept else 0.0,
            laws={name: count * seconds for name, seconds in self.laws.items()},
            unsure=self.unsure,
            text=self.text,
        )

    def more(
        self, *, seconds: float = 0.0, memory: float = 0.0, unsure: float = 0.0, text: str = ""
    ) -> "Bill":
        """Return the bill with seconds of its own, memory held all the while, and another text."""
        return Bill(
            self.serial_s + seconds,
            self.parallel_s,
            self.threading_s,
            self.memory_bytes + memory,
            self.kept_bytes,
            self.laws,
            math.hypot(self.unsure, unsure),
            text or self.text,
        )


def together(bills: Iterable[Bill]) -> Bill:
    """Return the bill of fits one after the other; what each keeps is held during the next."""
    serial = parallel = threading = most = kept = unsure = 0.0
    laws: dict[str, float] = {}
    text = ""
    for bill in bills:
        serial += bill.serial_s
        parallel += bill.parallel_s
        threading += bill.threading_s
        most = max(most, kept + bill.memory_bytes)
        kept += bill.kept_bytes
        unsure += bill.unsure * bill.seconds
        for name, seconds in bill.laws.items():
            laws[name] = laws.get(name, 0.0) + seconds
        text = text or bill.text
    seconds = serial + parallel
    return Bill(
        serial, parallel, threading, most, kept, laws, unsure / seconds if seconds else 0.0, text
    )


def sized(
    data: Described,
    *,
    rows: float | None = None,
    tests: float = 0.0,
    columns: float | None = None,
    classes: float | None = None,
) -> Described:
    """Return the same data with other rows, columns or classes.

    Parameters
    ----------
    data
        The data.
    rows, columns, classes
        As many instead; None leaves them.
    tests
        Rows that are predicted.
    """
    rows = between(data.rows_train if rows is None else rows, 1.0, 1e13)
    tests = between(tests, 0.0, 1e13)
    columns = between(data.columns if columns is None else columns, 1.0, 1e12)
    density = data.nonzeros / (data.rows_train * data.columns)
    # Fewer rows are less data in the memory that they lie in.
    cells = (rows + tests) * columns
    share = cells / ((data.rows_train + data.rows_test) * data.columns)
    return replace(
        data,
        rows_train=rows,
        rows_test=tests,
        columns=columns,
        nonzeros=max(1.0, rows * columns * density),
        data_bytes=data.data_bytes * share,
        classes=data.classes if classes is None else classes,
    )


def copied_bytes(data: Described) -> float:
    """Return the bytes of a copy of the rows, those that train and those that are predicted."""
    share = 1.0 + data.rows_test / data.rows_train
    return (12.0 if is_sparse(data) else item_bytes(data)) * data.nonzeros * share


def along(first: float, last: float, count: float, most: int) -> list[tuple[float, float]]:
    """Return values evenly from one to another, each with how many it stands for.

    Parameters
    ----------
    first, last
        The ends.
    count
        How many values there are.
    most
        How many to look at.
    """
    count = between(count, 0.0, MAX_COUNT)
    if count < 1.0:
        return []
    if count <= most:
        step = (last - first) / max(1.0, count - 1.0)
        return [(first + number * step, 1.0) for number in range(int(count))]
    middle = 0.5 * (first + last)
    if most < _GAUSS_POINTS:
        return [(middle, count)]
    away = _GAUSS_NODE * 0.5 * (last - first)
    side, centre = count * _GAUSS_SIDE, count * (1.0 - 2.0 * _GAUSS_SIDE)
    return [(middle - away, side), (middle, centre), (middle + away, side)]
