"""Estimator → what it is made of, as a request tells it: the estimators inside, and their data.

In: finding inner estimators wherever parameters hold them, bounded whatever they are. Not in: what
the tree looks like (:mod:`fitcast.history.parts`), what it costs (the sizing room).

Nothing here raises, and no estimator's own code runs but its ``get_params``.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import ParameterGrid, ParameterSampler

from fitcast.history.parts import MOST_LEVELS, MOST_PARTS, EstimatorPart, ParamValue, Selected
from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.contents import Contents
from fitcast.trainer.sweep.models import class_bases
from fitcast.trainer.sweep.selections import Selections
from fitcast.trainer.sweep.values import MAX_PARAM_LENGTH, is_told, plain

_MOST_PARAMS: Final = 60  # of one part
_MOST_LISTED: Final = 32  # of one parameter
_MOST_SETTINGS: Final = 8  # of a search's, that stand for all
_SETTING_PARTS: Final = 40  # for them, together
_GOLDEN: Final = 0.6180339887498949
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_GRIDS: Final = ("param_grid", "param_distributions", "search_spaces")
_WORDS: Final = ("passthrough", "drop")
_STEPS: Final = "steps"
_COLUMNS: Final = "transformers"
_ENSEMBLES: Final = frozenset({_STEPS, _COLUMNS, "transformer_list", "estimators"})
_COSTLESS: Final = frozenset({"random_state", "verbose"})


class PartsReader:
    """Reads what estimators are made of. Equal parts of several candidates are one object.

    Parameters
    ----------
    sample
        A few rows of the data, by which a selection of columns is told; None if there is none.
    contents
        What was counted of the data.
    """

    def __init__(self, sample: Any = None, contents: Contents | None = None) -> None:
        self._selections = Selections(sample, Contents() if contents is None else contents)
        self._known: dict[tuple[Any, ...], EstimatorPart] = {}

    def made_of(self, estimator: Any) -> EstimatorPart | None:
        """Return an estimator as a tree; None where its own parameters say all there is."""
        try:
            walk = _Walk(self._known, self._selections)
            part = walk.part(estimator, _Place(whole=True))
        except Exception:  # whatever a class of the user's own does: its parameters are known
            return None
        said = part.parts or part.counts or part.unlisted or part.silent
        return part if said else None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an estimator stands."""

    role: str = ""
    name: str = ""
    selected: Selected | None = None
    whole: bool = False  # whether it gets the data as they are, with all columns
    levels: int = MOST_LEVELS


