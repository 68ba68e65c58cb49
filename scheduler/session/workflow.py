"""The user's handle on a submitted workflow."""

import functools
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from fitcast.errors import FitcastError, InvalidSweepError, WaitTimeoutError
from fitcast.history.records import REFIT_FOLD, Outcome, Record
from fitcast.scheduler.forecast.eta import Eta, span
from fitcast.scheduler.forecast.pictures import block, timeline
from fitcast.scheduler.run.followed import Followed
from fitcast.scheduler.run.views import WorkflowView
from fitcast.scheduler.session.logs import logs_of
from fitcast.scheduler.session.results import Result, leaderboard
from fitcast.trainer.sweep.fitting_here import fit_here
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.results import OutOfFold, best_candidate, score_names, tabulate
from fitcast.trainer.sweep.rounds import best_of, candidates_that_ran, round_columns
from fitcast.trainer.sweep.submission import Fit


class Workflow:
    """A submitted sweep. Made by `Client.submit`; `Client.workflow` finds it again.

    It is a handle: a copy is the same workflow, and a pickle of what holds it holds None instead.
    """

    def __init__(
        self,
        run: Followed,
        cancel: Callable[[str], None],
        url: Callable[[str], str | None],
        log_model: Callable[..., str],
        detach: Callable[[Followed], Followed] | None = None,
    ) -> None:
        self._run = run
        self._cancel = cancel
        self._url = url
        self._log_model = log_model
        self._detach = detach

    def __repr__(self) -> str:
        return f"<Workflow {self.name!r} {self.id}: {self.state}>"

    # A handle, as the client is.

    def __copy__(self) -> "Workflow":
        return self

    def __deepcopy__(self, memo: object) -> "Workflow":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    @property
    def view(self) -> WorkflowView:
        """All that is known of it now, as data."""
        return self._run.view()

    def _repr_html_(self) -> str:
        done, running, there = self.counts()
        title = f"{self.name}: {self.state}, {done:,} of {there:,} fits done"
        if not self.is_over:
            title += f", {running:,} running"
        return block(
            f"{title}, {span(self.took_s)} so far"
            if not self.is_over
            else f"{title}, after {span(self.took_s)}",
            timeline(self.fits),
        )

    @property
    def id(self) -> str:
        """Name of this workflow, unique over all users."""
        return self._run.workflow_id

    @property
    def name(self) -> str:
        """The sweep's name."""
        return self._run.view().name

    @property
    def state(self) -> str:
        """Where it is: ``preparing``, ``queued`` or ``running``, then how it ended.

        It ends as ``succeeded``, ``failed`` or ``cancelled``; as ``interrupted`` if what runs it
        ends first: then it can be gone on with.
        """
        return self._run.view().state

    @property
    def is_over(self) -> bool:
        """Whether its result is final."""
        return self._run.is_over

    @property
    def notes(self) -> tuple[str, ...]:
        """What it waits for: other workflows, or workers, in the cluster's own words."""
        return self._run.view().notes

    @property
    def records(self) -> tuple[Record, ...]:
        """What each attempt so far asked for, cost, and was forecast to cost."""
        return self._run.view().records

    @property
    def forecast(self) -> Eta:
        """The ETA given at submission."""
        return self._run.forecast.result()

    @property
    def took_s(self) -> float:
        """Seconds from submission to the end, or to now."""
        view = self._run.view()
        return ((view.ended_at or self._run.now()) - view.submitted_at).total_seconds()

    @property
    def eta(self) -> Eta:
        """When it will be done, from now; zero when it is over.

        Of one that was interrupted: when it would be, if it were gone on with now.
        """
        view, now = self._run.view(), datetime.now(UTC)
        left = view.left(now)
        if left is not None:
            return left
        if view.is_over:
            return Eta(0.0, 0.0, 0.0, view.ended_at or now)
        return self.forecast.left_at(now)

    @property
    def fits(self) -> pd.DataFrame:
        """A row per fit: state, outcome, what it took, and the forecast beside it."""
        return _table(self._run.view())

    def counts(self) -> tuple[int, int, int]:
        """Return how many fits are done, running, and there in all."""
        return self._run.view().counts()

    def wait(self, timeout_s: float | None = None) -> "Workflow":
        """Wait until it is over.

        Raises
        ------
        WaitTimeoutError
            It isn't within `timeout_s` seconds; it goes on.
        """
        if not self._run.over.wait(timeout_s):
            raise WaitTimeoutError(
                f"workflow {self.id} isn't done after {timeout_s} s; it goes on: wait again, or "
                "cancel() it"
            )
        return self

    def cancel(self) -> None:
        """Stop its fits and give it up; a second or two later it is over."""
        if not self._run.is_over:
            self._cancel(self.id)

    def detach(self) -> "Workflow":
        """Leave it to the background process, so that it outlives this one; return itself.

        Fits that run at this moment begin anew there; those that are done aren't repeated. This
        handle follows it from then on. One that is over, or runs there already, is left as it is.

        Raises
        ------
        BackgroundError
            The background process can't be started, or was started with other settings: it goes on
            here.
        InvalidInputError
            Its client has a history or workers that another process can't have.
        SubmissionError
            Another client runs it.
        """
        if self._detach is None:
            raise FitcastError(
                f"this handle only follows it: client.workflow({self.id!r}).detach() does it"
            )
        self._run = self._detach(self._run)
        return self

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
        return logs_of(self._run.view(), fit)

    def result(self, timeout_s: float | None = None, *, partial: bool = False) -> Result:
        """Wait for the end and return the result.

        Parameters
        ----------
        timeout_s : float, optional
            Seconds to wait at most.
        partial : bool
            Whether what there is is wanted of a workflow that failed or was cancelled, too: the
            scores of the fits that are done. Fits that aren't have ``error_score``.

        Raises
        ------
        WorkflowFailedError
            No fit succeeded, or the sweep's own rule for the best candidate failed.
        WorkflowCancelledError
            It was cancelled.
        WaitTimeoutError
            It isn't over within `timeout_s` seconds.
        """
        self.wait(timeout_s)
        view = self._run.view()
        if view.error is not None and not partial:
            raise view.error
        submission, objects = self._run.submission, self._run.objects
        measured = view.measured()
        ran = candidates_that_ran(submission, measured, view.rows)
        listed = range(len(submission.candidates)) if ran is None else ran
        cv_results = tabulate(submission, measured, objects.params, ran)
        if ran is not None:
            cv_results = {**round_columns(submission, ran), **cv_results}
        names = score_names(cv_results)
        refit = submission.refit
        score = refit if refit in names else names[0]
        wants_best = submission.wants_refit
        best = self._run.chosen()
        if best is None and not submission.has_rule and (refit or len(names) == 1):
            with suppress(InvalidSweepError) if partial else nullcontext():
                if ran is None:
                    best = best_candidate(refit, cv_results)
                else:
                    best = best_of(submission, measured, ran)
        place = None if best is None else listed.index(best)
        candidate = None if best is None else submission.candidates[best]
        fits = _table(view)
        lost = fits[fits["outcome"] != Outcome.SUCCEEDED.value]
        return Result(
            leaderboard=leaderboard(
                fits, cv_results, score, [submission.candidates[index].label for index in listed]
            ),
            cv_results_=cv_results,
            best_index_=place,
            best_candidate_=None if candidate is None else candidate.label,
            best_params_=None if best is None else dict(objects.params[best]),
            best_score_=None if place is None else float(cv_results[f"mean_test_{score}"][place]),
            predictions=OutOfFold(submission, objects.test_rows, self._run.predicted),
            errors=lost[["candidate", "fold", "outcome", "error"]].reset_index(drop=True),
            _open_model=functools.partial(_open_model, self._run, view, asked=wants_best),
            _url=functools.partial(self._url, self.id),
            _log_model=functools.partial(self._log_model, self.id),
        )


