"""What forecasts of the queue are kept, and what they are made from.

Not in: making them (:mod:`fitcast.scheduler.broker.queue_forecast`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.resources import Demand, Resources
from fitcast.scheduler.broker.sharers import Waiting
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Writing
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.rows import stored_workflows, values_of_quantiles
from fitcast.scheduler.broker.store.tables import WORKFLOWS, is_in

_W: Final = WORKFLOWS.c


class ForecastPart(StorePart):
    """ETAs of what waits, who came when, what ended when."""

    def note_etas(self, etas_s: Mapping[str, tuple[float, float, float]]) -> None:
        """Note when workflows that wait will be done.

        Parameters
        ----------
        etas_s : mapping
            P10, P50 and P90 in seconds from now, by workflow; of those that have left the queue
            meanwhile it isn't noted.
        """
        if not etas_s:
            return

        def work(writing: Writing) -> None:
            statement = (
                update(WORKFLOWS)
                .where(_W.workflow_id == bindparam("of"), is_in(State.QUEUED))
                .values(
                    eta_p10_s=bindparam("eta_p10_s"),
                    eta_p50_s=bindparam("eta_p50_s"),
                    eta_p90_s=bindparam("eta_p90_s"),
                    eta_at_s=wall_s(),
                )
            )
            rows = [{"of": name, **values_of_quantiles("eta", eta)} for name, eta in etas_s.items()]
            writing.connection.execute(statement, rows)

        self._database.write(work)

    def arrivals_since(self, since: datetime, most: int) -> list[Waiting]:
        """Return who came since a time, the newest `most`, with all that they brought to do."""

        def work(connection: Connection) -> list[Waiting]:
            query = (
                stored_workflows()
                .where(_W.created_at_s >= since.timestamp(), _W.queued_at_s.is_not(None))
                .order_by(_W.row_id.desc())
                .limit(most)
            )
            return [
                Waiting(
                    workflow_id=row["workflow_id"],
                    user=row["user_name"],
                    priority=row["priority"],
                    queued_at_s=row["created_at_s"],
                    demand=Demand(
                        cpu_s=row["whole_cpu_s"],
                        memory_byte_s=row["whole_memory_byte_s"],
                        gpu_s=row["whole_gpu_s"],
                        most=Resources(
                            row["most_cpus"], row["most_memory_bytes"], row["most_gpus"]
                        ),
                        frees_in_s=row["demand_frees_in_s"],
                    ),
                )
                for row in connection.execute(query).mappings()
            ][::-1]

        return self._database.read(work)

    def latest_succeeded(self, most: int) -> list[tuple[str, float]]:
        """Return ids and ends (since 1970) of those that succeeded, the last to end last."""
        query = (
            select(_W.workflow_id, _W.ended_at_s)
            .where(is_in(State.SUCCEEDED), _W.ended_at_s.is_not(None))
            .order_by(_W.ended_at_s.desc(), _W.row_id.desc())
            .limit(most)
        )
        return self._database.read(
            lambda connection: [
                (row.workflow_id, float(row.ended_at_s)) for row in connection.execute(query)
            ][::-1]
        )
