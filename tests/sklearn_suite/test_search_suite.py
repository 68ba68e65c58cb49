"""scikit-learn's tests of GridSearchCV and RandomizedSearchCV (``make test-sklearn``)."""

from tests.sklearn_suite import swapped

_IN_PROCESS = "it looks at objects that fits change; they are in other processes, as with n_jobs=2"

CANNOT_APPLY = {
    "test_custom_run_search": "it wants equal attributes of two searches; each has its workflow_",
    "test_searchcv_raise_warning_with_non_finite_score": (
        "its scorer counts over all fits; each has a scorer of its own, as with n_jobs=2"
    ),
    "test_multi_metric_search_forwards_metadata": _IN_PROCESS,
    "test_search_callbacks_receive_search_instance": _IN_PROCESS,
    "test_search_callbacks_with_partial_fit_failures": (
        "its callback pickles a search with a class of a function, which can't be; as with n_jobs=2"
    ),
}

ALWAYS = (
    "test_refit_callable_multi_metric",
    "test_grid_search_failing_classifier_raise",
    "test_predict_proba_disabled",
)

globals().update(swapped.tests_of("test_search", cannot_apply=CANNOT_APPLY, always=ALWAYS))
