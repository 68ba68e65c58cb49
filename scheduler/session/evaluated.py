"""What fits of a search gave, in the words of scikit-learn's searches.

In: results of single fits, errors of fits as exceptions, the lines that ``verbose`` asks for. Not
in: running them (:mod:`fitcast.scheduler.session.searching`).
"""

import builtins
import warnings
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

import cloudpickle
import numpy as np
import sklearn.exceptions
from joblib.logger import short_format_time

from fitcast.errors import InvalidSweepError, WorkflowFailedError
from fitcast.history.records import Outcome
from fitcast.scheduler.run.views import FitRow
from fitcast.trainer.attempt.spec import Measured

_Kind = TypeVar("_Kind", bound=BaseException)

_MOST_WARNINGS = 20
_LINE_CHARS = 80


def results_of(
    rows: Sequence[FitRow], *, names: Sequence[str] | None, several: bool, error_score: Any
) -> list[dict[str, Any]]:
    """Return what scikit-learn's ``_fit_and_score`` would have returned, fit by fit.

    Parameters
    ----------
    rows
        Fits on folds, settled.
    names
        Of the scorers, where there are several.
    several
        Whether a single score called "score" is one of several that a callable returned.
    error_score
        As the search has it.

    Raises
    ------
    InvalidSweepError
        What a scorer returned is no score.
    """
    several = several or any(
        name != "score" for row in rows if row.measured for name in row.measured.scores
    )
    failed: Any = error_score if names is None else dict.fromkeys(names, error_score)
    out = []
    for row in rows:
        measured = row.measured
        result: dict[str, Any] = {"n_test_samples": row.fit.request.rows_test, "fit_error": None}
        if row.outcome is Outcome.SUCCEEDED and measured is not None:
            result["fit_time"] = measured.fit_time_s
            result["score_time"] = measured.score_time_s
            result["test_scores"] = _scores(measured.scores, several)
            result["train_scores"] = _scores(measured.train_scores, several)
        else:
            if measured is not None and measured.error_type == InvalidSweepError.__name__:
                raise InvalidSweepError(measured.error_message)
            result["fit_error"] = said(row)
            result["fit_time"] = measured.runtime_s if measured is not None else 0.0
            result["score_time"] = 0.0
            result["test_scores"] = result["train_scores"] = failed
        out.append(result)
    return out


def said(row: FitRow) -> str:
    """Return what is known of a fit's failure."""
    trace = row.measured.traceback if row.measured is not None else ""
    return trace or row.error or "it ended without a result"


def error_of(row: FitRow) -> Exception:
    """Return the exception that a fit failed with, or one like it, caused by one of ours."""
    ours = WorkflowFailedError(
        f"fit {row.fit.fit_id} ({row.fit.candidate.label}) failed:\n{said(row)}"
    )
    measured = row.measured
    if measured is None or not measured.error_type:
        return ours
    kind = _kind(measured)
    if kind is None:
        return ours
    try:
        error = kind(measured.error_message)
    except Exception:  # it isn't made of a message; whoever catches its class does so all the same
        try:
            error = kind.__new__(kind)
            error.args = (measured.error_message,)
        except Exception:
            return ours
    error.__cause__ = ours
    return error


def raise_exit(rows: Iterable[FitRow]) -> None:
    """Raise what ended fits, if it was no mere error: no error score stands for that.

    scikit-learn lets ``SystemExit`` and the like through, so that a script ends with it.
    """
    for row in rows:
        name = row.measured.error_type if row.measured is not None else ""
        kind = _member(builtins, name, BaseException)
        if row.measured is None or kind is None or issubclass(kind, Exception):
            continue
        said: Any = row.measured.error_message
        if kind is SystemExit:  # its text would be printed, and the status be 1
            said = int(said) if said.removeprefix("-").isdecimal() else said or None
        raise kind(said) from error_of(row)


def warn_again(rows: Iterable[FitRow]) -> None:
    """Give the warnings of fits to whoever waits for them, each once."""
    texts: dict[str, None] = {}
    for row in rows:
        if row.measured is not None:
            texts.update(dict.fromkeys(row.measured.warnings))
    for text in list(texts)[:_MOST_WARNINGS]:
        name, _, message = text.partition(": ")
        kind: type[Warning] = _class(name, Warning) or UserWarning
        if not message:
            message = text
        warnings.warn(message, kind, stacklevel=2)


