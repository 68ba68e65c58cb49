"""What a finished workflow gives: leaderboard, scikit-learn's cv_results_, the best model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy.typing as npt
import pandas as pd

from fitcast.errors import FitcastError
from fitcast.scheduler.forecast.eta import span
from fitcast.scheduler.forecast.pictures import block, mib
from fitcast.scheduler.forecast.pictures import table as html_table


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a workflow.

    Attributes
    ----------
    leaderboard : DataFrame
        A row per candidate, best first: candidate, mean and standard deviation of the scores,
        measured and forecast seconds, peak memory in bytes.
    cv_results_ : dict
        scikit-learn's keys; its numbers too for deterministic models.
    best_index_, best_candidate_, best_params_, best_score_
        The best candidate by the deciding score; None where nothing decides.
    predictions : mapping of str to ndarray
        Out-of-fold predictions by candidate, one per row of the data. Each is read when it is
        asked for, and not kept in memory.
    errors : DataFrame
        A row per fit that didn't succeed: candidate, fold, outcome, error.
    """

    leaderboard: pd.DataFrame
    cv_results_: dict[str, Any]
    best_index_: int | None
    best_candidate_: str | None
    best_params_: dict[str, Any] | None
    best_score_: float | None
    predictions: Mapping[str, npt.NDArray[Any]]
    errors: pd.DataFrame
    _open_model: Callable[[], Any] = field(default=lambda: None, repr=False)
    _url: Callable[[], str | None] = field(default=lambda: None, repr=False)
    _log_model: Callable[..., str] | None = field(default=None, repr=False)

    def _repr_html_(self) -> str:
        board = self.leaderboard
        scores = [name for name in board.columns if name.startswith(("mean_", "std_"))]
        columns: dict[str, Callable[[float], str] | None] = {"rank": None, "candidate": None}
        columns |= dict.fromkeys(scores, "{:.4g}".format)
        columns |= {"runtime_s": span, "forecast_runtime_s": span, "peak_memory_bytes": mib}
        best = "no candidate is the best" if self.best_candidate_ is None else self.best_candidate_
        failed = f"; {len(self.errors):,} fits failed" if len(self.errors) else ""
        return block(f"Best of {len(board):,}: {best}{failed}", html_table(board, columns))

    @cached_property
    def best_estimator_(self) -> Any:
        """The best candidate fitted on all rows; None if the sweep asked for no refit.

        If what a worker fitted can't be sent (it holds a lock, a connection, a generator, or is too
        large), it is fitted again in this process when first asked for, and a warning says so.

        Raises
        ------
        FitcastError
            There is none: that fit failed, or the model can't be opened here. All else of the
            result can be had.
        """
        return self._open_model()

    @property
    def mlflow_url(self) -> str | None:
        """Where the workflow can be reviewed; waits, half a minute at most, until it is stored."""
        return self._url()

    def log_model(self, input_example: Any = None, *, registered_name: str | None = None) -> str:
        """Log the best model in MLflow with the workflow's run, and return its address there.

        ``mlflow.sklearn.load_model`` and ``mlflow.pyfunc.load_model`` load it from that address.
        Nothing is logged unless this is called. The model is a pickle: who loads it runs its code.

        Parameters
        ----------
        input_example : array or DataFrame, optional
            A few rows as they are predicted. They are kept with the model, which so gets a
            signature; without them no data reaches MLflow.
        registered_name : str, optional
            Name of a registered model, made if need be, of which it becomes a new version.

        Raises
        ------
        FitcastError
            There is no best model.
        HistoryError
            The history isn't in MLflow, or MLflow couldn't take it.
        """
        model = self.best_estimator_
        if model is None or self._log_model is None:
            raise FitcastError("there is no best model to log: the sweep asked for no refit")
        return self._log_model(model, input_example=input_example, registered_name=registered_name)


def leaderboard(
    fits: pd.DataFrame, cv_results: dict[str, Any], score: str, labels: Sequence[str]
) -> pd.DataFrame:
    """Return a row per candidate, best first.

    Parameters
    ----------
    fits : DataFrame
        ``Workflow.fits``.
    cv_results : dict
        As scikit-learn's.
    score : str
        Name of the deciding score: ``"score"`` or a scorer's name.
    labels : sequence of str
        Of the candidates, in the order of `cv_results`.
    """
    places = {label: place for place, label in enumerate(labels)}
    folds = fits[fits["fold"] >= 0]
    rows = []
    for label, group in folds.groupby("candidate", sort=False):
        index = places[str(label)]
        rows.append(
            {
                "rank": int(cv_results[f"rank_test_{score}"][index]),
                "candidate": label,
                f"mean_{score}": float(cv_results[f"mean_test_{score}"][index]),
                f"std_{score}": float(cv_results[f"std_test_{score}"][index]),
                "runtime_s": float(group["runtime_s"].sum(min_count=1)),
                "forecast_runtime_s": float(group["runtime_s_p50"].sum()),
                "peak_memory_bytes": float(group["peak_memory_bytes"].max()),
                "forecast_peak_memory_bytes": int(group["peak_memory_bytes_p95"].max()),
            }
        )
    board = pd.DataFrame(rows)
    return board.sort_values("rank", kind="stable").reset_index(drop=True)
