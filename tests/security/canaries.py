"""A sweep with values that can be told from all others, to look for where they get to."""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from fitcast import Sweep
from tests.fault.estimators import Lingers

NUMBER = np.float64(0.61803398874989484)
TEXT = "canary-row-7f3a9c51e2"
COLUMN = "canary_column_84b1d06f"
PARAMETER = 0.000482915366107
SCORE = 0.8317462590351866
DEED = "canary_deed_5d20e9"

ROWS = (NUMBER.tobytes(), NUMBER.tobytes()[::-1], repr(float(NUMBER)).encode(), TEXT.encode())


def canary_score(estimator, X, y):
    """A scorer with a value of its own."""
    return SCORE


def canary_sweep(gate) -> Sweep:
    """Return it: two fits that wait for a file, and two that fail."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({COLUMN: np.append(rng.random(79), NUMBER), "b": [TEXT, "other"] * 40})
    target = np.arange(80) // 2 % 2
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["b"]), remainder="passthrough"), Lingers()
    )
    waits = {"lingers__linger_s": [PARAMETER], "lingers__gate": [str(gate)]}
    fails = {"lingers__deed": [DEED]}
    return Sweep(
        {"waits": (model, waits), "fails": (model, fails)},
        frame,
        target,
        cv=2,
        scoring=canary_score,
        name="canary",
    )
