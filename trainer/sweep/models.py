"""Models as a user gives them → candidates.

In: reading instances, classes, import paths, grids and lists of them; labels; what an estimator is
called and made of. Not in: whether its data suits it (:mod:`fitcast.trainer.sweep.validation`), and
what is sent to a worker (:mod:`fitcast.trainer.sweep.jobs`).
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.pipeline import Pipeline

from fitcast.errors import InvalidSweepError
from fitcast.trainer.naming import public_path
from fitcast.trainer.sweep.spelling import nearest, unknown_message

Models: TypeAlias = Any
"""An estimator, ``(estimator, grid)``, a list of those, or a dict of name → any of those."""

Draw: TypeAlias = Callable[[Any], list[dict[str, Any]]]
"""How settings are drawn from a grid of distributions."""

_LABEL_LENGTH = 120
_VALUE_LENGTH = 40
_MOST_BASES = 6
_COMMON_BASES = ("sklearn.base", "sklearn.utils", "abc", "typing")


@dataclass(frozen=True, eq=False)
class Candidate:
    """One model with one setting of hyper-parameters."""

    index: int
    label: str  # unique in its sweep, e.g. "xgb max_depth=3"
    model: str  # the model's name in the sweep
    params: dict[str, Any]  # the grid's setting; {} for an estimator alone
    estimator: Any  # unfitted, ``params`` not yet set
    algorithm: str  # import path of the class that does the work

    def configured(self) -> Any:
        """Return a fresh estimator with the candidate's hyper-parameters set."""
        # safe=False as GridSearchCV has it: a hyper-parameter may itself be an estimator.
        return clone(self.estimator).set_params(**clone(self.params, safe=False))


class ChosenSettings(tuple[dict[str, Any], ...]):
    """In a grid's place: one setting per candidate, each taken as it is."""

    __slots__ = ()


def sampler(n_iter: int | None, random_state: Any) -> Draw | None:
    """Return what draws ``n_iter`` settings per model, as RandomizedSearchCV would."""
    if n_iter is None:
        return None
    return lambda grid: list(ParameterSampler(grid, n_iter, random_state=random_state))


def candidates_from(models: Models, draw: Draw | None = None) -> tuple[Candidate, ...]:
    """Return every candidate of ``models``, in the order of their grids, or as they are drawn.

    Raises
    ------
    InvalidSweepError
        If there is no model, something isn't an estimator, or a grid can't be used.
    """
    candidates: list[Candidate] = []
    labels: set[str] = set()
    for name, estimator, settings, qualifier in entries(models, draw):
        algorithm = algorithm_of(estimator)
        for params in settings:
            label = _unique(_label(name + qualifier, params), labels)
            candidates.append(
                Candidate(
                    index=len(candidates),
                    label=label,
                    model=name,
                    params=params,
                    estimator=estimator,
                    algorithm=_algorithm_with(estimator, params) or algorithm,
                )
            )
    return tuple(candidates)


def params_estimator(estimator: Any, params: Mapping[str, Any]) -> Any:
    """Return ``estimator`` with ``params`` set, or raise what is wrong with them."""
    try:
        return clone(estimator).set_params(**clone(dict(params), safe=False))
    except Exception as error:
        unknown = _unknown_params(estimator, params)
        if unknown:
            raise InvalidSweepError(unknown_message(estimator, unknown)) from error
        raise InvalidSweepError(
            f"{class_name(estimator)} doesn't take the setting {_short(dict(params))}: {error}"
        ) from error


def algorithm_of(estimator: Any) -> str:
    """Return the import path of the class that does the work: a pipeline's last step."""
    return public_path(final_estimator(estimator))


def bases_of(estimator: Any) -> tuple[str, ...]:
    """Return the import paths of what the working class derives from, nearest first.

    Without scikit-learn's common bases and mixins, which every estimator has.
    """
    return class_bases(type(final_estimator(estimator)))


def class_bases(cls: type) -> tuple[str, ...]:
    """Return the same of a class."""
    bases = [
        base
        for base in cls.__mro__[1:]
        if base is not object and not base.__module__.startswith(_COMMON_BASES)
    ]
    return tuple(public_path(base) for base in bases[:_MOST_BASES])


def library_version(estimator: Any) -> str:
    """Return the version, as "1.7", of the package that offers the class that does the work."""
    package = sys.modules.get(type(final_estimator(estimator)).__module__.partition(".")[0])
    version = vars(package).get("__version__") if package is not None else None
    return ".".join(version.split(".")[:2])[:20] if isinstance(version, str) else ""


