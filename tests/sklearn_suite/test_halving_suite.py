"""scikit-learn's tests of successive halving (``make test-sklearn``)."""

from tests.sklearn_suite import swapped

CANNOT_APPLY = {
    "test_cv_results": (
        "its scorer draws from one generator for all fits; each has a copy, as with n_jobs=2"
    ),
    "test_base_estimator_inputs": (
        "its fits append to lists; theirs are in other processes, as with n_jobs=2"
    ),
}

ALWAYS = ("test_select_best_index",)

globals().update(
    swapped.tests_of("test_successive_halving", cannot_apply=CANNOT_APPLY, always=ALWAYS)
)
