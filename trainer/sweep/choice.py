"""The sweep's own rule for the best candidate, asked where the user's code may run: on a worker.

In: the job that asks it. Not in: rules that are plain data (:mod:`fitcast.trainer.sweep.results`),
when it is asked (:mod:`fitcast.scheduler.run.best_choice`).
"""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fitcast.trainer.attempt.searched import NO_EXTRAS
from fitcast.trainer.attempt.spec import JobBytes, Measured
from fitcast.trainer.sweep.results import Columns, best_candidate, columns, cv_results
from fitcast.trainer.sweep.sealed_sweep import OpenedSweep
from fitcast.trainer.sweep.submission import Submission


@dataclass(frozen=True, slots=True)
class OwnRule:
    """What a rule is asked about; opened in a fit's process, as the job's estimator."""

    rule: bytes  # pickled, as the user's
    params: bytes  # likewise, of all candidates
    measured: Columns

    def best_index(self) -> int:
        """Ask the rule; runs the user's code.

        Raises
        ------
        InvalidSweepError
            It returned no candidate's index.
        Exception
            Whatever it raises.
        """
        params: list[dict[str, Any]] = pickle.loads(self.params)  # noqa: S301 - the user's own
        rule: Callable[..., Any] = pickle.loads(self.rule)  # noqa: S301 - likewise
        return best_candidate(rule, cv_results(self.measured, params))


def choice_job(
    opened: OpenedSweep, submission: Submission, measured: Mapping[str, Measured]
) -> JobBytes:
    """Return the job that asks a sweep's own rule, without opening anything of the user's.

    Parameters
    ----------
    opened
        What of the user's the sweep was made of.
    submission
        The sweep.
    measured
        Fit id → last attempt.

    Raises
    ------
    SubmissionError
        The rule, or the settings that it is told of, couldn't be pickled when it was submitted.
    """
    rule, params = opened.pickled("refit"), opened.pickled("params")
    rule_asked = OwnRule(rule, params, columns(submission, measured))
    users = opened.jobs[0].users_modules if opened.jobs else b""
    return JobBytes(
        pickle.dumps({"params": {}}),
        pickle.dumps((rule_asked, None, NO_EXTRAS)),
        users_modules=users,
    )