def final_estimator(estimator: Any) -> Any:
    """Return a pipeline's last step that is an estimator; anything else as it is."""
    while isinstance(estimator, Pipeline):
        last = [step for _, step in estimator.steps if _is_step(step)]
        if not last:
            return estimator
        estimator = last[-1]
    return estimator


def _algorithm_with(estimator: Any, params: Mapping[str, Any]) -> str:
    """Return the algorithm where the grid itself sets an estimator, else ""."""
    if not any(callable(getattr(value, "fit", None)) for value in params.values()):
        return ""
    return algorithm_of(params_estimator(estimator, params))


def steps_of(estimator: Any) -> list[Any]:
    """Return the steps of a pipeline in order, nested pipelines unfolded; [] if it is none."""
    if not isinstance(estimator, Pipeline):
        return []
    steps: list[Any] = []
    for _, step in estimator.steps:
        steps.extend(steps_of(step) if isinstance(step, Pipeline) else [step])
    return steps


def class_name(estimator: Any) -> str:
    """Return the name of an estimator's class, for messages and labels."""
    return type(final_estimator(estimator)).__name__


def entries(
    models: Models, draw: Draw | None = None
) -> Iterator[tuple[str, Any, list[dict[str, Any]], str]]:
    """Yield name, estimator (a clone), settings, and what tells apart several of one name."""
    if isinstance(models, Mapping):
        if not models:
            raise InvalidSweepError("The sweep has no model. Give at least one estimator.")
        for name, entry in models.items():
            if not isinstance(name, str) or not name.strip():
                raise InvalidSweepError(
                    f"A model's name must be a non-empty string, not {name!r}, as in "
                    '{"forest": RandomForestClassifier()}.'
                )
            if isinstance(entry, list):
                if not entry:
                    raise InvalidSweepError(f"Model {name!r} is an empty list; remove it.")
                for item in entry:
                    estimator, settings = _entry(item, name, draw)
                    qualifier = f"/{class_name(estimator)}" if len(entry) > 1 else ""
                    yield name, estimator, settings, qualifier
            else:
                yield name, *_entry(entry, name, draw), ""
        return
    if isinstance(models, list) or (isinstance(models, tuple) and not _is_pair(models)):
        if not models:
            raise InvalidSweepError("The sweep has no model. Give at least one estimator.")
        names: set[str] = set()
        for position, item in enumerate(models):
            estimator, settings = _entry(item, f"models[{position}]", draw)
            yield _unique(class_name(estimator), names, "-{}"), estimator, settings, ""
        return
    estimator, settings = _entry(models, "models", draw)
    yield class_name(estimator), estimator, settings, ""


def _is_pair(value: tuple[Any, ...]) -> bool:
    return len(value) == 2 and not hasattr(value[1], "fit") and not isinstance(value[1], str)


def _entry(item: Any, where: str, draw: Draw | None) -> tuple[Any, list[dict[str, Any]]]:
    if not isinstance(item, tuple):
        return _estimator(item, where), [{}]
    if len(item) != 2:
        raise InvalidSweepError(
            f"Model {where}: a tuple must be (estimator, grid), but this one has {len(item)} parts."
        )
    estimator = _estimator(item[0], where)
    return estimator, _settings(item[1], where, draw)


def _estimator(given: Any, where: str) -> Any:
    if isinstance(given, str):
        given = _imported(given, where)
    if isinstance(given, type):
        try:
            given = given()
        except TypeError as error:
            raise InvalidSweepError(
                f"Model {where}: {given.__name__} can't be made without arguments ({error}). "
                "Give an instance instead of the class."
            ) from error
    missing = [
        method for method in ("fit", "get_params") if not callable(getattr(given, method, None))
    ]
    if missing:
        raise InvalidSweepError(
            f"Model {where}: {_short(given)} (a {type(given).__name__}) is no estimator, it has no "
            f"{' and no '.join(missing)}. Give an object that follows scikit-learn's protocol, "
            "its class or its import path."
        )
    try:
        return clone(given)
    except Exception as error:
        raise InvalidSweepError(
            f"Model {where}: {type(given).__name__} can't be cloned, and every fit needs a fresh "
            f"copy: {error}. Its constructor must keep each argument unchanged under its name."
        ) from error


