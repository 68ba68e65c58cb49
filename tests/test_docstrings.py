"""The public names: each has a numpydoc docstring, and every example in a docstring runs."""

import doctest
import importlib
import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import fitcast
from fitcast.scheduler.broker.settings import PREFIX, BrokerSettings
from fitcast.scheduler.session.remote.address import (
    ADDRESS_VARIABLE,
    PLAIN_VARIABLE,
    TOKEN_VARIABLE,
)
from fitcast.settings import Settings

ROOT = Path(__file__).parents[1]
ROOMS = ("fitcast", "history", "scheduler", "sizing", "trainer")
RECEIVED = {fitcast.Workflow}  # made by a client only: nobody else passes its parameters
MUST_HAVE_EXAMPLES = ("Eta", "MemoryHistory", "Pool", "Record", "Sweep", "SweepEstimate")


def modules() -> list[str]:
    """Return the product's modules that have an example somewhere."""
    files = [
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        if ">>> " in path.read_text(encoding="utf-8")
    ]
    # fitcast/ has links to the rooms: each module once, by the name under which it is imported
    paths = {path.resolve().relative_to(ROOT.resolve()) for path in files}
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return sorted(name if name.startswith("fitcast") else f"fitcast.{name}" for name in names)


@pytest.mark.parametrize("module", modules())
def test_the_examples_of_docstrings_run(module):
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    for one in found:
        runner.run(one, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
    assert any(one.examples for one in found)


@pytest.mark.parametrize("name", MUST_HAVE_EXAMPLES)
def test_what_most_users_see_has_an_example(name):
    assert ">>> " in inspect.getdoc(getattr(fitcast, name))


def documented(doc: str) -> set[str]:
    """Return the names described in the sections of a numpydoc docstring."""
    found = set()
    for section in ("Parameters", "Attributes"):
        text = re.search(rf"^{section}\n-+\n(.*?)(?=^\w[\w ]*\n---|\Z)", doc, re.M | re.S)
        for line in re.findall(r"^(\w.*)$", text[1] if text else "", re.M):
            found |= {part.strip(" *") for part in line.split(" : ")[0].split(",")}
    return found


def to_be_documented(value: type) -> set[str]:
    """Return the fields or parameters of a class that a user reads or gives."""
    if is_dataclass(value):
        names = {item.name for item in fields(value)}
    elif value in RECEIVED or issubclass(value, str) or getattr(value, "_is_protocol", False):
        names = set()
    else:
        names = set(inspect.signature(value).parameters)
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(fitcast._HOME_OF))
def test_a_public_name_is_documented(name):
    value = getattr(fitcast, name)
    doc = inspect.getdoc(value)
    assert doc
    first = doc.splitlines()[0]
    assert first.endswith(".")
    assert to_be_documented(value) <= documented(doc)
    for member, what in vars(value).items():
        if not member.startswith("_") and (inspect.isfunction(what) or isinstance(what, property)):
            assert inspect.getdoc(what), f"{name}.{member}"


@pytest.mark.parametrize("name", sorted(fitcast._HOME_OF))
def test_a_public_name_is_in_the_reference(name):
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| `{name}` \|", reference, re.M)


def test_the_reference_names_nothing_else_and_every_error():
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", reference, re.M))
    errors = {
        name
        for name, value in vars(fitcast.errors).items()
        if inspect.isclass(value) and issubclass(value, fitcast.errors.FitcastError)
    }
    settings = {name for name in named if name.startswith("FITCAST_")}
    known = {f"FITCAST_{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}" for name in BrokerSettings.model_fields}
    assert settings <= known | {ADDRESS_VARIABLE, TOKEN_VARIABLE, PLAIN_VARIABLE}
    assert named - settings == set(fitcast._HOME_OF) | errors
