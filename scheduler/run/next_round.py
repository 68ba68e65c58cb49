"""Which fits a workflow's next round has, once all that it has are settled.

In: asking whoever chooses: the search itself, where it runs in this process, else the scores. Not
in: the choice of the best candidate (:mod:`fitcast.scheduler.run.best_choice`), the rules by the
scores (:mod:`fitcast.trainer.sweep.rounds`).
"""

from collections.abc import Mapping, Sequence

from fitcast.errors import WorkflowFailedError
from fitcast.history.records import Outcome
from fitcast.scheduler.forecast.late_rounds import late_fit
from fitcast.scheduler.plan.events import LateFit
from fitcast.scheduler.run.attempts import DaskAttempts
from fitcast.scheduler.run.best_choice import choose_best
from fitcast.scheduler.run.runs import Run
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sweep.prepared_sweep import Chooser, PreparedSweep
from fitcast.trainer.sweep.rounds import candidates_that_ran, next_candidates
from fitcast.trainer.sweep.submission import Fit


def choose_next(run: Run, attempts: DaskAttempts) -> Sequence[Fit] | None:
    """Return the fits of the next round, the refit being the last; None if none follows.

    Raises
    ------
    WorkflowFailedError
        Whoever chooses failed.
    """
    run.round_number += 1
    if run.round_number < len(run.submission.rounds):
        return _round(run, run.round_number)
    best = choose_best(run, attempts)
    return None if best is None else [best]


def _round(run: Run, number: int) -> Sequence[Fit] | None:
    submission, view = run.submission, run.view()
    measured = view.measured()
    ran = candidates_that_ran(submission, measured, view.rows) or []
    last = [index for index in ran if submission.round_of(index) == number - 1]
    if not _any_succeeded(run, last, measured):
        return None
    chooser = _chooser_of(run)
    try:
        if chooser is not None:
            chosen = chooser.next_round(number)
        else:
            begun = [index for index in ran if submission.round_of(index) == number]
            chosen = next_candidates(submission, measured, last, begun)
    except Exception as error:
        raise WorkflowFailedError(f"it can't be chosen who goes on: {error}") from error
    if chosen is None:
        return None
    return [fit for index in chosen for fit in submission.fits_of(index)]


def _any_succeeded(run: Run, candidates: Sequence[int], measured: Mapping[str, Measured]) -> bool:
    """Tell whether any fit of these candidates succeeded."""
    fits = (fit.fit_id for index in candidates for fit in run.submission.fits_of(index))
    ends = (measured[fit_id].outcome for fit_id in fits if fit_id in measured)
    return Outcome.SUCCEEDED in ends


def _chooser_of(run: Run) -> Chooser | None:
    """Return the search that chooses itself, where it runs in this process."""
    return run.objects.chooser if isinstance(run.objects, PreparedSweep) else None


def told_of(run: Run, fits: Sequence[Fit]) -> dict[str, LateFit]:
    """Return what the plan is told of a round's fits: of those that are still to be run."""
    told = {}
    for fit in fits:
        estimate = run.expected(fit)
        known = run.view().rows.get(fit.fit_id)
        if estimate is None or (known is not None and known.outcome is not None):
            continue
        made = {} if known is None else {fit.fit_id: known.attempts}
        told[fit.fit_id] = late_fit(fit, estimate, run.submission, run.common_work, made)
    return told
