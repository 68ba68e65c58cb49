"""scikit-learn's checks of any estimator, of the searches (``make test-sklearn``)."""

import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVR
from sklearn.utils.estimator_checks import parametrize_with_checks

from fitcast import SizedRandomizedSearchCV, SizedSearchCV

pytestmark = pytest.mark.sklearn_suite


@parametrize_with_checks(
    [
        SizedSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2, error_score="raise"),
        SizedRandomizedSearchCV(
            LinearSVR(random_state=0),
            {"C": [0.1, 1.0]},
            n_iter=2,
            random_state=0,
            cv=2,
            error_score="raise",
        ),
    ]
)
def test_it_is_an_estimator(estimator, check):
    check(estimator)
