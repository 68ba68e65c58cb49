"""What users' predict and scorers return: a score or predictions, or a clear error of that fit."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from fitcast.errors import InvalidSweepError
from fitcast.trainer.attempt.fitting import predict, score

X = np.zeros((3, 2))


class Answers:
    def __init__(self, answer):
        self.predict = lambda X: answer


ODD = [None, "text", {"a": 1}, 1.0, np.float64(2), [1, 2], np.zeros(4), [[1], [1, 2]], {1, 2},
       (i for i in range(3)), []]  # fmt: skip


@pytest.mark.parametrize("answer", ODD, ids=lambda a: type(a).__name__)
def test_predictions_that_are_not_a_value_per_row(answer):
    with pytest.raises(InvalidSweepError, match="predict"):
        predict(Answers(answer), "predict", X, None)


@pytest.mark.parametrize(
    "answer",
    [[1, 2, 3], ["a", "b", "c"], [[1, 2]] * 3, [np.zeros(3), np.ones(3)], pd.Series([1, 2, 3]),
     pd.DataFrame({"a": [1, 2, 3]}), pd.Series(list("aba"), dtype="category"),
     sparse.eye(3).tocsr(), np.ones(3) * 1j, [[1], [1, 2], [3]], [["a"], [], ["b", "c"]]],
    ids=lambda a: type(a).__name__,
)  # fmt: skip
def test_predictions_with_a_value_per_row(answer):
    assert len(predict(Answers(answer), "predict", X, None)) == 3


@pytest.mark.parametrize(
    "value", [None, "0.5", {"a": None}, {}, [1.0], np.zeros(2), 10**400, (1,), {("a",): 1.0},
              {"1": 1.0, 1: 2.0}, pd.Series([1, 2]), pytest.param(object(), id="an object")],
    ids=repr,
)  # fmt: skip
def test_scores_that_are_no_number(value):
    with pytest.raises(InvalidSweepError):
        score(lambda *_: value, None, X, None)


@pytest.mark.parametrize(
    ("value", "scores"),
    [(True, {"score": 1.0}), (np.float32(0.5), {"score": 0.5}), (Decimal("0.5"), {"score": 0.5}),
     (np.array([0.5]), {"score": 0.5}), (np.array(0.5), {"score": 0.5}),
     ({"a": 1, 2: np.int8(3)}, {"a": 1.0, "2": 3.0}), (float("inf"), {"score": float("inf")})],
    ids=repr,
)  # fmt: skip
def test_scores_that_are_numbers(value, scores):
    given = score(lambda *_: value, None, X, None)
    assert given == scores
    assert {type(name) for name in given} == {str}
    assert {type(number) for number in given.values()} == {float}