def lines_of(
    row: FitRow,
    params: Mapping[str, Any],
    *,
    verbose: int,
    fold: tuple[int, int],
    candidate: tuple[int, int],
) -> list[str]:
    """Return what ``verbose`` asks to be told about a fit, whose numbers count from 0."""
    where = f" {fold[0] + 1}/{fold[1]}" if verbose > 2 else ""
    if verbose > 9:
        where += f"; {candidate[0] + 1}/{candidate[1]}"
    shown = ", ".join(f"{name}={params[name]}" for name in sorted(params))
    lines = []
    if verbose > 9:
        start = f"[CV{where}] START {shown}"
        lines.append(f"{start}{'.' * (_LINE_CHARS - len(start))}")
    measured = row.measured
    took_s = 0.0
    told = f"{shown};" if shown else ""
    if measured is not None:
        took_s = measured.fit_time_s + measured.score_time_s
        if verbose > 2 and measured.scores:
            told += _told(measured)
    told += f" total time={short_format_time(took_s)}"
    head = f"[CV{where}] END "
    lines.append(f"{head}{'.' * (_LINE_CHARS - len(head) - len(told))}{told}")
    return lines


def have_callbacks(search: Any, base: Any, candidates: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether somebody has set scikit-learn's callbacks on the search or within it."""
    values = [search, base, *base.get_params(deep=True).values()]
    values.extend(value for params in candidates for value in params.values())
    return any(getattr(value, "_skl_callbacks", None) for value in values)


def opened_model(model: bytes) -> Any:
    """Return a fitted model; None if it can't be opened here."""
    try:
        return cloudpickle.loads(model)
    except Exception as error:
        warnings.warn(
            f"the best candidate is fitted once more, in this process: the model that a worker "
            f"fitted can't be opened here ({type(error).__name__}: {error})",
            stacklevel=5,
        )
        return None


def _told(measured: Measured) -> str:
    train = measured.train_scores
    if list(measured.scores) == ["score"]:
        score = measured.scores["score"]
        if train:
            return f", score=(train={train['score']:.3f}, test={score:.3f})"
        return f", score={score:.3f}"
    parts = []
    for name in sorted(measured.scores):
        both = f"train={train[name]:.3f}, " if name in train else ""
        parts.append(f" {name}: ({both}test={measured.scores[name]:.3f})")
    return "".join(parts)


def _scores(scores: Mapping[str, float], several: bool) -> Any:
    return dict(scores) if several else scores.get("score")


def _kind(measured: Measured) -> type[Exception] | None:
    """Return the class of the exception that ended a fit, if it is known here."""
    found = _class(measured.error_type, Exception)
    if found is not None:
        return found
    for line in reversed(measured.traceback.splitlines()):
        path = line.partition(":")[0]
        if path.rpartition(".")[2] == measured.error_type:
            return _subclass(path)
    return None


def _subclass(path: str) -> type[Exception] | None:
    """Return the class of exceptions that tracebacks show as this, wherever it was defined."""
    seen, new = set[type[Exception]](), [Exception]
    while new:
        kind = new.pop()
        if kind in seen:
            continue
        seen.add(kind)
        module = "" if kind.__module__ in ("__main__", "builtins") else f"{kind.__module__}."
        # In fits, classes that came by value are named without what they were defined in.
        if path in (f"{module}{kind.__qualname__}", f"{module}{kind.__name__}"):
            return kind
        new.extend(kind.__subclasses__())
    return None


def _class(name: str, base: type[_Kind]) -> type[_Kind] | None:
    for module in (builtins, sklearn.exceptions, np.exceptions):
        found = _member(module, name, base)
        if found is not None:
            return found
    return None


def _member(module: ModuleType | None, name: str, base: type[_Kind]) -> type[_Kind] | None:
    found = vars(module).get(name) if module is not None else None
    return found if isinstance(found, type) and issubclass(found, base) else None
