"""A candidate fitted on all rows in this process: where a worker's model can't be sent.

Not in: the refit on a worker (:mod:`fitcast.trainer.attempt.fitting`).
"""

from dataclasses import replace
from typing import Any

from fitcast.errors import InvalidSweepError
from fitcast.history.records import REFIT_FOLD
from fitcast.trainer.attempt.fitting import configured, cut, fit_split
from fitcast.trainer.surroundings import in_force
from fitcast.trainer.sweep.prepared_sweep import PreparedSweep


def fit_here(prepared: PreparedSweep, candidate: int, around: bytes) -> Any:
    """Return a candidate's estimator, fitted as on a worker, with its user's own threads.

    Parameters
    ----------
    prepared
        The sweep.
    candidate
        Its index.
    around
        What its fits had around them; see :mod:`fitcast.trainer.surroundings`.

    Raises
    ------
    InvalidSweepError
        What the sweep was made of was changed since it was prepared.
    Exception
        Whatever fitting raises.
    """
    if not prepared.is_current():
        raise InvalidSweepError("its data or models were changed since it was submitted")
    job = replace(prepared.job(candidate).load(prepared.attachments.__getitem__), thread_params=())
    with in_force(around):
        estimator = configured(job, threads=1)
        fit_split(job, estimator, lambda: cut(prepared.content, REFIT_FOLD, estimator), REFIT_FOLD)
    return estimator
