"""Predictions of fits that are in memory, as results in a store are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from fitcast.history.records import Outcome
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.prepared import PreparedSweep
from fitcast.trainer.sweep.results import OutOfFold


@dataclass(frozen=True, slots=True)
class Here:
    """Predictions in memory."""

    array: npt.NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""
        return self.array.shape

    def load(self) -> npt.NDArray[Any]:
        """Return the array."""
        return self.array


def out_of_fold(prepared: PreparedSweep, measured: Mapping[str, Measured]) -> OutOfFold:
    """Return the predictions of a sweep's fits for every row."""

    def predicted(fit_id: str) -> Here | None:
        one = measured.get(fit_id)
        if one is None or one.outcome != Outcome.SUCCEEDED or one.predictions is None:
            return None
        return Here(one.predictions)

    return OutOfFold(prepared.submission, prepared.test_rows, predicted)
