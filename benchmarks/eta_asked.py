"""What a workflow's ETA said while it ran, looked up at shares of what it took in the end.

In: sampling, looking up, judging. Not in: which workflows (:mod:`benchmarks.workloads.eta_truth`).
"""

import math
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.judging import Row
from fitcast.errors import WaitTimeoutError
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.session.workflow import Workflow

EVERY_S = 0.1
SHARES = (0.0, 0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said at a time, and what was true."""

    share: float  # of the makespan that had gone
    gone_s: float
    p10_s: float
    p50_s: float
    p90_s: float
    rest_s: float  # what there was still to come

    @property
    def is_inside(self) -> bool:
        """Whether the truth lay within P10 to P90."""
        return self.p10_s <= self.rest_s <= self.p90_s

    @property
    def error(self) -> float:
        """By what share of the whole the end was mistaken."""
        return (self.p50_s - self.rest_s) / (self.gone_s + self.rest_s)

    @property
    def error_of_rest(self) -> float:
        """By what share of what was still to come."""
        return (self.p50_s - self.rest_s) / self.rest_s


def asked_until_over(workflow: Workflow, timeout_s: float) -> list[tuple[float, Eta]]:
    """Return (seconds since submission, ETA), the forecast at submission first.

    Raises
    ------
    WaitTimeoutError
        It took longer than `timeout_s`; it was cancelled.
    """
    samples = [(0.0, workflow.forecast)]
    until_s = time.monotonic() + timeout_s
    while True:
        try:
            workflow.wait(EVERY_S)
            return samples
        except WaitTimeoutError:
            if time.monotonic() > until_s:
                workflow.cancel()
                raise
        gone_s, eta = workflow.took_s, workflow.eta
        if workflow.state in ("preparing", "running"):  # else it ended a moment ago
            samples.append((gone_s, eta))


def answers_at(
    samples: Sequence[tuple[float, Eta]], took_s: float, shares: Sequence[float] = SHARES
) -> list[Answer]:
    """Look up what had last been said when each share of the makespan had gone.

    An answer is as old as the sample; what remained is counted from then.
    """
    times = [gone_s for gone_s, _ in samples]
    answers = []
    for share in shares:
        gone_s, eta = samples[max(0, bisect_right(times, share * took_s) - 1)]
        answers.append(Answer(share, gone_s, eta.p10_s, eta.p50_s, eta.p90_s, took_s - gone_s))
    return answers


def judged(name: str, answers: Sequence[Answer]) -> Row:
    """Return coverage and errors of answers as a row."""
    if not answers:
        return {"": name, "asked": 0}
    errors = np.abs([answer.error for answer in answers])
    of_rest = np.abs([answer.error_of_rest for answer in answers])
    return {
        "": name,
        "asked": len(answers),
        "in P10–P90": float(np.mean([answer.is_inside for answer in answers])),
        "median |error|": float(np.median(errors)),
        "P90 |error|": float(np.quantile(errors, 0.9)),
        "median |error| of the rest": float(np.median(of_rest)),
    }


def number(row: Row, column: str) -> float:
    """Return a cell, NaN if the row has none."""
    return float(row.get(column, math.nan))
