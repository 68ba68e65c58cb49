"""What the records of a workflow say together: candidates, algorithms, the best, what was lost.

Pure. Not in here: its words (:mod:`fitcast.history.review.description`), accuracy over many
workflows (:mod:`fitcast.history.review.accuracy`).
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fitcast.history.presentation import algorithm_name
from fitcast.history.records import REFIT_FOLD, Outcome, Record

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class CandidateFits:
    """A candidate's fits, without its refit."""

    index: int
    label: str
    records: tuple[Record, ...]  # of all attempts

    @property
    def done(self) -> list[Record]:
        """The attempts that succeeded, one per fold."""
        return [r for r in self.records if r.outcome is Outcome.SUCCEEDED]

    def scores(self, name: str) -> list[float]:
        """Return the score of each fold that has one."""
        return [r.scores[name] for r in self.done if name in r.scores]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a workflow's records say together."""

    records: tuple[Record, ...]
    candidates: tuple[CandidateFits, ...]
    score: str  # the name of the deciding score; "" if there is none
    best: int | None  # the index of the best candidate

    @property
    def best_candidate(self) -> CandidateFits | None:
        """The best candidate."""
        return next((c for c in self.candidates if c.index == self.best), None)

    @property
    def best_score(self) -> float | None:
        """The mean of its deciding score; None if it has none."""
        best = self.best_candidate
        scores = [] if best is None else best.scores(self.score)
        return mean(scores) if scores else None


def summarise(records: Sequence[Record], refit: str = "") -> Summary:
    """Return what the records of one workflow say together.

    Parameters
    ----------
    records
        Of all attempts.
    refit
        What the sweep's refit goes by: the name of a score, or anything else.
    """
    by_index: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        if record.fold != REFIT_FOLD:
            by_index[record.candidate_index].append(record)
    candidates = tuple(
        CandidateFits(i, own[0].candidate, tuple(own)) for i, own in by_index.items()
    )
    names = sorted({name for r in records for name in r.scores})
    score = refit if refit in names else "score" if "score" in names else names[0] if names else ""
    chosen = {r.candidate_index for r in records if r.fold == REFIT_FOLD}
    best = None
    if len(chosen) == 1:  # the sweep's own rule has decided
        (best,) = chosen
    elif len(names) == 1:
        known = [(mean(c.scores(score)), -c.index) for c in candidates if c.scores(score)]
        finite = [one for one in known if math.isfinite(one[0])]
        best = -max(finite)[1] if finite else None
    order = {True: 0, False: 1}
    ranked = sorted(
        candidates,
        key=lambda c: (
            order[c.index == best],
            -mean(c.scores(score)) if c.scores(score) else math.inf,
            c.index,
        ),
    )
    return Summary(tuple(records), tuple(ranked), score, best)


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else NAN


def median(values: Sequence[float]) -> float:
    """Return the median; NaN of nothing."""
    return statistics.median(values) if values else NAN


def by_algorithm(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Return the records of each algorithm, by its name."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[algorithm_name(record)].append(record)
    return dict(sorted(found.items()))


def runtime_errors(records: Sequence[Record]) -> list[float]:
    """Return log(forecast / measured) of the runtime of each fit that has both."""
    return [
        # a difference, as a ratio of numbers that differ by so much may be 0 or infinite
        math.log(r.estimate.runtime_s_p50) - math.log(r.undisturbed_s)
        for r in _judged(records)
        if r.estimate is not None and r.estimate.runtime_s_p50 > 0
    ]


def inside_share(records: Sequence[Record]) -> float:
    """Return the share of fits whose runtime lay within its P10 to P90, which should be 80 %."""
    inside = [
        r.estimate.runtime_s_p10 <= r.undisturbed_s <= r.estimate.runtime_s_p90
        for r in _judged(records)
        if r.estimate is not None
    ]
    return mean([float(one) for one in inside])


def above_memory_share(records: Sequence[Record]) -> float:
    """Return the share of fits that needed more memory than their P95, which should be 5 %."""
    above = [
        r.peak_memory_bytes > r.estimate.peak_memory_bytes_p95
        for r in _judged(records)
        if r.estimate is not None and r.peak_memory_bytes is not None
    ]
    return mean([float(one) for one in above])


def wasted_gb_hours(records: Sequence[Record]) -> float:
    """Return the memory that fits held and didn't use, times how long, in 10⁹ bytes × hours.

    Of attempts that ran out of memory or time, all that they held is wasted.
    """
    lost = {Outcome.OUT_OF_MEMORY, Outcome.OUT_OF_TIME}
    total = 0.0
    for r in records:
        if r.imported or r.memory_limit_bytes <= 0 or r.memory_limit_bytes >= 2**62:
            continue
        used = r.peak_memory_bytes
        if r.outcome in lost:
            total += r.memory_limit_bytes * r.runtime_s
        elif used is not None:
            total += max(0, r.memory_limit_bytes - used) * r.runtime_s
    return total / 1e9 / 3600


def _judged(records: Sequence[Record]) -> list[Record]:
    return [
        r
        for r in records
        if r.outcome is Outcome.SUCCEEDED
        and r.estimate is not None
        and not r.imported
        and r.undisturbed_s > 0
    ]
