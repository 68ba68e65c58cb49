"""fitcast: forecasts what every machine-learning fit needs, then runs the fits on Dask.

The public names are loaded on first use, so that ``import fitcast`` stays instant; everything
else lives in the rooms (``fitcast.trainer``, ``fitcast.sizing``, ``fitcast.history``,
``fitcast.scheduler``).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fitcast.version import __version__

if TYPE_CHECKING:
    from fitcast import errors
    from fitcast.history.mlflow_store import MlflowHistory
    from fitcast.history.records import Estimate, Outcome, Record, Request
    from fitcast.history.store import (
        AttemptLog,
        HistoryStore,
        MemoryHistory,
        WorkflowEnd,
        WorkflowHistory,
        WorkflowRun,
    )
    from fitcast.scheduler.backends.kubernetes.backend import KubernetesBackend
    from fitcast.scheduler.backends.kubernetes.pools import KubernetesPool
    from fitcast.scheduler.backends.local import LocalBackend
    from fitcast.scheduler.forecast.eta import Eta
    from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate
    from fitcast.scheduler.forecast.what_if import Choice, SweepCost
    from fitcast.scheduler.plan.pools import Pool
    from fitcast.scheduler.session.client import Client
    from fitcast.scheduler.session.results import Result
    from fitcast.scheduler.session.search import (
        SizedHalvingRandomSearchCV,
        SizedHalvingSearchCV,
        SizedRandomizedSearchCV,
        SizedSearchCV,
    )
    from fitcast.scheduler.session.workflow import Workflow
    from fitcast.trainer.sweep.prepared import Sweep

_HOME_OF = {
    "AttemptLog": "fitcast.history.store",
    "Choice": "fitcast.scheduler.forecast.what_if",
    "Client": "fitcast.scheduler.session.client",
    "Estimate": "fitcast.history.records",
    "Eta": "fitcast.scheduler.forecast.eta",
    "HistoryStore": "fitcast.history.store",
    "KubernetesBackend": "fitcast.scheduler.backends.kubernetes.backend",
    "KubernetesPool": "fitcast.scheduler.backends.kubernetes.pools",
    "LocalBackend": "fitcast.scheduler.backends.local",
    "MemoryHistory": "fitcast.history.store",
    "MlflowHistory": "fitcast.history.mlflow_store",
    "Outcome": "fitcast.history.records",
    "Pool": "fitcast.scheduler.plan.pools",
    "Record": "fitcast.history.records",
    "Request": "fitcast.history.records",
    "Result": "fitcast.scheduler.session.results",
    "SizedHalvingRandomSearchCV": "fitcast.scheduler.session.search",
    "SizedHalvingSearchCV": "fitcast.scheduler.session.search",
    "SizedRandomizedSearchCV": "fitcast.scheduler.session.search",
    "SizedSearchCV": "fitcast.scheduler.session.search",
    "Sweep": "fitcast.trainer.sweep.prepared",
    "SweepCost": "fitcast.scheduler.forecast.what_if",
    "SweepEstimate": "fitcast.scheduler.forecast.sweep_estimate",
    "Workflow": "fitcast.scheduler.session.workflow",
    "WorkflowEnd": "fitcast.history.store",
    "WorkflowHistory": "fitcast.history.store",
    "WorkflowRun": "fitcast.history.store",
}

__all__ = [
    "AttemptLog",
    "Choice",
    "Client",
    "Estimate",
    "Eta",
    "HistoryStore",
    "KubernetesBackend",
    "KubernetesPool",
    "LocalBackend",
    "MemoryHistory",
    "MlflowHistory",
    "Outcome",
    "Pool",
    "Record",
    "Request",
    "Result",
    "SizedHalvingRandomSearchCV",
    "SizedHalvingSearchCV",
    "SizedRandomizedSearchCV",
    "SizedSearchCV",
    "Sweep",
    "SweepCost",
    "SweepEstimate",
    "Workflow",
    "WorkflowEnd",
    "WorkflowHistory",
    "WorkflowRun",
    "__version__",
    "errors",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("fitcast.errors")
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'fitcast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
