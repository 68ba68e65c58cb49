"""What a worker does with a described sweep: prepares it, and brings it to the broker.

It is an estimator, so that it is forecast, placed, measured and given more memory like any other
fit. Its data is the description and a token that brings this one workflow and does nothing else;
as all data it is sealed, and is in no log and no record. What it does is what a user's client does.

Not in: what the broker does with a description (:mod:`fitcast.scheduler.broker.describing`).
"""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from fitcast.scheduler.session.remote.address import BrokerAddress
from fitcast.scheduler.session.remote.calls import BrokerCalls
from fitcast.scheduler.session.remote.submitting import bring
from fitcast.trainer.sealing import new_key
from fitcast.trainer.surroundings import surroundings
from fitcast.trainer.sweep.described import (
    check_description,
    check_fit_count,
    description_of,
    sweep_of,
)
from fitcast.trainer.sweep.prepared import Sweep

_NO_SCORE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """All that a worker needs to know.

    Attributes
    ----------
    workflow_id
        What is to be brought.
    description
        The sweep, as it was handed in.
    address, token
        The broker's, and what opens it for this.
    packages, places, most_fits
        As :func:`fitcast.trainer.sweep.described.check_description` takes them.
    priority
        Of the workflow.
    """

    workflow_id: str
    description: dict[str, Any]
    address: str
    token: str
    packages: Sequence[str]
    places: Sequence[str]
    most_fits: int
    priority: int

    def sweep(self, data_bytes: int) -> Sweep:
        """Return the sweep of one fit that does it.

        Parameters
        ----------
        data_bytes
            How large the data is, 0 if that isn't known: what it costs goes by that.
        """
        told = np.frombuffer(json.dumps(asdict(self)).encode(), dtype=np.uint8)
        X = np.stack([told, np.zeros_like(told)])  # a row to train on, and one to test on
        return Sweep(
            {"preparation": SweepPreparation(data_bytes=data_bytes)},
            X,
            cv=[([0], [1])],
            refit=False,
            predict_method=None,
            name="preparation",
        )


class SweepPreparation(BaseEstimator):  # type: ignore[misc]
    """Prepares a described sweep and brings it to the broker, as a fit.

    Parameters
    ----------
    data_bytes : int
        How large the sweep's data is, where that is known.
    """

    def __init__(self, data_bytes: int = 0) -> None:
        self.data_bytes = data_bytes

    def fit(self, X: Any, y: Any = None) -> "SweepPreparation":
        """Do it; X has one row, the bytes of a `Preparation`."""
        told = Preparation(**json.loads(np.asarray(X, dtype=np.uint8)[0].tobytes()))
        description = description_of(told.description)
        check_description(
            description,
            packages=told.packages,
            places=told.places,
            most_fits=told.most_fits,
        )
        sweep = sweep_of(description, packages=told.packages, places=told.places)
        prepared = sweep.prepare()
        check_fit_count(len(prepared.fits), told.most_fits)  # of a splitter it is known only now
        calls = BrokerCalls(BrokerAddress.of(told.address), told.token)
        try:
            with tempfile.TemporaryDirectory(prefix="fitcast-preparation-") as folder:
                bring(
                    calls,
                    told.workflow_id,
                    prepared,
                    surroundings(),
                    new_key(),
                    Path(folder),
                    priority=told.priority,
                )
        finally:
            calls.close()
        return self

    def score(self, X: Any, y: Any = None) -> float:
        """Return the same for all: it isn't compared with anything."""
        return _NO_SCORE
