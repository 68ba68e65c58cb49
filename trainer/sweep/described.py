"""A sweep as plain JSON: import paths and parameters, data by address. No code of anybody's.

In: the form of a description, what is refused before anything is imported or read, and the sweep
that it stands for. Not in: a sweep's own checks (:mod:`fitcast.trainer.sweep.prepared`), where a
description comes from.
"""

import inspect
import math
import posixpath
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fitcast.errors import InvalidDataError, InvalidSweepError, TooLargeError
from fitcast.trainer.sweep.prepared import Sweep
from fitcast.trainer.sweep.spelling import nearest

CLASS: Final = "class"
PARAMS: Final = "params"
DISTRIBUTION: Final = "distribution"

DISTRIBUTIONS: Final = (
    "uniform", "loguniform", "norm", "lognorm", "expon", "gamma", "beta", "randint"
)  # fmt: skip
"""What a parameter may be drawn from, beside a list of values: names in SciPy."""

_PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
_DEEPEST: Final = 30
_KINDS: Final = (("get_params", "fit"), ("split", "get_n_splits"), ("get_params", "diag"))
"""What a class must have: an estimator's or a transformer's, a splitter's, a kernel's methods."""

Name = Annotated[str, Field(min_length=1, max_length=200)]
Values = list[Any] | dict[str, Any]


