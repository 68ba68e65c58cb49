"""scikit-learn's tests of successive halving (``make test-sklearn``)."""

from tests.sklearn_suite import swapped

CANNOT_APPLY: dict[str, str] = {}

ALWAYS = ("test_select_best_index",)

globals().update(
    swapped.tests_of("test_successive_halving", cannot_apply=CANNOT_APPLY, always=ALWAYS)
)
