"""Marks for parameters of tests."""

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Return values whose tests run with the slow ones (``make test-slow``)."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