class _Described(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", populate_by_name=True)


class DescribedObject(_Described):
    """An object: its class by import path, and what its constructor is given.

    Parameters may be plain values, lists, or objects of the same form.
    """

    path: Annotated[str, Field(alias="class", max_length=300)]
    params: dict[str, Any] = {}


class DescribedModel(DescribedObject):
    """An estimator and what is to be tried of it.

    A grid has a list of values for each parameter, or, with `n_iter`, ``{"distribution":
    "loguniform", "params": {"a": 0.001, "b": 10}}``.
    """

    grid: dict[str, Values] | list[dict[str, Values]] = {}


class SweepDescription(_Described):
    """A sweep: what to try, on which data. All as :class:`Sweep` takes it."""

    name: Name | None = None
    models: Annotated[dict[Name, DescribedModel], Field(min_length=1, max_length=10_000)]
    data: Annotated[str, Field(min_length=1, max_length=4096)]
    target: Name | None = None
    sample_weight: Name | None = None
    groups: Name | None = None
    cv: Annotated[int, Field(ge=2, le=1000)] | DescribedObject = 5
    scoring: Name | Annotated[list[Name], Field(min_length=1, max_length=100)] | None = None
    refit: bool | Name = True
    n_iter: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    random_state: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    predict_method: Name | None = "predict"
    return_train_score: bool = False
    error_score: float | None = None
    deadline_s: Annotated[float, Field(gt=0)] | None = None
    memory_bytes: Annotated[int, Field(gt=0)] | None = None

    def candidates(self) -> int:
        """Return how many candidates it stands for, without making any."""
        return sum(self._settings(model) for model in self.models.values())

    def folds(self) -> int:
        """Return how many folds each is fitted on; of a splitter, at least one."""
        if isinstance(self.cv, int):
            return self.cv
        told = self.cv.params.get("n_splits", 1)
        return max(1, told) if isinstance(told, int) else 1

    def _settings(self, model: DescribedModel) -> int:
        grids = model.grid if isinstance(model.grid, list) else [model.grid]
        if self.n_iter is not None:
            return self.n_iter
        lengths = ([len(values) for values in grid.values()] for grid in grids)
        return sum(math.prod(one) for one in lengths)


def description_of(told: Mapping[str, Any]) -> SweepDescription:
    """Return a description, if it is one in form.

    Raises
    ------
    InvalidSweepError
        Something is missing, unknown, or no such value; the message names it.
    """
    try:
        return SweepDescription.model_validate(told)
    except ValidationError as error:
        parts = [
            f"{'.'.join(map(str, one['loc'])) or 'the whole'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise InvalidSweepError(f"This describes no sweep: {'; '.join(parts[:10])}.") from None


def check_description(
    description: SweepDescription,
    *,
    packages: Collection[str],
    places: Sequence[str],
    most_fits: int,
) -> None:
    """Refuse what isn't allowed; nothing is imported or read for it.

    Parameters
    ----------
    description
        What was handed in.
    packages
        Top-level packages whose classes may be used.
    places
        Addresses that data may lie under.
    most_fits
        How many fits it may stand for.

    Raises
    ------
    InvalidSweepError
        A class isn't of those packages, or a value is no JSON that describes one.
    InvalidDataError
        The data lies elsewhere.
    TooLargeError
        It has too many fits.
    """
    for model in description.models.values():
        _check(model.path, packages)
        _each_path(model.params, packages, 0)
        _each_path(model.grid, packages, 0)
    if isinstance(description.cv, DescribedObject):
        _check(description.cv.path, packages)
        _each_path(description.cv.params, packages, 0)
    check_fit_count(description.candidates() * description.folds(), most_fits)
    check_place(description.data, places)


def check_fit_count(fits: int, most: int) -> None:
    """Refuse a sweep of too many fits.

    Raises
    ------
    TooLargeError
        It has more than `most`.
    """
    if fits > most:
        raise TooLargeError(
            f"the sweep has {fits:,} fits, and this platform takes up to {most:,} at once: "
            "submit it in parts"
        )


def check_place(data: str, places: Sequence[str]) -> None:
    """Refuse data that doesn't lie under one of some addresses.

    Raises
    ------
    InvalidDataError
        It doesn't, or its address is written so that it can't be told.
    """
    if not places:
        raise InvalidDataError(
            "This platform reads no data by address: hand the sweep in with fitcast's client, or "
            "ask who runs it."
        )
    if "::" not in data and any(_lies_under(data, place) for place in places):
        return
    raise InvalidDataError(
        f"The platform reads data under {', '.join(places)} alone, and this isn't there: put it "
        "there, or ask who runs the platform."
    )


def sweep_of(
    description: SweepDescription,
    *,
    packages: Collection[str] | None = None,
    places: Sequence[str] | None = None,
) -> Sweep:
    """Return the sweep that a description stands for; imports what it names.

    Parameters
    ----------
    description
        What to make it of.
    packages, places
        As `check_description` takes them; None lets anything be used.

    Raises
    ------
    InvalidSweepError
        A class can't be had, isn't of such a kind, or doesn't take the parameters.
    InvalidDataError
        The data isn't where data may be.
    """
    if places is not None:
        check_place(description.data, places)

    def built(value: Any) -> Any:
        return _built(value, packages, 0)

    models = {}
    for name, model in description.models.items():
        estimator = _made(model.path, model.params, packages, 0)
        models[name] = (estimator, built(model.grid)) if model.grid else estimator
    cv = description.cv
    if isinstance(cv, DescribedObject):
        cv = _made(cv.path, cv.params, packages, 0)
    return Sweep(
        models,
        data=description.data,
        target=description.target,
        cv=cv,
        scoring=description.scoring,
        refit=description.refit,
        name=description.name,
        sample_weight=description.sample_weight,
        groups=description.groups,
        n_iter=description.n_iter,
        random_state=description.random_state,
        predict_method=description.predict_method,
        return_train_score=description.return_train_score,
        error_score=math.nan if description.error_score is None else description.error_score,
        deadline_s=description.deadline_s,
        memory_bytes=description.memory_bytes,
    )


# -- what is allowed -----------------------------------------------------------------------------


def _check(path: str, packages: Collection[str]) -> None:
    if not _PATH.fullmatch(path):
        raise InvalidSweepError(
            f"{path!r:.120} is no import path of a public class, such as "
            "'sklearn.linear_model.LogisticRegression'."
        )
    package = path.partition(".")[0]
    if package not in packages:
        raise InvalidSweepError(
            f"Classes of {package!r:.60} may not be used on this platform, but those of "
            f"{', '.join(sorted(packages)) or 'none'}: ask who runs it."
        )


def _each_path(value: Any, packages: Collection[str], depth: int) -> None:
    """Check every class that is named in a value."""
    if depth > _DEEPEST:
        raise InvalidSweepError(f"A value is nested more than {_DEEPEST} deep: make it plainer.")
    if isinstance(value, dict):
        if CLASS in value or DISTRIBUTION in value:
            _check_form(value)
        if CLASS in value:
            _check(value[CLASS], packages)
        for one in value.values():
            _each_path(one, packages, depth + 1)
    elif isinstance(value, list):
        for one in value:
            _each_path(one, packages, depth + 1)


def _check_form(value: Mapping[str, Any]) -> None:
    kind = CLASS if CLASS in value else DISTRIBUTION
    unknown = set(value) - {kind, PARAMS}
    if unknown or not isinstance(value[kind], str) or not isinstance(value.get(PARAMS, {}), dict):
        raise InvalidSweepError(
            f'An object is written as {{"{kind}": "…", "params": {{…}}}}, with nothing else in it.'
        )
    if kind == DISTRIBUTION and value[kind] not in DISTRIBUTIONS:
        raise InvalidSweepError(
            f"There is no distribution {value[kind]!r:.60}{nearest(value[kind], DISTRIBUTIONS)} "
            f"Use one of {', '.join(DISTRIBUTIONS)}."
        )


def _lies_under(data: str, place: str) -> bool:
    there, within = _split(place), _split(data)
    if there[0] != within[0] or (there[0] and there[1] != within[1]):
        return False
    if not there[0]:  # a file of this machine: links count as where they lead to
        return Path(within[2]).resolve().is_relative_to(Path(there[2]).resolve())
    if ".." in unquote(within[2]).split("/"):
        return False
    base = there[2].rstrip("/")
    return within[2] == base or within[2].startswith(f"{base}/")


def _split(address: str) -> tuple[str, str, str]:
    """Return scheme, host and path of an address; "" and the absolute path of a file here."""
    parts = urlsplit(address)
    if parts.scheme in ("", "file", "local"):
        path = address if not parts.scheme else parts.netloc + parts.path
        return "", "", posixpath.abspath(path)
    return parts.scheme, parts.netloc, parts.path


# -- what it stands for --------------------------------------------------------------------------


def _built(value: Any, packages: Collection[str] | None, depth: int) -> Any:
    if isinstance(value, list):
        return [_built(one, packages, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    if CLASS not in value and DISTRIBUTION not in value:
        return {name: _built(one, packages, depth + 1) for name, one in value.items()}
    _check_form(value)
    params = value.get(PARAMS, {})
    if DISTRIBUTION in value:
        return _frozen(value[DISTRIBUTION], params)
    return _made(value[CLASS], params, packages, depth + 1)


def _made(
    path: str, params: Mapping[str, Any], packages: Collection[str] | None, depth: int
) -> Any:
    if depth > _DEEPEST:
        raise InvalidSweepError(f"{path} is nested more than {_DEEPEST} deep: make it plainer.")
    found = _found(path, packages)
    given = {name: _built(one, packages, depth) for name, one in params.items()}
    return _called(found, path, given)


def _frozen(name: str, params: Mapping[str, Any]) -> Any:
    from scipy import stats

    return _called(getattr(stats, name), f"the distribution {name!r}", dict(params))


def _called(made_by: Callable[..., Any], what: str, params: dict[str, Any]) -> Any:
    try:
        return made_by(**params)
    except Exception as error:
        raise InvalidSweepError(f"{what} doesn't take these parameters: {error}.") from error


def _found(path: str, packages: Collection[str] | None) -> type:
    """Return a class by its import path.

    It counts where it is defined, too: what a package merely imports from elsewhere is not its own.
    """
    if packages is not None:
        _check(path, packages)
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise InvalidSweepError(
            f"There is no {path!r}: {error}. Check the path, and that the package is installed "
            "where fits run."
        ) from error
    if not inspect.isclass(found) or not any(
        all(callable(getattr(found, method, None)) for method in kind) for kind in _KINDS
    ):
        raise InvalidSweepError(
            f"{path} is no class of estimators, transformers, splitters or kernels."
        )
    if packages is not None and found.__module__.partition(".")[0] not in packages:
        raise InvalidSweepError(
            f"{path} is of {found.__module__.partition('.')[0]!r}, which may not be used here."
        )
    return found
