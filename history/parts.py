"""What an estimator is made of, as a plain tree; to JSON values and back.

In: the words for the parts of a request, and what is refused as no such tree. Not in: how the tree
of an estimator is found (:mod:`fitcast.trainer.sweep.parts`), what it costs (the sizing room).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Final, TypeAlias

ParamValue: TypeAlias = str | int | float | bool | None

MOST_PARTS: Final = 64
"""Parts of one tree, all levels together."""

MOST_LEVELS: Final = 12

_PLAIN: Final = (str, int, float, bool, type(None))


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What of the data a part gets, where it doesn't get all columns.

    Attributes
    ----------
    columns : int
        How many columns.
    distinct_values : int
        Sum over columns of distinct values among at most 4,096 rows; 0 if unknown.
    categorical_columns : int
        Those that are no numbers.
    missing_share : float
        Missing values as a share of all.
    text_chars, text_words : float
        Mean length of a text in characters and in words; 0 without texts.
    """

    columns: int
    distinct_values: int = 0
    categorical_columns: int = 0
    missing_share: float = 0.0
    text_chars: float = 0.0
    text_words: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EstimatorPart:
    """An estimator, and the estimators that it is made of. Bounded, plain and hashable.

    Attributes
    ----------
    algorithm : str
        Import path of its class; "passthrough" or "drop" where a word stands for it.
    role : str
        The parameter of the outer estimator that holds it, as "estimators"; "" for the outermost.
    name : str
        What it is called there, as a pipeline's step; "" if it has no name.
    bases : tuple of str
        Import paths of the classes that its class derives from, nearest first.
    params : tuple of pairs
        Its own hyper-parameters as plain values, without those of its parts.
    counts : tuple of pairs
        How many values a parameter holds that isn't plain: folds of ``cv``, settings of a
        ``param_grid``; -1 if it can't be told.
    count : int
        How many parts there are like this one, it being one of them.
    selected : Selected or None
        What it gets of the data, if not all.
    parts : tuple of EstimatorPart
        What it is made of, in order. In a search's ``estimator`` stands one part per kind of
        setting that it tries, or a spread of them.
    unlisted : int
        How many more parts it has: too many, too deep, or it contains itself.
    silent : bool
        Whether it couldn't be asked for its parameters.
    """

    algorithm: str
    role: str = ""
    name: str = ""
    bases: tuple[str, ...] = ()
    params: tuple[tuple[str, ParamValue], ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    count: int = 1
    selected: Selected | None = None
    parts: tuple["EstimatorPart", ...] = ()
    unlisted: int = 0
    silent: bool = False

    @cached_property
    def _hash(self) -> int:
        # Trees are keys of caches, and asked for with each of a candidate's folds.
        return hash(tuple(getattr(self, name) for name in _NAMES))

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        # Hashes of texts are another process's own.
        return {name: getattr(self, name) for name in _NAMES}

    @cached_property
    def json_text(self) -> str:
        """The tree as JSON; many records have the same."""
        return json.dumps(part_to_json(self))

    @cached_property
    def size(self) -> int:
        """How many parts it is, with itself."""
        return 1 + sum(part.size for part in self.parts)


_NAMES: Final = tuple(f.name for f in fields(EstimatorPart))
_DEFAULTS: Final = {f.name: f.default for f in fields(EstimatorPart)}


def part_to_json(part: EstimatorPart) -> dict[str, Any]:
    """Return a tree as a dictionary that ``json`` can write, without what is as usual."""
    told: dict[str, Any] = {}
    for name in _NAMES:
        value = getattr(part, name)
        if value == _DEFAULTS[name]:
            continue
        if name == "parts":
            value = [part_to_json(inner) for inner in value]
        elif name in ("params", "counts"):
            value = dict(value)
        elif name == "selected":
            value = asdict(value)
        told[name] = list(value) if isinstance(value, tuple) else value
    return told


def part_from_json(told: Any) -> EstimatorPart:
    """Return the tree that :func:`part_to_json` wrote; what is unknown in it is passed over.

    Raises
    ------
    ValueError
        It is no such tree, or a larger one than there may be.
    """
    part, _ = _read(told, MOST_LEVELS, MOST_PARTS)
    return part


def _read(told: Any, levels: int, left: int) -> tuple[EstimatorPart, int]:
    if not isinstance(told, dict) or levels < 1 or left < 1:
        raise ValueError("no parts of an estimator, or too many of them")
    left -= 1
    values: dict[str, Any] = {}
    for name in _NAMES:
        if name not in told:
            continue
        value = told[name]
        if name == "parts":
            inner = []
            for one in _a(list, value):
                part, left = _read(one, levels - 1, left)
                inner.append(part)
            values[name] = tuple(inner)
        elif name == "params":
            values[name] = tuple((str(k), _plain(v)) for k, v in _a(dict, value).items())
        elif name == "counts":
            values[name] = tuple((str(k), _a(int, v)) for k, v in _a(dict, value).items())
        elif name == "selected":
            values[name] = _selected(_a(dict, value))
        elif name == "bases":
            values[name] = tuple(_a(str, one) for one in _a(list, value))
        else:
            kind = {"count": int, "unlisted": int, "silent": bool}.get(name, str)
            values[name] = _a(kind, value)
    if "algorithm" not in values:
        raise ValueError("a part of an estimator has no algorithm")
    return EstimatorPart(**values), left


def _selected(told: Mapping[str, Any]) -> Selected:
    values = {}
    for field in fields(Selected):
        if field.name in told:
            value = told[field.name]
            values[field.name] = float(value) if field.type is float else _a(int, value)
    if "columns" not in values:
        raise ValueError("columns are missing")
    return Selected(**values)  # type: ignore[arg-type] # whole where the field is


def _plain(value: Any) -> ParamValue:
    if type(value) not in _PLAIN:
        raise ValueError(f"{value!r:.100} is no plain value")
    return value  # type: ignore[no-any-return]


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r:.100} is no {kind.__name__}")
    return value
