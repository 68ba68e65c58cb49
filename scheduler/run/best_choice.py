"""Which candidate is the best: known already, by the scores, or by the sweep's own rule.

A rule is the user's code. It runs in the process that the sweep was submitted in, where the user
wrote it; of a workflow that another process goes on with, it runs in a fit's process on a worker.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import uuid4

from fitcast.errors import FitcastError, WorkflowFailedError
from fitcast.history.records import Outcome
from fitcast.scheduler.run.attempts import DaskAttempts
from fitcast.scheduler.run.runs import Run
from fitcast.trainer.attempt.spec import BEST_INDEX, CHOICE_FOLD, AttemptSpec, Measured
from fitcast.trainer.sweep.choice import choice_job
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep
from fitcast.trainer.sweep.results import best_candidate, scored, tabulate
from fitcast.trainer.sweep.rounds import best_of, candidates_that_ran
from fitcast.trainer.sweep.sealed_sweep import OpenedSweep
from fitcast.trainer.sweep.submission import Fit

log = logging.getLogger(__name__)

MOST_TRIES: Final = 3
"""So many processes are given a rule if they are lost with it."""

_SHARE_BYTES: Final = 2**28  # what it usually needs, beyond what all fits' processes share
_MEMORY_BYTES: Final = 2**31


def choose_best(run: Run, attempts: DaskAttempts) -> Fit | None:
    """Return the fit of the best candidate on all rows; None if there is no best.

    Raises
    ------
    WorkflowFailedError
        The user's own rule for it failed.
    """
    view = run.view()
    measured = view.measured()
    if not any(one.outcome is Outcome.SUCCEEDED for one in measured.values()):
        return None
    best = run.best_index
    if best is None:
        try:
            ran = candidates_that_ran(run.submission, measured, view.rows)
            best = _best(run, measured, ran, attempts)
        except Exception as error:
            raise WorkflowFailedError(f"the best candidate can't be chosen: {error}") from error
    if best is None:
        return None
    run.note_best(best)
    return run.submission.refit_fit(best)


def _best(
    run: Run,
    measured: Mapping[str, Measured],
    ran: Sequence[int] | None,
    attempts: DaskAttempts,
) -> int | None:
    submission, objects = run.submission, run.objects
    if isinstance(objects, PreparedSweep) and objects.chooser is not None:
        return objects.chooser.best()
    if ran is not None:
        return best_of(submission, measured, ran)
    if not submission.has_rule:
        return best_candidate(submission.refit, scored(submission, measured))
    if isinstance(objects, PreparedSweep):
        return best_candidate(objects.refit, tabulate(submission, measured, objects.params))
    assert isinstance(objects, OpenedSweep)
    return _asked_on_a_worker(run, objects, measured, attempts)


def _asked_on_a_worker(
    run: Run, opened: OpenedSweep, measured: Mapping[str, Measured], attempts: DaskAttempts
) -> int | None:
    """Return what the rule chose in a fit's process; None if the workflow was given up."""
    assert run.sealed is not None
    spec = AttemptSpec(
        workflow_id=run.workflow_id,
        fit_id=f"choice-{uuid4().hex[:8]}",  # one that was given up doesn't end a later one
        attempt=1,
        dataset_id=run.sealed.dataset_id,
        job=choice_job(opened, run.submission, measured),
        fold=CHOICE_FOLD,
        threads=1,
        memory_limit_bytes=run.submission.memory_bytes or _MEMORY_BYTES,
        deadline_s=run.submission.deadline_s,
        share_bytes=_SHARE_BYTES,
        surroundings=run.surroundings,
    )
    for _ in range(MOST_TRIES):
        ended = attempts.ask(run, spec)
        if ended.outcome is not Outcome.WORKER_LOST:
            break
    if ended.outcome is Outcome.CANCELLED:
        return None
    if ended.outcome is not Outcome.SUCCEEDED:
        why = f"{ended.error_type}: {ended.error_message}".strip(": ")
        raise FitcastError(why or str(ended.outcome))
    best = int(ended.scores.get(BEST_INDEX, -1))
    if not 0 <= best < len(run.submission.candidates):  # by code that isn't ours
        raise FitcastError(f"what came back, {best}, is no candidate's index")
    return best
