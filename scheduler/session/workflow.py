"""The user's handle on a submitted workflow."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pandas as pd

from fitcast.errors import FitcastError, WaitTimeoutError
from fitcast.history.records import REFIT_FOLD, Outcome
from fitcast.scheduler.forecast.eta import Eta
from fitcast.scheduler.run.runs import Run
from fitcast.scheduler.session.results import Result, leaderboard
from fitcast.trainer.sweep.results import best_candidate, out_of_fold, tabulate


class Workflow:
    """A submitted sweep. Made by `Client.submit`; `Client.workflow` finds it again."""

    def __init__(
        self, run: Run, cancel: Callable[[str], None], url: Callable[[str], str | None]
    ) -> None:
        self._run = run
        self._cancel = cancel
        self._url = url

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} {self.id}: {self.state}>"

    @property
    def id(self) -> str:
        """Name of this workflow, unique over all users."""
        return self._run.workflow_id

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self._run.prepared.name

    @property
    def state(self) -> str:
        """``preparing``, ``running``, ``succeeded``, ``failed`` or ``cancelled``."""
        return self._run.state

    @property
    def notes(self) -> tuple[str, ...]:
        """What keeps its workers away now, in the cluster's own words; empty if nothing does."""
        return () if self._run.is_over else self._run.notes

    @property
    def forecast(self) -> Eta:
        """The ETA given at submission."""
        return self._run.forecast_eta

    @property
    def took_s(self) -> float:
        """Seconds from submission to the end, or to now."""
        ended = self._run.ended_at or datetime.now(UTC)
        return (ended - self._run.submitted_at).total_seconds()

    def eta(self) -> Eta:
        """Return when it will be done, from now; zero when it is over."""
        run, now = self._run, datetime.now(UTC)
        if run.is_over:
            return Eta(0.0, 0.0, 0.0, run.ended_at or now)
        eta = run.eta or run.forecast_eta
        asked = eta.finish_at - timedelta(seconds=eta.p50_s)
        gone_s = max(0.0, (now - asked).total_seconds())
        p10, p50, p90 = (max(0.0, s - gone_s) for s in (eta.p10_s, eta.p50_s, eta.p90_s))
        return Eta(p10, p50, p90, max(eta.finish_at, now))

    @property
    def fits(self) -> pd.DataFrame:
        """A row per fit: state, outcome, what it took, and the forecast beside it."""
        with self._run.lock:
            return pd.DataFrame([row.cells() for row in self._run.rows.values()])

    def counts(self) -> tuple[int, int, int]:
        """Return how many fits are done, running, and there in all."""
        with self._run.lock:
            states = [row.state for row in self._run.rows.values()]
        return states.count("done"), states.count("running"), len(states)

    def wait(self, timeout_s: float | None = None) -> "Workflow":
        """Wait until it is over.

        Raises
        ------
        WaitTimeoutError
            It isn't within `timeout_s` seconds; it goes on.
        """
        if not self._run.done.wait(timeout_s):
            raise WaitTimeoutError(
                f"workflow {self.id} isn't done after {timeout_s} s; it goes on: wait again, or "
                "cancel() it"
            )
        return self

    def cancel(self) -> None:
        """Stop its fits and give it up; a second or two later it is over."""
        if not self._run.is_over:
            self._cancel(self.id)

    def progress(self) -> "Workflow":
        """Show a live bar with the ETA until it is over, in a terminal or a notebook."""
        from fitcast.scheduler.session.progress import show

        show(self)
        return self

    def logs(self, fit: str | None = None) -> str:
        """Return what fits wrote: output, warnings, tracebacks.

        Parameters
        ----------
        fit : str, optional
            A ``fit_id`` of `fits`; by default all fits.

        Raises
        ------
        FitcastError
            There is no such fit.
        """
        with self._run.lock:
            if fit is not None and fit not in self._run.rows:
                raise FitcastError(f"there is no fit {fit!r}; workflow.fits lists them by fit_id")
            rows = [row for fit_id, row in self._run.rows.items() if fit in (None, fit_id)]
            parts = []
            for row in rows:
                measured = row.measured
                if measured is None:
                    continue
                texts = (measured.stdout, measured.stderr, *measured.warnings, measured.traceback)
                text = "\n".join(text.rstrip() for text in texts if text.strip())
                if text or row.error:
                    head = f"== {row.fit.fit_id} {row.fit.candidate.label} fold {row.fit.fold}"
                    parts.append(f"{head}\n{text or row.error}")
        return "\n".join(parts)

    def result(self, timeout_s: float | None = None) -> Result:
        """Wait for the end and return the result.

        Raises
        ------
        WorkflowFailedError
            No fit succeeded.
        WorkflowCancelledError
            It was cancelled.
        WaitTimeoutError
            It isn't over within `timeout_s` seconds.
        """
        self.wait(timeout_s)
        run = self._run
        if run.error is not None:
            raise run.error
        import cloudpickle

        prepared, measured = run.prepared, run.measured()
        cv_results = tabulate(prepared, measured)
        names = prepared.scorer_names
        score = prepared.refit if isinstance(prepared.refit, str) else names[0]
        best = best_candidate(prepared, cv_results) if prepared.refit or len(names) == 1 else None
        candidate = None if best is None else prepared.candidates[best]
        fits = self.fits
        lost = fits[fits["outcome"] != Outcome.SUCCEEDED.value]
        refits = [row for row in run.rows.values() if row.fit.fold == REFIT_FOLD]
        if refits and run.model is None:
            raise FitcastError(
                f"all folds are done, but the best candidate couldn't be fitted on all rows: "
                f"{refits[0].error}; use refit=False to get the scores alone"
            )
        return Result(
            leaderboard=leaderboard(fits, cv_results, score),
            cv_results_=cv_results,
            best_index_=best,
            best_candidate_=None if candidate is None else candidate.label,
            best_params_=None if candidate is None else dict(candidate.params),
            best_score_=None if best is None else float(cv_results[f"mean_test_{score}"][best]),
            best_estimator_=None if run.model is None else cloudpickle.loads(run.model),
            predictions=out_of_fold(prepared, measured),
            errors=lost[["candidate", "fold", "outcome", "error"]].reset_index(drop=True),
            _url=partial(self._url, self.id),
        )
