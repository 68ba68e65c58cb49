"""Pipeline steps that several fits of one process have in common, fitted and applied once.

In: handing out what the earlier fit made. Not in: which steps two pipelines share
(:mod:`fitcast.trainer.reuse`), the fit itself (:mod:`fitcast.trainer.attempt.fitting`).

It uses scikit-learn's own way in: a pipeline's ``memory``. Steps that the next fit has too are
kept: the fitted steps, and the rows as the last of them gave them. Nothing else is held, so a
chain costs one array. What is handed out can't be written to; a fit that tries is run again
without sharing (:attr:`ReusedSteps.gave_something`).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from fitcast.trainer.clocks import CLOCKS


@dataclass(slots=True)
class _Kept:
    """What one fit leaves for the next."""

    names: list[str] = field(default_factory=list)
    fitted: list[Any] = field(default_factory=list)
    rows: Any = None  # as the last step kept gave them
    fit_s: list[float] = field(default_factory=list)


class ReusedSteps:
    """The steps of a fit: taken from the one before where equal, kept for the next where equal.

    Parameters
    ----------
    names : sequence of str
        Of the beginnings of this fit's pipeline: equal names, equal fitted steps.
    keep : int
        How many of its steps the next fit has too.
    before : ReusedSteps, optional
        Those of the fit before.
    copied : bool
        Whether each fit gets fitted steps of its own, as what its scorer does to them is its own
        affair. What they make of test rows isn't shared then.
    """

    def __init__(
        self,
        names: Sequence[str],
        keep: int,
        before: "ReusedSteps | None" = None,
        *,
        copied: bool = False,
    ) -> None:
        self._copied = copied
        self.saved_s = 0.0
        self.gave_something = False
        self._names = list(names)
        self._keep = keep
        self._step = 0
        kept: _Kept = _Kept() if before is None else before._leaves
        usable = len(kept.names) if kept.names == self._names[: len(kept.names)] else 0
        self._found = kept if usable else _Kept()
        self._leaves: _Kept = _Kept(self._names[:keep])
        self._tests: _Applied = before._tests if before is not None and usable else _Applied()
        self._tests.saved_s = 0.0

    @property
    def kept_s(self) -> float:
        """How long the steps took, in seconds, that the next fit needn't fit."""
        return sum(self._leaves.fit_s)

    # -- what scikit-learn's Pipeline asks of its memory ------------------------------------

    def cache(self, function: Callable[..., Any], ignore: Any = None) -> Callable[..., Any]:
        """Return a function that fits one step, or hands out what is known of it."""

        def fit_step(transformer: Any, X: Any, y: Any, **more: Any) -> tuple[Any, Any]:
            return self._fit_step(function, transformer, X, y, more)

        return fit_step

    def _fit_step(
        self, function: Callable[..., Any], transformer: Any, X: Any, y: Any, more: dict[str, Any]
    ) -> tuple[Any, Any]:
        at = self._step
        self._step += 1
        found = self._found
        if at < len(found.names):
            rows, fitted, took_s = None, found.fitted[at], found.fit_s[at]
            self.saved_s += took_s
            self.gave_something = True
            fitted = self._own(fitted)
            if at == len(found.names) - 1:
                rows = _handed_out(found.rows)  # the steps before are passed by
        else:
            began_s = CLOCKS.performance_s()
            rows, fitted = function(transformer, X, y, **more)
            took_s = CLOCKS.performance_s() - began_s
        if at < self._keep:
            leaves = self._leaves
            self.gave_something = True  # a step that can't be copied: the fit runs again alone
            leaves.fitted.append(found.fitted[at] if at < len(found.names) else self._own(fitted))
            leaves.fit_s.append(took_s)
            if at == self._keep - 1:
                if at < len(found.names) - 1:
                    # the next fit needs rows that weren't made anew for this one
                    self._leaves = _Kept()
                elif at < len(found.names):
                    leaves.rows = found.rows
                else:
                    leaves.rows = _protected(rows)
                    rows = _handed_out(leaves.rows)
        return rows, fitted

    def _own(self, fitted: Any) -> Any:
        return deepcopy(fitted) if self._copied else fitted

    # -- applying the steps to the fold's test rows -------------------------------------------

    def apply_once(self, estimator: Any, X_test: Any) -> None:
        """Let the steps that fits share transform the fold's test rows once."""
        count = max(len(self._leaves.names), len(self._found.names))
        shared = [step for _, step in estimator.steps[:-1] if not isinstance(step, str | None)]
        if count:
            self.gave_something = True
            self._tests.attach(shared[:count], self._names, X_test)

    def end(self) -> None:
        """Count what was saved."""
        self.saved_s += self._tests.saved_s


class _Applied:
    """Answers of shared steps for the fold's test rows."""

    def __init__(self) -> None:
        self.saved_s = 0.0
        self._sources: dict[int, str] = {}  # object that was handed out → its name
        self._answers: dict[tuple[str, str], tuple[Any, float]] = {}
        self._earlier: set[tuple[str, str]] = set()  # answers that an earlier fit asked for
        self._handed: list[Any] = []  # held, so that no other object gets its identity

    def attach(self, steps: Sequence[Any], names: Sequence[str], X_test: Any) -> None:
        self._sources = {id(X_test): "test"}
        self._handed = [X_test]
        names = names[: len(steps)]
        self._answers = {key: kept for key, kept in self._answers.items() if key[1] in names}
        self._earlier = set(self._answers)
        for step, name in zip(steps, names, strict=True):
            with suppress(Exception):  # no such method, or attributes can't be set: done each time
                vars(step).pop("transform", None)  # ours, of the fit before
                step.transform = self._once(step.transform, name)

    def _once(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        @wraps(original)
        def transform(X: Any, *args: Any, **kwargs: Any) -> Any:
            source = self._sources.get(id(X))
            if source is None or args or kwargs:
                return original(X, *args, **kwargs)
            known = self._answers.get((source, name))
            if known is None:
                began_s = CLOCKS.performance_s()
                rows = _protected(original(X))
                took_s = CLOCKS.performance_s() - began_s
                self._answers[source, name] = rows, took_s
            else:
                rows, took_s = known
                if (source, name) in self._earlier:
                    self.saved_s += took_s
            given = _handed_out(rows)
            self._sources[id(given)] = f"{source}.{name}"
            self._handed.append(given)
            return given

        return transform


def _protected(rows: Any) -> Any:
    """Return rows of which no later step can change what is kept."""
    import numpy as np
    import scipy.sparse as sp

    if type(rows) is np.ndarray and rows.dtype != object:
        view = rows.view()
        view.flags.writeable = False
        return view
    if sp.issparse(rows) and rows.format in ("csr", "csc"):
        kept = rows.copy()
        for part in (kept.data, kept.indices, kept.indptr):
            part.flags.writeable = False
        return kept
    return deepcopy(rows)


def _handed_out(kept: Any) -> Any:
    import numpy as np
    import scipy.sparse as sp

    if type(kept) is np.ndarray and kept.dtype != object:
        return kept.view()
    if sp.issparse(kept) and kept.format in ("csr", "csc"):
        return kept.copy()
    return deepcopy(kept)
