"""A submission as JSON, and back.

In: the one fixed layout of a stored submission, with its version. Not in: where it is kept
(:mod:`fitcast.scheduler.kept.workflow_folder`), and what is sealed beside it
(:mod:`fitcast.trainer.sweep.sealed_sweep`).
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any, Final, get_args, get_origin, get_type_hints

from fitcast.errors import SubmissionError
from fitcast.history.parts import EstimatorPart, part_from_json, part_to_json
from fitcast.history.records import Request
from fitcast.trainer.sweep.submission import Fit, Round, Submission, SubmittedCandidate

SCHEMA: Final = 2
"""Version of the layout. Readers refuse a newer one; one without rounds is still written as 1."""

_PLAIN: Final = (str, int, float, bool, type(None))
_OF_FOLDS: Final = ("rows_train", "rows_test", "nonzeros")  # what requests of a candidate differ in
_LATER: Final = (
    *("made_of", "targets", "memory_order", "integer_columns", "arrow_columns", "text_columns"),
    *("text_chars", "text_words"),
)
"""Fields of requests that came later. They stand beside the others, where they are of use to who
knows them; among the others, an earlier fitcast would refuse them."""
_OWN: Final = tuple(
    f.name
    for f in fields(Submission)
    if f.name not in ("candidates", "fits", "work_names", "rounds")
)


def to_json(submission: Submission) -> dict[str, Any]:
    """Return a submission as plain JSON values."""
    candidates = []
    for candidate in submission.candidates:
        request = submission.fit(candidate.index, 0).request
        asked = {f.name: getattr(request, f.name) for f in fields(Request)}
        later = {name: asked.pop(name) for name in _LATER}
        if isinstance(later["made_of"], EstimatorPart):
            later["made_of"] = part_to_json(later["made_of"])
        for name in _OF_FOLDS:
            del asked[name]
        candidates.append(
            {
                "label": candidate.label,
                "model": candidate.model,
                "algorithm": candidate.algorithm,
                "request": asked | {"params": dict(candidate.params)},
                "more": later,
            }
        )
    of_splits = {
        fit.fold: fit.request
        for one in submission.rounds or (None,)
        for fit in submission.fits_of(0 if one is None else one.first)
    }
    folds = [of_splits[split] for split in sorted(of_splits)]
    rounds = {"rounds": [asdict(one) for one in submission.rounds]} if submission.rounds else {}
    return {
        "schema": SCHEMA if rounds else 1,
        **rounds,
        **{name: getattr(submission, name) for name in _OWN},
        "folds": [[getattr(request, name) for name in _OF_FOLDS] for request in folds],
        "candidates": candidates,
        "work_names": {str(index): names for index, names in submission.work_names.items()},
    }


def from_json(told: Any) -> Submission:
    """Return the submission that :func:`to_json` wrote.

    Raises
    ------
    SubmissionError
        It is damaged, or of a newer fitcast.
    """
    if not isinstance(told, dict) or type(told.get("schema")) is not int:
        raise SubmissionError("the submission is damaged: it says no version of its layout")
    if told["schema"] > SCHEMA:
        raise SubmissionError(
            f"the submission has layout {told['schema']}, and this fitcast reads up to {SCHEMA}: "
            "install the version that wrote it, or a later one"
        )
    try:
        return _read(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SubmissionError(
            f"the submission is damaged ({type(error).__name__}): submit the sweep again"
        ) from error


def _read(told: dict[str, Any]) -> Submission:
    own = _checked(Submission, {name: told[name] for name in _OWN})
    folds = [dict(zip(_OF_FOLDS, map(int, fold), strict=True)) for fold in told["folds"]]
    rounds = tuple(Round(**_checked(Round, one)) for one in told.get("rounds", ()))
    n_splits, count = own["n_splits"], len(told["candidates"])
    if not rounds:
        firsts = [0] * count
    else:
        _check_rounds(rounds, count)
        firsts = [one.first_split for one in rounds for _ in one.indices]
    splits = {number for first in set(firsts) for number in range(first, first + n_splits)}
    if splits != set(range(len(folds))) or not folds or not count:
        raise ValueError("folds or candidates are missing")
    candidates: list[SubmittedCandidate] = []
    fits: list[Fit] = []
    for index, one in enumerate(told["candidates"]):
        first = firsts[index]
        any_fold = Request(**_checked(Request, one["request"] | folds[first] | _later(one)))
        label, model, algorithm = (str(one[name]) for name in ("label", "model", "algorithm"))
        candidates.append(SubmittedCandidate(index, label, model, algorithm, any_fold.params))
        for number, rows in enumerate(folds[first : first + n_splits], first):
            request = replace(any_fold, **rows)  # type: ignore[arg-type] # they are numbers
            fits.append(Fit(f"c{index:04d}-f{number}", candidates[-1], number, request))
    names = {int(index): [*map(str, each)] for index, each in told["work_names"].items()}
    return Submission(
        candidates=tuple(candidates), fits=tuple(fits), work_names=names, rounds=rounds, **own
    )


def _later(candidate: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a candidate's request beyond the first layout."""
    told = candidate.get("more", {})
    known = {name: told[name] for name in _LATER if name in told}
    if known.get("made_of") is not None:
        known["made_of"] = part_from_json(known["made_of"])
    return known


def _check_rounds(rounds: tuple[Round, ...], candidates: int) -> None:
    """Refuse rounds that don't share the candidates out, or that more go on to than there were."""
    each = rounds[0].potential
    before = each
    for number, one in enumerate(rounds):
        if (one.first, one.potential) != (number * each, each) or not 0 < one.runs <= before:
            raise ValueError("rounds don't follow each other")
        if one.first_split < 0:
            raise ValueError("a round has no folds")
        before = one.runs
    if each * len(rounds) != candidates or rounds[0].runs != each:
        raise ValueError("rounds don't have the candidates")


def _checked(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a class with the types that it says; lists of texts become tuples.

    By hand, as pydantic takes no text with half a surrogate pair in it, which names may have.
    """
    types = get_type_hints(kind)
    return {name: _as(types[name], value) for name, value in values.items()}


def _as(wanted: Any, value: Any) -> Any:
    if wanted is float and type(value) is int:
        return float(value)
    if wanted in (str, int, float, bool):
        if type(value) is wanted:
            return value
    elif get_origin(wanted) is tuple:
        if type(value) is list and all(type(item) is str for item in value):
            return tuple(value)
    elif get_origin(wanted) is Mapping:
        if type(value) is dict and all(type(v) in _PLAIN for v in value.values()):
            return value
    elif type(value) in get_args(wanted):  # a union
        return value
    elif float in get_args(wanted) and type(value) is int:
        return float(value)
    raise TypeError(f"{value!r} is no {wanted}")
