"""scikit-learn's own tests of its searches, with fitcast's classes in the place of theirs.

The tests are those of the scikit-learn that is installed; none is copied. What can't apply is
listed beside them, with a reason each.
"""

import importlib.util
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
import sklearn.model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - theirs, to be replaced
from sklearn.model_selection import _search

import fitcast
from fitcast.scheduler.session.searching import SizedBaseSearchCV

CLASSES = {
    "GridSearchCV": fitcast.SizedSearchCV,
    "RandomizedSearchCV": fitcast.SizedRandomizedSearchCV,
    "HalvingGridSearchCV": fitcast.SizedHalvingSearchCV,
    "HalvingRandomSearchCV": fitcast.SizedHalvingRandomSearchCV,
    "BaseSearchCV": SizedBaseSearchCV,
}


def tests_of(
    name: str, *, cannot_apply: Mapping[str, str], always: Collection[str]
) -> dict[str, Callable[..., Any]]:
    """Return the tests of a module of scikit-learn's, which knows only the classes of fitcast.

    Parameters
    ----------
    name
        Of the module.
    cannot_apply
        Reasons, by the names of tests that are skipped for them.
    always
        Tests that are quick, and so run with all others.
    """
    module = _module(name)
    tests = {key: value for key, value in vars(module).items() if key.startswith("test_")}
    unknown = {*cannot_apply, *always} - set(tests)
    if unknown and sklearn.__version__.startswith("1.9."):
        raise LookupError(f"there are no such tests: {unknown}")
    for key, test in tests.items():
        if key in cannot_apply:
            pytest.mark.skip(reason=cannot_apply[key])(test)
        if key not in always:
            pytest.mark.sklearn_suite(test)
    return tests


def _module(name: str) -> ModuleType:
    found = importlib.util.find_spec(f"sklearn.model_selection.tests.{name}")
    spec = importlib.util.spec_from_file_location(f"swapped_{name}", found.origin)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    with _classes_swapped():
        spec.loader.exec_module(module)
    # Workers can't import it under that name.
    cloudpickle.register_pickle_by_value(module)
    return module


@contextmanager
def _classes_swapped():
    places = [
        (package, name, getattr(package, name))
        for package in (sklearn.model_selection, _search)
        for name in CLASSES
        if hasattr(package, name)
    ]
    try:
        for package, name, _ in places:
            setattr(package, name, CLASSES[name])
        yield
    finally:
        for package, name, known in places:
            setattr(package, name, known)
