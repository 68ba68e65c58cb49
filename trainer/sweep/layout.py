"""A checked sweep → what is submitted: candidates × splits as fits, and what they run on.

In: laying out, and what it gives. Not in: checking what a user gave, and pickling it
(:mod:`fitcast.trainer.sweep.prepared`), the plain data of it
(:mod:`fitcast.trainer.sweep.submission`).
"""

import copy
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fitcast.trainer.attempt.spec import JobBytes
from fitcast.trainer.reuse import may_reuse, work_names
from fitcast.trainer.sweep.containers import Look, look
from fitcast.trainer.sweep.datasets import DatasetContent, fingerprint, sent_bytes
from fitcast.trainer.sweep.jobs import WEIGHTS, attached
from fitcast.trainer.sweep.models import Candidate
from fitcast.trainer.sweep.parts import PartsReader
from fitcast.trainer.sweep.prepared_sweep import Chooser, PreparedSweep
from fitcast.trainer.sweep.reach import Reach
from fitcast.trainer.sweep.requests import Shape, plain_params, request_for
from fitcast.trainer.sweep.scorers import SINGLE
from fitcast.trainer.sweep.splits import Splits
from fitcast.trainer.sweep.submission import Fit, Round, Submission, SubmittedCandidate
from fitcast.trainer.sweep.users_code import the_same_anywhere

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep

_NAME_LENGTH = 60


def lay_out(
    sweep: "Sweep",
    candidates: tuple[Candidate, ...],
    configured: list[Any],
    X: Look,
    y: Look,
    columns: dict[str, Any],
    splits: Splits,
    *,
    shape: Shape,
    names: tuple[str, ...],
    jobs: tuple[JobBytes, ...],
    reach: Callable[[str], Reach] | None,
    rounds: tuple[Round, ...] = (),
    chooser: Chooser | None = None,
) -> PreparedSweep:
    """Lay a sweep out as fits.

    Parameters
    ----------
    sweep
        The sweep.
    candidates, configured
        Its candidates, and their estimators with the parameters set.
    X, y
        Its data.
    columns
        A value per row each: weights, parameters of ``fit``.
    splits
        Training rows and test rows of each fold.
    shape
        Of its data.
    names
        Of the scores.
    jobs
        Of the candidates.
    reach
        Says, given the data's fingerprint, what can still be changed from outside.
    rounds
        Of a search that eliminates candidates; `splits` are those of all of them.
    chooser
        Who chooses what runs late.
    """
    submitted = tuple(
        SubmittedCandidate(
            candidate.index,
            candidate.label,
            candidate.model,
            candidate.algorithm,
            plain_params(estimator, candidate.params),
        )
        for candidate, estimator in zip(candidates, configured, strict=True)
    )
    firsts = [one.first_split for one in rounds for _ in one.indices] or [0] * len(submitted)
    n_splits = len(splits) // len({one.first_split for one in rounds} or (0,))
    fits = []
    parts_reader = PartsReader(shape.sample, shape.contents)
    for candidate, estimator, first in zip(submitted, configured, firsts, strict=True):
        made_of = parts_reader.made_of(estimator)
        for fold, (train, test) in enumerate(splits[first : first + n_splits], first):
            request = request_for(estimator, candidate.params, shape, train, test, made_of)
            fits.append(Fit(f"c{candidate.index:04d}-f{fold}", candidate, fold, request))
    dataset = fingerprint(X, y)
    jobs, attachments = attached(jobs)
    parts = [X, y, *map(look, columns.values())]
    submission = Submission(
        name=sweep.name or _name(candidates),
        digest=_digest(sweep, dataset, columns, splits, jobs, attachments, rounds),
        dataset=dataset,
        dataset_bytes=_held_bytes(parts, splits) + sum(map(len, attachments)),
        rows=shape.rows,
        rows_nonzeros=_nonzeros(shape),
        n_splits=n_splits,
        candidates=submitted,
        fits=tuple(fits),
        scorer_names=names,
        names_from_fits=names == SINGLE and callable(sweep.scoring),
        refit=sweep.refit if isinstance(sweep.refit, str) else bool(sweep.refit),
        rule=_rule(sweep.refit),
        return_train_score=bool(sweep.return_train_score),
        error_score=float(sweep.error_score),
        deadline_s=sweep.deadline_s,
        memory_bytes=sweep.memory_bytes,
        work_names={
            candidate.index: work_names(estimator, 0)
            for candidate, estimator in zip(candidates, configured, strict=True)
            if may_reuse(candidate.estimator)
        },
        is_weighted=WEIGHTS in columns,
        rounds=rounds,
    )
    return PreparedSweep(
        submission=submission,
        candidates=candidates,
        content=DatasetContent(X.given, y.given, columns, splits),
        attachments=attachments,
        jobs=jobs,
        refit=sweep.refit,
        sweep=copy.copy(sweep),
        chooser=chooser,
        _reach=None if reach is None else reach(dataset),
    )


def _nonzeros(shape: Shape) -> int:
    if shape.row_nonzeros is None:
        return shape.rows * shape.columns
    return int(shape.row_nonzeros.sum())


def _rule(refit: Any) -> str:
    """Return what a callable that chooses the best candidate is called."""
    return str(getattr(refit, "__name__", "a function")) if callable(refit) else ""


def _digest(
    sweep: "Sweep",
    dataset: str,
    columns: dict[str, Any],
    splits: Splits,
    jobs: tuple[JobBytes, ...],
    attachments: tuple[bytes, ...],
    rounds: tuple[Round, ...],
) -> str:
    """Return what is equal for sweeps that would do the very same, in this process or another."""
    settings = (
        dataset,
        _rule(sweep.refit) or sweep.refit,
        sweep.error_score,
        sweep.deadline_s,
        sweep.memory_bytes,
        sweep.name,
    )
    told = repr(settings) if not rounds else repr((*settings, rounds))
    digest = hashlib.blake2b(told.encode(), digest_size=16)
    for name, values in sorted(columns.items()):
        digest.update(f"{name}: {fingerprint(values, None)}".encode())
    for split in splits:
        for rows in split:
            digest.update(f"{len(rows)} rows".encode())
            digest.update(np.ascontiguousarray(rows).tobytes())
    known: dict[int, bytes] = {}  # by identity: candidates have parts in common

    def short(part: object) -> bytes:
        if not isinstance(part, bytes):
            return repr(part).encode()
        if id(part) not in known:
            known[id(part)] = hashlib.blake2b(the_same_anywhere(part), digest_size=16).digest()
        return known[id(part)]

    for job in jobs:
        for part in (job.job, job.estimator, *job.values, job.modules, job.users_modules):
            digest.update(short(part))
    for part in attachments:
        digest.update(short(part))
    return digest.hexdigest()


def _held_bytes(
    parts: list[Look], splits: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]
) -> int:
    return sum(map(sent_bytes, parts)) + sum(train.nbytes + test.nbytes for train, test in splits)


def _name(candidates: tuple[Candidate, ...]) -> str:
    models = "+".join(dict.fromkeys(candidate.model for candidate in candidates))
    return models if len(models) <= _NAME_LENGTH else models[: _NAME_LENGTH - 1] + "…"
