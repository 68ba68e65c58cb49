"""CatBoost: threads, categories named in fit, early stopping, its own containers."""

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier, CatBoostRanker, CatBoostRegressor, Pool
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fitcast import SizedHalvingSearchCV, SizedSearchCV
from tests.interop.agreement import close, searched, swept

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

X, Y = make_classification(300, 8, n_informative=5, random_state=0)
GRID = {"depth": [2, 4]}


def model(**params):
    known = {"iterations": 30, "random_seed": 0, "verbose": False, "allow_writing_files": False}
    return CatBoostClassifier(**{**known, "thread_count": 1, **params})


def mixed():
    """Numbers, a category of texts and one of whole numbers."""
    frame = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
    frame["town"] = np.array(["Oslo", "Rome", "Bonn", "Lyon"])[np.arange(len(frame)) % 4]
    frame["code"] = (np.arange(len(frame)) // 7) % 5
    return frame


@pytest.mark.parametrize("threads", [1, 2, -1])
def test_thread_count_and_the_refit(client, threads):
    ours, theirs = searched(client, model(thread_count=threads), GRID, X, Y, cv=3)
    close(ours.predict_proba(X), theirs.predict_proba(X))
    assert ours.best_estimator_.is_fitted()
    swept(client, theirs, X, Y)


def test_categories_named_in_fit(client):
    frame = mixed()
    params = {"cat_features": ["town", "code"]}
    ours, theirs = searched(client, model(), GRID, frame, Y, params, cv=3)
    assert ours.best_estimator_.get_cat_feature_indices() == [8, 9]
    close(ours.predict_proba(frame), theirs.predict_proba(frame))
    swept(client, theirs, frame, Y, fit_params=params)


def test_categories_of_the_constructor_are_refused_by_both(client):
    # CatBoost copies the list, and clone() of scikit-learn refuses what does
    estimator = model(cat_features=["town", "code"])
    for search in (GridSearchCV(estimator, GRID), SizedSearchCV(estimator, GRID, client=client)):
        with pytest.raises(RuntimeError, match="Cannot clone"):
            search.fit(mixed(), Y)


def test_early_stopping_on_a_set_of_its_own(client):
    params = {"eval_set": (X[200:], Y[200:]), "early_stopping_rounds": 3}
    ours, theirs = searched(
        client, model(iterations=200), {"learning_rate": [0.1, 0.5]}, X[:200], Y[:200], params, cv=3
    )
    assert ours.best_estimator_.tree_count_ == theirs.best_estimator_.tree_count_ < 200
    assert ours.best_estimator_.get_best_iteration() == theirs.best_estimator_.get_best_iteration()


def test_a_pool_as_eval_set_is_fitted_here_and_says_what_to_give(client):
    # GridSearchCV takes it in one process only: with n_jobs=2 it can't pickle it either
    params = {"eval_set": Pool(X[200:], Y[200:]), "early_stopping_rounds": 3}
    with pytest.warns(UserWarning, match=r"(?s)in this process.*eval_set.*Pool"):
        ours = SizedSearchCV(model(), GRID, cv=3, client=client).fit(X[:200], Y[:200], **params)
    theirs = GridSearchCV(model(), GRID, cv=3).fit(X[:200], Y[:200], **params)
    np.testing.assert_array_equal(
        ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"]
    )


def test_weights_and_several_scorers(client):
    params = {"sample_weight": np.linspace(0.2, 2, len(Y))}
    searched(
        client, model(), GRID, X, Y, params, cv=3, scoring=["accuracy", "roc_auc"], refit="roc_auc"
    )


def test_classes_of_text_and_weights_of_classes(client):
    labels = np.array(["no", "yes"])[Y]
    grid = {"auto_class_weights": ["SqrtBalanced", "Balanced"]}
    ours, _ = searched(client, model(), grid, X, labels, cv=3)
    assert list(ours.classes_) == ["no", "yes"]


def test_regression_with_missing_values(client):
    holes = X.copy()
    holes[::7, 2] = np.nan
    y = X @ np.arange(8.0)
    estimator = CatBoostRegressor(
        iterations=30, random_seed=0, verbose=False, thread_count=1, allow_writing_files=False
    )
    grid = {"loss_function": ["RMSE", "MAE"]}
    _, theirs = searched(client, estimator, grid, holes, y, cv=3, scoring="r2")
    swept(client, theirs, holes, y)


def test_ranking_within_groups(client):
    queries = np.repeat(np.arange(30), 10)
    estimator = CatBoostRanker(
        iterations=20, random_seed=0, verbose=False, thread_count=1, allow_writing_files=False
    )

    def agreement(fitted, X, y):
        return float(np.corrcoef(fitted.predict(X), y)[0, 1])

    # `groups` goes to the splitter alone, `group_id` to fit
    params = {"group_id": queries, "groups": queries}
    searched(client, estimator, GRID, X, Y, params, cv=GroupKFold(3), scoring=agreement)


def test_in_a_pipeline_with_parameters_of_a_step(client):
    estimator = make_pipeline(StandardScaler(), model())
    params = {"catboostclassifier__sample_weight": np.linspace(0.2, 2, len(Y))}
    searched(client, estimator, {"catboostclassifier__depth": [2, 4]}, X, Y, params, cv=3)


def test_halving_by_iterations(client):
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    settings = {"resource": "iterations", "max_resources": 40, "min_resources": 10, "cv": 3}
    theirs = HalvingGridSearchCV(model(), GRID, random_state=0, **settings).fit(X, Y)
    ours = SizedHalvingSearchCV(
        clone(theirs.estimator), GRID, random_state=0, client=client, **settings
    ).fit(X, Y)
    close(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])
    assert ours.best_params_ == theirs.best_params_
