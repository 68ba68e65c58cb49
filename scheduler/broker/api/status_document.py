"""What the status page shows, in one document: who asks, the queue, pools, workflows.

Not in: the page itself (:mod:`fitcast.scheduler.broker.api.page_routes`).
"""

from dataclasses import asdict
from typing import Any, Final

from fitcast.scheduler.broker.api.pool_use import use_of_pools
from fitcast.scheduler.broker.lifecycle import TERMINAL, State
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.store import User
from fitcast.scheduler.broker.views import Views

SHOWN: Final = 200
"""So many workflows of each kind are shown at most."""

MOST_PLACES: Final = 10_000
"""Of so many workflows of a user that wait their places are looked up."""

LATEST: Final = 50
"""So many that are over."""


def status_document(
    service: Service, views: Views, user: User, *, is_admin: bool, has_mlflow: bool
) -> dict[str, Any]:
    """Return how the platform stands, as a user may see it.

    Parameters
    ----------
    service, views
        What there is.
    user : User
        Who asks: their own workflows are told alone.
    is_admin : bool
        Everybody's are told.
    has_mlflow : bool
        Whether there is an MLflow server that shows workflows.
    """
    whose = None if is_admin else user.user_id
    store = service.store
    load = store.load()
    places = store.places(whose, MOST_PLACES if whose else SHOWN)
    rows = [
        *store.workflows(whose, [State.RUNNING], SHOWN),
        *(store.workflows(whose, [State.QUEUED], SHOWN) if whose else store.queued(SHOWN)),
        *store.workflows(whose, [State.UPLOADING], SHOWN),
        *store.workflows(whose, TERMINAL, LATEST),
    ]
    pools = use_of_pools(service.engine.workers(), service.rows_running_here())
    return {
        "user": {"name": user.name, "group": user.group, "is_admin": is_admin},
        "queue": {
            "uploading": load.uploading,
            "queued": load.queued,
            "running": load.running,
            "longest_wait_s": load.longest_wait_s,
            "mean_wait_s": load.mean_wait_s,
        },
        "pools": [asdict(use) for use in pools],
        "workflows": [
            views.document(row)
            | {
                "stage": row.state.value,
                "place": places.get(row.workflow_id),
                "mlflow": has_mlflow
                and row.user_id == user.user_id
                and row.state not in (State.UPLOADING, State.QUEUED),
            }
            for row in rows
        ],
        "now": store.now_s(),
    }