def _open_model(run: Followed, view: WorkflowView, *, asked: bool) -> Any:
    model = run.model()
    if model is None:
        if not asked:
            return None
        refits = [row for row in view.rows.values() if row.fit.fold == REFIT_FOLD]
        if refits and refits[0].measured is not None and refits[0].measured.model_error:
            return _fitted_here(run, refits[0].fit, refits[0].measured.model_error)
        why = refits[0].error if refits else "the workflow ended before"
        raise FitcastError(
            f"the best candidate wasn't fitted on all rows: {why}. All else of the "
            "result is there; best_params_ says what to fit"
        )
    import cloudpickle

    try:
        return cloudpickle.loads(model)
    except Exception as error:
        raise FitcastError(
            f"the best model can't be opened here ({type(error).__name__}: {error}): import what "
            "its classes need, and ask again. All else of the result is there"
        ) from error


def _fitted_here(run: Followed, fit: Fit, why: str) -> Any:
    """Fit the best candidate once more, as what a worker fitted can't be sent."""
    warnings.warn(
        f"the best model can't leave the process that it was fitted in ({why}): it is fitted again "
        "in this one",
        stacklevel=5,
    )
    if not isinstance(run.objects, PreparedSweep):
        raise FitcastError(
            f"the best model can't leave the process that it was fitted in ({why}), and its data "
            "isn't here to fit it again. All else of the result is there: fit it with best_params_"
        )
    try:
        return fit_here(run.objects, fit.candidate.index, run.surroundings)
    except Exception as error:
        raise FitcastError(
            f"the best model can't leave the process that it was fitted in ({why}), and can't be "
            f"fitted here ({type(error).__name__}: {error}). All else of the result is there. "
            "Leave out of what is pickled (__getstate__) what can't be, or fit it with best_params_"
        ) from error


def _table(view: WorkflowView) -> pd.DataFrame:
    return pd.DataFrame([row.cells() for row in view.rows.values()])
