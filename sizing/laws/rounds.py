"""How many rounds there will be where a fit stops by itself: a forecast of its own.

In: whether a fit stops early, after how many rounds, how unsure that is, the constants of it
(``rounds.json``, set by ``benchmarks/early_stopped.py``). Not in: what a round costs
(:mod:`fitcast.sizing.laws.tree` and its neighbours), what seen fits of a dataset tell of it
(:mod:`fitcast.sizing.learning.gaussian_process`).

A boosting goes on for its patience after the round that was best on rows held out. The best round
is in inverse proportion to the learning rate, comes later with more rows and earlier with larger
trees, and depends more on how noisy the target is than on all of these: hence the width.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fitcast.sizing.laws.features import Described
from fitcast.sizing.laws.law import between, is_regression

_PATIENCE = (
    *("early_stopping_rounds", "early_stopping_round", "early_stopping", "n_iter_no_change"),
    *("od_wait", "callbacks__early_stopping_rounds"),
)
"""Names of the rounds without a gain after which a boosting ends."""

UNKNOWN = "unknown"  # what imported history says where nobody knows whether a fit stopped early
_USUAL_PATIENCE = 50.0
_AUTOMATIC_ROWS = 10_000.0  # beyond which scikit-learn's histogram boosting stops by itself
_LEARNING_RATES = ("learning_rate", "eta", "shrinkage_rate")
_USUAL_RATE = 0.1
_LEAST_RATE, _MOST_RATE = 1e-4, 1.0


@dataclass(frozen=True, slots=True)
class Rounds:
    """A number of rounds."""

    expected: float  # the median
    log_sd: float = 0.0  # 0 if they are told beforehand


@cache
def constants() -> Mapping[str, float]:
    """Return the measured constants."""
    text = (files("fitcast.sizing.laws") / "rounds.json").read_text(encoding="utf-8")
    loaded: dict[str, float] = json.loads(text)
    return loaded


def boosting_rounds(fit: Described, most: float, leaves: float) -> Rounds:
    """Return how many rounds a boosting makes.

    Parameters
    ----------
    fit
        The fit.
    most
        At most so many, by its hyper-parameters.
    leaves
        Of a tree.
    """
    unknown = any(fit.params.word(name) == UNKNOWN for name in _PATIENCE)
    patience = _USUAL_PATIENCE if unknown else patience_of(fit)
    if patience <= 0.0 or most <= patience + 1.0:
        return Rounds(most)
    best = best_round(fit, leaves)
    # Half of what one standard deviation of the best round more, or less, makes of the rounds:
    # where patience is most of them, or the maximum ends them, little.
    by = math.exp(constants()["log_sd"])
    more, less = min(best * by + patience, most), min(best / by + patience, most)
    ended, log_sd = min(best + patience, most), 0.5 * math.log(more / less)
    if unknown:  # all of its rounds or fewer, each as likely
        apart = 0.5 * math.log(most / ended)
        return Rounds(math.sqrt(most * ended), math.hypot(apart, log_sd * math.sqrt(0.5)))
    return Rounds(ended, log_sd)


def best_round(fit: Described, leaves: float) -> float:
    """Return the round that is likely the best on rows held out."""
    c = constants()
    rate = fit.params.number(*_LEARNING_RATES, default=_USUAL_RATE)
    leaves = between(leaves, 2.0, 1024.0)
    best = (
        c["classes_best"] * max(1.0, fit.classes / 2.0) ** c["classes_power"]
        if not is_regression(fit)
        else c["values_best"]
    )
    best *= (between(rate, _LEAST_RATE, _MOST_RATE) / 0.1) ** -c["rate_power"]
    best *= (fit.rows_train / 1e4) ** c["rows_power"]
    best *= (leaves / 31.0) ** -c["leaves_power"]
    best *= (fit.columns / 20.0) ** c["columns_power"]
    if fit.params.word("extra_trees") == "True":
        best *= c["random_factor"]
    return between(best, 1.0, 1e6)


def patience_of(fit: Described) -> float:
    """Return the rounds without a gain after which a fit ends; 0 if it makes all of its rounds."""
    p = fit.params
    name = fit.algorithm.rpartition(".")[2]
    if name.startswith("Hist"):
        word = p.word("early_stopping", "auto")
        on = word == "True" or (word == "auto" and fit.rows_train > _AUTOMATIC_ROWS)
        return between(p.number("n_iter_no_change", default=10.0), 1.0, 1e6) if on else 0.0
    patience = p.number(*_PATIENCE, default=0.0)
    return between(patience, 1.0, 1e6) if patience >= 1.0 else 0.0
