"""A workflow as it was taken in: plain data, and its form on disk and on the wire.

In: the submission, what its fits were forecast to cost, how its sealed files are recognised. Not
in: where that is kept (:mod:`fitcast.scheduler.kept.workflow_folder`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from fitcast.history.records import Estimate
from fitcast.trainer.sealing import SealedDataset
from fitcast.trainer.sweep.submission import Fit, Submission
from fitcast.trainer.sweep.submission_file import from_json, to_json

_SEALED: Final = TypeAdapter(SealedDataset)
_ESTIMATES: Final = TypeAdapter(list[Estimate])


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A workflow as it was taken in."""

    workflow_id: str
    submitted_at: datetime
    submission: Submission
    estimates: Mapping[str, Estimate]  # by fit, as forecast at submission
    final_estimate: Estimate | None
    result_bytes: int  # that each fit may give
    dataset: SealedDataset
    sweep: SealedDataset


class DamagedError(Exception):
    """It isn't what was written."""


def accepted_to_json(accepted: Accepted) -> dict[str, Any]:
    """Return it as plain JSON values."""
    return {
        "workflow_id": accepted.workflow_id,
        "submitted_at": accepted.submitted_at.isoformat(),
        "submission": to_json(accepted.submission),
        "estimates": estimates_to_json(
            accepted.submission.fits, accepted.estimates, accepted.final_estimate
        ),
        "result_bytes": accepted.result_bytes,
        "dataset": asdict(accepted.dataset),
        "sweep": asdict(accepted.sweep),
    }


def accepted_from_json(told: Any) -> Accepted:
    """Return what :func:`accepted_to_json` wrote.

    Raises
    ------
    SubmissionError
        The submission in it is damaged, or of a newer fitcast.
    DamagedError
        It isn't what was written.
    """
    try:
        submission = from_json(told["submission"])
        estimates, final = estimates_from_json(submission.fits, told["estimates"])
        return Accepted(
            workflow_id=str(told["workflow_id"]),
            submitted_at=datetime.fromisoformat(told["submitted_at"]),
            submission=submission,
            estimates=estimates,
            final_estimate=final,
            result_bytes=int(told["result_bytes"]),
            dataset=_SEALED.validate_python(told["dataset"]),
            sweep=_SEALED.validate_python(told["sweep"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, ValidationError) as error:
        raise DamagedError(type(error).__name__) from error


def estimates_to_json(
    fits: Sequence[Fit], estimates: Mapping[str, Estimate], final: Estimate | None
) -> dict[str, Any]:
    """Return forecasts of fits, by fit_id, as plain JSON values; each that is distinct once."""
    numbers: dict[int, int] = {}
    distinct: list[Estimate] = []
    for one in estimates.values():
        if id(one) not in numbers:
            numbers[id(one)] = len(distinct)
            distinct.append(one)
    return {
        "distinct": [asdict(one) for one in distinct],
        "fits": [numbers[id(estimates[fit.fit_id])] for fit in fits],
        "final": None if final is None else asdict(final),
    }


def estimates_from_json(
    fits: Sequence[Fit], told: Any
) -> tuple[dict[str, Estimate], Estimate | None]:
    """Return what :func:`estimates_to_json` wrote.

    Raises
    ------
    DamagedError
        It isn't what was written.
    """
    try:
        distinct = _ESTIMATES.validate_python(told["distinct"])
        numbers = zip(fits, told["fits"], strict=True)
        final = told["final"]
        return (
            {fit.fit_id: distinct[number] for fit, number in numbers},
            None if final is None else _ESTIMATES.validate_python([final])[0],
        )
    except (KeyError, TypeError, ValueError, IndexError, ValidationError) as error:
        raise DamagedError(type(error).__name__) from error
