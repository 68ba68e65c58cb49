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
    from fitcast.scheduler.backends.kubernetes.backend import KubernetesBackend
    from fitcast.scheduler.backends.kubernetes.pools import KubernetesPool
    from fitcast.scheduler.backends.local import LocalBackend
    from fitcast.scheduler.forecast.eta import Eta
    from fitcast.scheduler.plan.pools import Pool
    from fitcast.scheduler.session.client import Client
    from fitcast.scheduler.session.search import SizedSearchCV
    from fitcast.scheduler.session.workflow import Workflow
    from fitcast.trainer.sweep.prepared import Sweep

_HOME_OF = {
    "Client": "fitcast.scheduler.session.client",
    "Eta": "fitcast.scheduler.forecast.eta",
    "KubernetesBackend": "fitcast.scheduler.backends.kubernetes.backend",
    "KubernetesPool": "fitcast.scheduler.backends.kubernetes.pools",
    "LocalBackend": "fitcast.scheduler.backends.local",
    "Pool": "fitcast.scheduler.plan.pools",
    "SizedSearchCV": "fitcast.scheduler.session.search",
    "Sweep": "fitcast.trainer.sweep.prepared",
    "Workflow": "fitcast.scheduler.session.workflow",
}

__all__ = [
    "Client",
    "Eta",
    "KubernetesBackend",
    "KubernetesPool",
    "LocalBackend",
    "Pool",
    "SizedSearchCV",
    "Sweep",
    "Workflow",
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