def _imported(path: str, where: str) -> Any:
    module_name, _, attribute = path.rpartition(".")
    if not module_name or not attribute:
        raise InvalidSweepError(
            f"Model {where}: {path!r} is no import path. Give it in full, as in "
            '"sklearn.linear_model.LogisticRegression".'
        )
    try:
        module = import_module(module_name)
    except Exception as error:
        raise InvalidSweepError(
            f"Model {where}: can't import {module_name!r} for {path!r}: {error}. Check the "
            "spelling, or install the package it is in."
        ) from error
    if not hasattr(module, attribute):
        raise InvalidSweepError(
            f"Model {where}: {module_name!r} has no {attribute!r}{nearest(attribute, dir(module))}"
        )
    return getattr(module, attribute)


def _settings(grid: Any, where: str, draw: Draw | None) -> list[dict[str, Any]]:
    if isinstance(grid, ChosenSettings):
        return list(grid)
    grids = [grid] if isinstance(grid, Mapping) else grid
    if not isinstance(grids, list | tuple) or not all(isinstance(g, Mapping) for g in grids):
        raise InvalidSweepError(
            f"Model {where}: the grid must be a dict of parameter → list of values, or a list of "
            f"such dicts, not {_short(grid)}."
        )
    if not grids:
        raise InvalidSweepError(
            f"Model {where}: the grid is empty, so there is nothing to try. "
            "Give the estimator alone to fit it as it is."
        )
    if draw is not None:
        return _drawn(grid, grids, where, draw)
    settings: list[dict[str, Any]] = []
    for each in grids:
        one_setting = isinstance(grid, list | tuple) and bool(each)
        if one_setting and not any(_is_list(value) for value in each.values()):
            settings.append(dict(each))  # an explicit setting, not lists of values
            continue
        for key, value in each.items():
            _check_values(key, value, where)
        settings.extend(ParameterGrid(dict(each)))
    return settings


def _drawn(
    grid: Any, grids: Iterable[Mapping[Any, Any]], where: str, draw: Draw
) -> list[dict[str, Any]]:
    for each in grids:
        for key, value in each.items():
            if not hasattr(value, "rvs"):
                _check_values(key, value, where)
    try:
        return draw(grid)
    except (TypeError, ValueError) as error:
        raise InvalidSweepError(f"Model {where}: no settings can be drawn: {error}") from error


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | range | np.ndarray) or hasattr(value, "to_numpy")


def _check_values(key: Any, value: Any, where: str) -> None:
    if not isinstance(key, str):
        raise InvalidSweepError(
            f"Model {where}: a hyper-parameter's name must be a string, not {key!r}."
        )
    if hasattr(value, "rvs"):
        raise InvalidSweepError(
            f"Model {where}: {key!r} has a distribution. Say how many settings are to be drawn: "
            "Sweep(..., n_iter=20, random_state=0)."
        )
    if not _is_list(value):
        raise InvalidSweepError(
            f"Model {where}: the values of {key!r} must be a list, not {_short(value)}. "
            f"For a single value write {{{key!r}: [{_short(value)}]}}."
        )
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise InvalidSweepError(
            f"Model {where}: the values of {key!r} must be a list or a one-dimensional array, "
            f"not an array of shape {value.shape}."
        )
    if len(value) == 0:
        raise InvalidSweepError(
            f"Model {where}: the list of values for {key!r} is empty, so there is nothing to try. "
            "Give it a value, or remove it from the grid."
        )


def _unknown_params(estimator: Any, params: Iterable[str]) -> list[str]:
    known = estimator.get_params(deep=True)
    return [key for key in params if key not in known and key.split("__")[0] not in known] or [
        key for key in params if key not in known
    ]


def _label(name: str, params: Mapping[str, Any]) -> str:
    label = " ".join([name, *(f"{key}={_shown(value)}" for key, value in params.items())])
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1] + "…"


def _unique(label: str, taken: set[str], pattern: str = " ({})") -> str:
    unique, number = label, 1
    while unique in taken:
        number += 1
        unique = label + pattern.format(number)
    taken.add(unique)
    return unique


def _shown(value: Any) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if callable(getattr(value, "get_params", None)) and not isinstance(value, type):
        return type(value).__name__
    if inspect.isroutine(value) or isinstance(value, type):
        return str(getattr(value, "__name__", type(value).__name__))
    return _short(value) if not isinstance(value, str) else value[:_VALUE_LENGTH]


def _short(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _VALUE_LENGTH else text[: _VALUE_LENGTH - 1] + "…"


def _is_step(step: Any) -> bool:
    return step is not None and not isinstance(step, str)
