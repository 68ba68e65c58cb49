"""polars: frames and series reach the user's code as such, cut along the rows."""

import numpy as np
import polars as pl
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from tests.interop.agreement import close, searched, swept

pytestmark = [pytest.mark.interop, pytest.mark.timeout(600)]

X, Y = make_classification(240, 4, n_informative=3, n_redundant=0, random_state=0)
FRAME = pl.DataFrame(X, schema=["a", "b", "c", "d"]).with_columns(
    pl.Series("town", np.array(["Oslo", "Rome", "Bonn"])[np.arange(240) % 3]),
    pl.Series("on", np.arange(240) % 2 == 0),
)
GRID = {"logisticregression__C": [0.01, 1.0]}


def expressions(frame):
    assert isinstance(frame, pl.DataFrame), type(frame)
    return frame.select(
        (pl.col("a") * pl.col("b")).alias("ab"),
        pl.col("c").clip(-1, 1),
        pl.when(pl.col("on")).then(pl.col("d")).otherwise(0.0).alias("d_on"),
        (pl.col("a") - pl.col("a").mean().over("town")).alias("a_in_town"),
    )


def test_expressions_in_a_pipeline(client):
    estimator = make_pipeline(FunctionTransformer(expressions), LogisticRegression())
    ours, theirs = searched(client, estimator, GRID, FRAME, Y, cv=3)
    close(ours.predict_proba(FRAME), theirs.predict_proba(FRAME))
    swept(client, theirs, FRAME, Y)


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("late", Y),
        pl.Series("late", Y == 1),
        pl.Series("late", np.array(["no", "yes"])[Y]),
        pl.Series("late", np.array(["no", "yes"])[Y], dtype=pl.Categorical),
        pl.Series("late", np.array(["no", "yes"])[Y], dtype=pl.Enum(["no", "yes"])),
    ],
    ids=["int", "bool", "text", "categorical", "enum"],
)
def test_a_series_as_y(client, series):
    estimator = make_pipeline(FunctionTransformer(expressions), LogisticRegression())
    ours, theirs = searched(client, estimator, GRID, FRAME, series, cv=3)
    assert list(ours.classes_) == list(theirs.classes_)
    swept(client, theirs, FRAME, series)


def test_the_scorer_sees_a_series(client):
    y = pl.Series("amount", X[:, 0] * 2 + X[:, 1])

    def within(known, found):
        assert isinstance(known, pl.Series), type(known)
        return float(((known - pl.Series(found)).abs() < 0.5).mean())

    numbers = FRAME.select("a", "b", "c")
    grid = {"alpha": [0.1, 100.0]}
    for cv in (3, TimeSeriesSplit(3)):
        searched(client, Ridge(), grid, numbers, y, cv=cv, scoring=make_scorer(within))


def test_columns_by_name_and_by_selector(client):
    from polars import selectors

    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["a", "b", "c", "d"]),
            ("town", OneHotEncoder(sparse_output=False), ["town"]),
            (
                "one",
                FunctionTransformer(lambda frame: frame.select(pl.col("on").cast(int))),
                ["on"],
            ),
        ]
    )
    estimator = make_pipeline(columns, LogisticRegression())
    ours, theirs = searched(client, estimator, GRID, FRAME, pl.Series(Y), cv=3)
    assert list(ours.feature_names_in_) == list(theirs.feature_names_in_) == FRAME.columns
    swept(client, theirs, FRAME, pl.Series(Y))
    # scikit-learn's own selector asks for pandas
    assert callable(make_column_selector(dtype_include="number"))
    assert FRAME.select(selectors.numeric()).columns == ["a", "b", "c", "d"]


def test_polars_as_output_of_transformers(client):
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["a", "b"]), ("rest", "passthrough", ["c", "d"])]
    ).set_output(transform="polars")

    def product(frame):
        return frame.with_columns((pl.col("numbers__a") * pl.col("rest__c")).alias("ac"))

    estimator = make_pipeline(columns, FunctionTransformer(product), LogisticRegression())
    searched(client, estimator, GRID, FRAME, Y, cv=3)


def test_a_series_as_weights(client):
    numbers = FRAME.select("a", "b", "c", "d")
    weights = pl.Series("w", np.linspace(0.5, 2, 240))
    grid = {"C": [0.01, 1.0]}
    params = {"sample_weight": weights}
    _, theirs = searched(client, LogisticRegression(), grid, numbers, Y, params, cv=3)
    swept(client, theirs, numbers, Y, **params)


def test_missing_values_and_dates(client):
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 8, 27), eager=True).alias("day")
    holes = FRAME.with_columns(
        pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise(pl.col("a")).alias("a"), days
    )

    def parts(frame):
        month = pl.col("day").dt.month().alias("month")
        return frame.select("a", "b", "c", pl.col("day").dt.weekday(), month)

    estimator = make_pipeline(
        FunctionTransformer(parts), HistGradientBoostingClassifier(max_iter=10, random_state=0)
    )
    grid = {"histgradientboostingclassifier__max_depth": [2, 3]}
    _, theirs = searched(client, estimator, grid, holes, Y, cv=3)
    swept(client, theirs, holes, Y)
