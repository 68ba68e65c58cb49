"""How much there is: of what waits, for how long, and of what runs. Everybody's together.

Not in: the workflows themselves (:mod:`fitcast.scheduler.broker.store.queue`).
"""

from typing import Any, Final

from sqlalchemy import Connection, func, select

from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import QueueLoad
from fitcast.scheduler.broker.store.tables import WORKFLOWS, is_in

_W: Final = WORKFLOWS.c


class LoadPart(StorePart):
    """How much waits and runs."""

    def load(self) -> QueueLoad:
        """Return how much waits and runs, and how long what waits has."""
        waited_s = wall_s() - func.coalesce(_W.queued_at_s, _W.created_at_s)

        def work(connection: Connection) -> QueueLoad:
            def one(state: State, *what: Any) -> Any:
                query = select(func.count(), *what).select_from(WORKFLOWS).where(is_in(state))
                return connection.execute(query).one()

            (uploading,) = one(State.UPLOADING)
            queued, longest_s, mean_s = one(State.QUEUED, func.max(waited_s), func.avg(waited_s))
            running, *used = one(
                State.RUNNING,
                func.sum(_W.used_cpus),
                func.sum(_W.used_memory_bytes),
                func.sum(_W.used_gpus),
            )
            cpus, memory_bytes, gpus = (float(amount or 0.0) for amount in used)
            return QueueLoad(
                uploading=uploading,
                queued=queued,
                running=running,
                longest_wait_s=max(0.0, float(longest_s or 0.0)),
                mean_wait_s=max(0.0, float(mean_s or 0.0)),
                used=Resources(cpus=cpus, memory_bytes=memory_bytes, gpus=gpus),
            )

        return self._database.read(work)

    def places(self, user_id: int | None = None, limit: int = 1000) -> dict[str, int]:
        """Return which place queued workflows have among all that wait: 1 has waited longest.

        Parameters
        ----------
        user_id : int, optional
            Of that user's alone.
        limit : int
            Of how many at most, those that have waited longest.
        """
        place = func.row_number().over(order_by=(_W.queued_at_s, _W.row_id)).label("place")
        waiting = select(_W.workflow_id, _W.user_id, place).where(is_in(State.QUEUED)).subquery()
        query = select(waiting.c.workflow_id, waiting.c.place).order_by(waiting.c.place)
        if user_id is not None:
            query = query.where(waiting.c.user_id == user_id)
        query = query.limit(limit)
        return self._database.read(
            lambda connection: {row.workflow_id: row.place for row in connection.execute(query)}
        )
