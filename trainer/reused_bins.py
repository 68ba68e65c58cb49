"""The binned rows of XGBoost and LightGBM, made once for several fits of one process.

In: what two models must agree in to train on the same bins, keeping the bins of one fit for the
next. Not in: which fits run in one process (:mod:`fitcast.scheduler.plan.batching`).

Both libraries turn the training rows into a matrix of small integers before the first tree: 40 ns
per cell, a tenth of an ordinary fit, and the same for all candidates that differ in how trees grow.
Their scikit-learn interfaces make that matrix by a public class, which is replaced by one that
remembers while a fit runs.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from fitcast.trainer.clocks import CLOCKS
from fitcast.trainer.naming import public_path

_BOOSTING: Final = (
    *("n_estimators", "learning_rate", "importance_type", "verbosity"),
    *("max_depth", "subsample", "colsample_bytree", "reg_alpha", "reg_lambda", "min_child_weight"),
    *("scale_pos_weight", "n_jobs", "nthread", "num_threads"),
)
_WITHOUT_EFFECT: Final[Mapping[str, frozenset[str]]] = {
    "xgboost": frozenset(
        (
            *_BOOSTING,
            *("max_leaves", "grow_policy", "gamma", "max_delta_step", "sampling_method"),
            *("colsample_bylevel", "colsample_bynode", "num_parallel_tree", "random_state"),
        )
    ),
    "lightgbm": frozenset((*_BOOSTING, "num_leaves", "min_split_gain", "subsample_freq")),
}
"""Parameters that don't change the bins. Others may: models must agree in them.

LightGBM leaves out columns that can't be split with ``min_child_samples``, and its random state
draws the rows that bins are found on.
"""

_MADE_BY: Final = {"xgboost": "QuantileDMatrix", "lightgbm": "Dataset"}
_KINDS: Final = frozenset(
    (
        *("xgboost.XGBClassifier", "xgboost.XGBRegressor"),
        *("lightgbm.LGBMClassifier", "lightgbm.LGBMRegressor"),
    )
)
_EMPTY: Final = ("weight", "group", "qid", "base_margin", "init_score", "ref")


def has_bins(model: Any) -> bool:
    """Return whether an estimator bins its rows in a way that is known here."""
    return public_path(model) in _KINDS


def bins_key(model: Any) -> tuple[Any, ...] | None:
    """Return what models on the same rows must agree in to have equal bins.

    None for a model that has no bins that are known here; subclasses of the libraries' own don't.
    """
    kind = public_path(model)
    if kind not in _KINDS:
        return None
    library = kind.partition(".")[0]
    params = model.get_params(deep=False)
    if library == "xgboost":
        if params.get("tree_method") not in (None, "auto", "hist"):
            return None
        if params.get("device") not in (None, "cpu") or params.get("booster") == "gblinear":
            return None
    elif params.get("class_weight") is not None:
        return None  # becomes weights of rows
    changing = {
        name: value
        for name, value in params.items()
        if value is not None and name not in _WITHOUT_EFFECT[library]
    }
    return kind, sorted(changing.items())


class ReusedBins:
    """The bins of a fit: taken from the one before where equal, kept for the next where equal.

    Parameters
    ----------
    name : str, optional
        Of its bins: equal names, equal bins. None if it has none.
    keep : bool
        Whether the next fit has the same.
    before : ReusedBins, optional
        Those of the fit before.
    """

    def __init__(self, name: str | None, keep: bool, before: "ReusedBins | None" = None) -> None:
        self.saved_s = 0.0
        self.kept_s = 0.0  # what they took, in seconds, if the next fit needn't make them
        self.gave_something = False
        self._keep = keep
        self._name = name
        self._bins: Any = None
        if before is not None and name is not None and before._name == name:
            self._bins, self.kept_s = before._bins, before.kept_s

    @contextmanager
    def given_to(self, model: Any) -> Iterator[None]:
        """Let the model be fitted on these bins, and hold on to them only if they are kept."""
        if self._name is None or (self._bins is None and not self._keep):
            yield
            return
        library = type(model).__module__.partition(".")[0]
        module = sys.modules[f"{library}.sklearn"]
        original = getattr(module, _MADE_BY[library])
        setattr(module, _MADE_BY[library], self._remembering(original))
        try:
            yield
        finally:
            setattr(module, _MADE_BY[library], original)
            if not self._keep:
                self._bins, self.kept_s = None, 0.0

    def _remembering(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **kwargs: Any) -> Any:
            if args or any(kwargs.get(name) is not None for name in _EMPTY):
                return make(*args, **kwargs)
            if self._bins is not None:
                self.saved_s += self.kept_s
                self.gave_something = True
                return self._bins
            began_s = CLOCKS.performance_s()
            bins = make(**kwargs)
            if hasattr(bins, "construct"):  # LightGBM's are made when first needed
                bins.construct()
            self.kept_s = CLOCKS.performance_s() - began_s
            self._bins = bins
            return bins

        return made
