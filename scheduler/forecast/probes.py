"""A prepared sweep → small sweeps that probe it: the same models and data, a sample of the rows.

In: making them. Not in: which fits are probed (:mod:`fitcast.sizing.probing`), running them
(:meth:`fitcast.scheduler.session.client.Client.estimate`).
"""

import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.model_selection import train_test_split

from fitcast.errors import InvalidInputError
from fitcast.history.records import Estimate
from fitcast.sizing.probing import choose_probes
from fitcast.trainer.sweep.containers import look
from fitcast.trainer.sweep.jobs import WEIGHTS
from fitcast.trainer.sweep.prepared import PreparedSweep, Sweep

Rows = npt.NDArray[np.intp]


def probe_sweeps(prepared: PreparedSweep, estimates: Mapping[str, Estimate]) -> list[Sweep]:
    """Return a sweep of one fit for each probe that is worth its time; often none."""
    by_id = {fit.fit_id: fit for fit in prepared.fits}
    probes = choose_probes({key: fit.request for key, fit in by_id.items()}, estimates)
    made = []
    for probe in probes:
        fit = by_id[probe.fit_id]
        small = Sweep(
            {fit.candidate.label: prepared.candidates[fit.candidate.index].configured()},
            prepared.content.X,
            prepared.content.y,
            cv=[_sampled(prepared, fit.fold, probe.rows_train)],
            scoring=prepared.sweep.scoring,
            refit=False,
            name=f"{prepared.submission.name}, probed",
            sample_weight=prepared.content.columns.get(WEIGHTS),
            fit_params=prepared.sweep.fit_params,
            score_params=prepared.sweep.score_params,
            predict_method=prepared.sweep.predict_method,
            deadline_s=prepared.sweep.deadline_s,
            memory_bytes=prepared.sweep.memory_bytes,
        )
        with suppress(InvalidInputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a sample's classes
            # a sample may lack a class: then it isn't probed
            small.prepare()
            made.append(small)
    return made


def _sampled(prepared: PreparedSweep, fold: int, rows_train: int) -> tuple[Rows, Rows]:
    train, test = prepared.content.splits[fold]
    rows_test = max(1, round(len(test) * rows_train / len(train)))
    y = prepared.content.y
    return _sample(train, rows_train, y), _sample(test, rows_test, y)


def _sample(rows: Rows, size: int, y: Any) -> Rows:
    if size >= len(rows):
        return rows
    plain = look(y).plain
    labels = None if plain is None or sp.issparse(plain) else np.asarray(plain)[rows]
    # Few rows of each class in both parts, or, with a target of numbers, any rows.
    for stratify in (labels, None):
        with suppress(ValueError, TypeError):
            chosen: Rows = train_test_split(
                rows, train_size=size, stratify=stratify, random_state=0
            )[0]
            return np.sort(chosen)
    return rows[:size]
