"""Tells the engine how workflows share the workers: users' weights, or parts of the cluster.

Where all workflows share workers, users have weights; where each has workers of its own, each is
told how many it may have. Not in: how much is whose (:mod:`fitcast.scheduler.broker.fair_share`).
"""

from collections.abc import Callable
from typing import Final

from fitcast.scheduler.broker.fair_share import Limits, allotments, effective_weights
from fitcast.scheduler.broker.serving.turns import capacity_of, limits_now, running_of
from fitcast.scheduler.broker.store import BrokerStore
from fitcast.scheduler.plan.pool_sizes import Allotment
from fitcast.scheduler.session.engine import Engine

SHARED_EVERY_S: Final = 30.0
"""How often what users had lately changes their shares of the workers."""

ALLOTTED_EVERY_S: Final = 5.0
"""How often workflows with workers of their own are told how many they may have."""


class Sharing:
    """Keeps an engine told.

    Parameters
    ----------
    store : BrokerStore
        Who runs what, and who had how much.
    engine : Engine
        What is told.
    limits : Limits
        How the cluster is shared.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self, store: BrokerStore, engine: Engine, limits: Limits, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._engine = engine
        self._limits = limits
        self._clock = clock
        self._told: frozenset[str] = frozenset()  # of whom: users, or workflows
        self._told_s = clock()

    def tell(self, users: frozenset[str], workflow_ids: frozenset[str]) -> None:
        """Tell the engine, if that is due: whose workflows run here, and which."""
        if self._engine.own_workers:
            if self._is_due(workflow_ids, ALLOTTED_EVERY_S):
                self._allot(workflow_ids)
        elif self._is_due(users, SHARED_EVERY_S):
            self._share(users)

    def _is_due(self, whom: frozenset[str], every_s: float) -> bool:
        now_s = self._clock()
        if not whom or (whom == self._told and now_s - self._told_s <= every_s):
            return False
        self._told, self._told_s = whom, now_s
        return True

    def _share(self, users: frozenset[str]) -> None:
        accounts = self._store.accounts(self._limits.half_life_s)
        weights = effective_weights(
            users, accounts, capacity_of(self._engine), self._limits, self._store.now_s()
        )
        self._engine.share_by(weights)

    def _allot(self, workflow_ids: frozenset[str]) -> None:
        """Give each its part of what there is; others' count too: all are of one cluster."""
        given = allotments(
            [running_of(row) for row in self._store.running()],
            self._store.accounts(self._limits.half_life_s),
            capacity_of(self._engine),
            limits_now(self._limits, self._store),
            self._store.now_s(),
        )
        parts = {
            workflow_id: Allotment(cpus=part.cpus, memory_bytes=part.memory_bytes)
            for workflow_id, part in given.items()
            if workflow_id in workflow_ids
        }
        self._engine.allot(parts)
