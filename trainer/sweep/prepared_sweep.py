"""A sweep that was found good: its submission, and the user's objects that its fits run on.

Imports nothing of the user's world, as whoever only looks at workflows imports it. Not in: how it
is made (:mod:`fitcast.trainer.sweep.layout`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from fitcast.trainer.attempt.spec import JobBytes
from fitcast.trainer.sweep.submission import Fit, Submission

if TYPE_CHECKING:
    from fitcast.trainer.sweep.datasets import DatasetContent
    from fitcast.trainer.sweep.models import Candidate
    from fitcast.trainer.sweep.prepared import Sweep
    from fitcast.trainer.sweep.reach import Reach


class Chooser(Protocol):
    """Chooses what runs late, where a search does so itself; asked once for each round."""

    def next_round(self, number: int) -> Sequence[int] | None:
        """Return the candidates that go on to a round; None if none do."""

    def best(self) -> int:
        """Return the candidate that is fitted on all rows."""


@dataclass(frozen=True, eq=False)
class PreparedSweep:
    """A sweep that was found good: its submission, and the user's objects that its fits run on.

    All that is sent is pickled already, but for `content`, whose arrays may be the user's own.
    """

    submission: Submission
    candidates: "tuple[Candidate, ...]"
    content: "DatasetContent" = field(repr=False)
    attachments: tuple[bytes, ...] = field(repr=False)  # sent with it: what jobs refer to
    jobs: tuple[JobBytes, ...] = field(repr=False)  # per candidate, for any fold and for the refit
    refit: bool | str | Callable[..., Any]
    sweep: "Sweep"  # its settings, as they were
    chooser: "Chooser | None" = field(
        default=None, repr=False, kw_only=True
    )  # who chooses late rounds, instead of the scores
    _reach: "Reach | None" = field(
        repr=False
    )  # None where nobody else can reach what it was made of

    def job(self, candidate: int) -> JobBytes:
        """Return the job of a candidate, for any of its folds and for its refit."""
        return self.jobs[candidate]

    def is_current(self) -> bool:
        """Tell whether nothing that it was made of was changed since."""
        return self.sweep._is_unchanged(self)

    @property
    def fits(self) -> tuple[Fit, ...]:
        """Its fits, candidate by candidate, fold by fold; without refits."""
        return self.submission.fits

    @property
    def params(self) -> list[dict[str, Any]]:
        """The grid's setting of each candidate, as ``cv_results_["params"]`` has it."""
        return [candidate.params for candidate in self.candidates]

    @property
    def test_rows(self) -> list[npt.NDArray[np.intp]]:
        """The rows that each fold tests."""
        return [test for _, test in self.content.splits]