@dataclass(eq=False)
class _Walk:
    """The way through one tree."""

    known: dict[tuple[Any, ...], EstimatorPart]
    selections: Selections
    left: int = MOST_PARTS
    open: set[int] = field(default_factory=set)  # estimators that are being read

    def part(self, estimator: Any, place: _Place) -> EstimatorPart:
        """Return an estimator's tree."""
        self.left -= 1
        if isinstance(estimator, str) or estimator is None:
            algorithm = "drop" if estimator == "drop" else "passthrough"
            return self._one(
                EstimatorPart(
                    algorithm=algorithm,
                    role=place.role,
                    name=place.name,
                    selected=place.selected,
                )
            )
        self.open.add(id(estimator))
        try:
            params = own_params(estimator)
            inner, unlisted = self._inner(params or {}, place)
        finally:
            self.open.discard(id(estimator))
        algorithm, bases = _class(type(estimator))  # type: ignore[arg-type] # as above
        return self._one(
            EstimatorPart(
                algorithm=algorithm,
                role=place.role,
                name=place.name,
                bases=bases,
                params=_plain_params(params or {}),
                counts=_counts(params or {}, self),
                selected=place.selected,
                parts=inner,
                unlisted=unlisted,
                silent=params is None,
            )
        )

    def _inner(
        self, params: Mapping[str, Any], place: _Place
    ) -> tuple[tuple[EstimatorPart, ...], int]:
        """Return the parts that parameters hold, and how many more there are."""
        found: list[EstimatorPart] = []
        unlisted = 0
        for role, value in params.items():
            if type(value) in _PLAIN or role in _GRIDS:
                continue
            listed, length = _listed(role, value)
            first = True
            for name, estimator, columns in listed:
                if self.left < 1 or place.levels <= 1 or id(estimator) in self.open:
                    unlisted += 1
                    continue
                # Later steps of a pipeline get what the first has made of the data.
                whole = place.whole and (first or role != _STEPS)
                selected = None
                if role == _COLUMNS:
                    selected, whole = self.selections.of(columns, whole=whole), False
                first = False
                found.append(
                    self.part(estimator, _Place(role, name, selected, whole, place.levels - 1))
                )
            unlisted += max(0, length - _MOST_LISTED)
        for grid in _GRIDS:
            if grid in params:
                found = self._settings(found, params[grid])
        if _COLUMNS in params:
            self._add_remainder(found, params.get("remainder"), place.whole)
        return self._merged(found), unlisted

    def _add_remainder(self, found: list[EstimatorPart], rest: Any, whole: bool) -> None:
        """Say of a column transformer what becomes of the columns that no step takes."""
        taken = [part.selected for part in found if part.role == _COLUMNS]
        left = self.selections.beyond(taken) if whole else None
        for number, part in enumerate(found):
            if part.role == "remainder":
                found[number] = self._one(replace(part, selected=left))
        if rest in _WORDS:
            found.append(EstimatorPart(algorithm=rest, role="remainder", selected=left))

    def _settings(self, found: list[EstimatorPart], grid: Any) -> list[EstimatorPart]:
        """Return parts in which a spread of a search's settings stands for its estimator."""
        bases = [part for part in found if part.role == "estimator"]
        if len(bases) != 1:
            return found
        most = max(1, min(_MOST_SETTINGS, _SETTING_PARTS // bases[0].size))
        try:
            settings = list(islice(_spread(grid, most), most))
            changed = [self._changed(bases[0], one) for one in settings]
        except Exception:  # a grid that is none: the fit will say so
            return found
        return [part for part in found if part.role != "estimator"] + (changed or bases)

    def _changed(self, part: EstimatorPart, setting: Mapping[str, Any]) -> EstimatorPart:
        for path, value in setting.items():
            part = self._with(part, str(path), value)
        return part

    def _with(self, part: EstimatorPart, path: str, value: Any) -> EstimatorPart:
        """Return a part with a parameter of its own, or of one inside, set."""
        name, _, rest = path.partition("__")
        inner = list(part.parts)
        for number, one in enumerate(inner):
            if name in (one.name, one.role):
                if rest:
                    inner[number] = self._with(one, rest, value)
                elif self.left > 0 and (_is_estimator(value) or value in _WORDS):
                    place = _Place(one.role, one.name, one.selected, levels=2)
                    inner[number] = self.part(value, place)
                return self._one(replace(part, parts=tuple(inner)))
        if rest or _is_estimator(value):
            return part
        params = {name: own for name, own in part.params if name != path}
        params[path[:MAX_PARAM_LENGTH]] = plain(value)
        return self._one(replace(part, params=tuple(params.items())))

    def _merged(self, parts: list[EstimatorPart]) -> tuple[EstimatorPart, ...]:
        """Return parts of which those that differ by name alone are one; steps keep their order."""
        if len(parts) < 2 or all(part.role in (_STEPS, _COLUMNS) for part in parts):
            return tuple(parts)
        merged: dict[EstimatorPart, tuple[EstimatorPart, int]] = {}
        for number, part in enumerate(parts):
            ordered = part.role in (_STEPS, _COLUMNS)
            key = replace(part, name=str(number) if ordered else "", count=1)
            first, count = merged.get(key, (part, 0))
            merged[key] = (first, count + part.count)
        return tuple(
            self._one(part if part.count == count else replace(part, count=count))
            for part, count in merged.values()
        )

    def _one(self, part: EstimatorPart) -> EstimatorPart:
        """Return the part that is known as equal; 1, 1.0 and True are equal and not the same."""
        key = (
            *(part.algorithm, part.role, part.name, part.params, part.counts, part.count),
            *(part.selected, part.unlisted, part.silent),
            tuple(type(value) for _, value in part.params),
            tuple(map(id, part.parts)),
        )
        return self.known.setdefault(key, part)


def own_params(estimator: Any) -> dict[str, Any] | None:
    """Return an estimator's own parameters, without those of others in it; None if it won't say."""
    cls = type(estimator)
    try:
        names = _param_names(cls)  # type: ignore[arg-type] # mypy: classes can be hashed
        if names is not None:
            return {name: getattr(estimator, name) for name in names}
        return dict(islice(dict(estimator.get_params(deep=False)).items(), 4 * _MOST_PARAMS))
    except Exception:
        return None


@lru_cache(maxsize=512)
def _param_names(cls: type) -> tuple[str, ...] | None:
    """Return the names of a class's parameters where scikit-learn's own code tells them.

    Its signature is read once, not for each candidate.
    """
    asked = getattr(cls, "get_params", None)
    own = getattr(asked, "__module__", "").partition(".")[0] == "sklearn"
    if not own or not issubclass(cls, BaseEstimator):
        return None
    return tuple(cls._get_param_names())  # type: ignore[attr-defined]


@lru_cache(maxsize=512)
def _class(cls: type) -> tuple[str, tuple[str, ...]]:
    return public_path(cls), class_bases(cls)


def _is_estimator(value: Any) -> bool:
    try:
        return callable(getattr(value, "fit", None)) and not isinstance(value, type)
    except Exception:  # an object that refuses to be asked
        return False


def _listed(role: str, value: Any) -> tuple[list[tuple[str, Any, Any]], int]:
    """Return name, estimator and columns of those that a parameter holds, and how many it holds."""
    if _is_estimator(value):
        return [("", value, None)], 1
    if isinstance(value, dict):
        pairs = islice(value.items(), _MOST_LISTED)
        inner = [(str(name)[:MAX_PARAM_LENGTH], one, None) for name, one in pairs]
        inner = [one for one in inner if _is_estimator(one[1])]
        return inner, len(value) if inner else 0
    if type(value) not in (list, tuple):
        return [], 0
    found = []
    for one in value[:_MOST_LISTED]:
        if _is_estimator(one):
            found.append(("", one, None))
        elif type(one) in (list, tuple) and len(one) in (2, 3) and isinstance(one[0], str):
            word = role in _ENSEMBLES and (one[1] is None or isinstance(one[1], str))
            if word or _is_estimator(one[1]):
                found.append((one[0][:MAX_PARAM_LENGTH], one[1], one[2] if len(one) > 2 else None))
    return found, len(value) if found else 0


def _plain_params(params: Mapping[str, Any]) -> tuple[tuple[str, ParamValue], ...]:
    told = {
        str(name)[:MAX_PARAM_LENGTH]: plain(value)
        for name, value in islice(params.items(), _MOST_PARAMS)
        if name not in _COSTLESS
    }
    return tuple(told.items())


def _counts(params: Mapping[str, Any], walk: _Walk) -> tuple[tuple[str, int], ...]:
    found = {}
    for name, value in params.items():
        if type(value) in _PLAIN:
            continue
        if name in _GRIDS:
            count = _settings_in(value)
        elif is_told(value):
            continue
        else:
            known = _count_of(value)
            if known is None:
                continue
            count = known
        found[str(name)[:MAX_PARAM_LENGTH]] = max(-1, min(count, 2**53))
    return tuple(islice(found.items(), _MOST_PARAMS))


def _count_of(value: Any) -> int | None:
    """Return how many values something holds, or folds it makes; -1 if it won't say."""
    try:
        if hasattr(value, "get_n_splits"):
            told = getattr(value, "n_splits", None)
            if isinstance(told, int):
                repeats = getattr(value, "n_repeats", 1)
                return told * (repeats if isinstance(repeats, int) else 1)
            args = getattr(value, "cvargs", None)
            if isinstance(args, dict) and isinstance(args.get("n_splits"), int):
                repeats = getattr(value, "n_repeats", 1)
                return int(args["n_splits"]) * (repeats if isinstance(repeats, int) else 1)
            return -1
        if isinstance(value, str | bytes | type) or _is_estimator(value):
            return None
        if isinstance(value, np.ndarray):
            return int(value.size)
        if isinstance(value, list | tuple | dict | set | frozenset | range):
            return len(value)
        return None
    except Exception:
        return -1


def _settings_in(grid: Any) -> int:
    """Return how many settings a grid has; -1 if it has distributions, or is no grid."""
    grids = [grid] if isinstance(grid, Mapping) else grid
    try:
        return sum(math.prod(len(values) for values in one.values()) for one in grids)
    except Exception:
        return -1


def _spread(grid: Any, most: int) -> Iterator[Mapping[str, Any]]:
    """Yield settings of a grid, spread over all of it."""
    total = _settings_in(grid)
    if total < 0:
        yield from ParameterSampler(grid, most, random_state=0)
        return
    every = ParameterGrid(grid)
    if total <= most:
        yield from every
        return
    for number in range(most):
        # Even steps would meet some parameters at one value only.
        yield every[int(total * ((0.5 + number * _GOLDEN) % 1.0))]
