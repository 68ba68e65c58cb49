"""One way to drive every backend: hand in fits that behave as told, see what became of them.

A new backend needs a driver of its own here: a context manager that gives an object with `run`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fitcast import Client, KubernetesBackend, KubernetesPool, LocalBackend, Pool, Sweep, errors
from fitcast.history.records import Estimate
from fitcast.history.store import MemoryHistory
from fitcast.scheduler.plan.events import FitKey, Submitted
from tests.acceptance.estimators import Majority, WorkerKiller
from tests.kubernetes.clusters import a_cluster
from tests.polling import LONGEST_S
from tests.scheduler.plan.scenario import Behaviour, Cancelled, Scenario, play

MIB = 2**20
BASE_MIB = 150  # of a process that does nothing, about
POOLS = (Pool("small", 1, 400 * MIB), Pool("large", 1, 900 * MIB))


@dataclass(frozen=True)
class Does:
    """What a fit does."""

    runtime_s: float = 0.2
    fails: bool = False
    memory_mib: int = 0
    kills_worker: bool = False


@dataclass(frozen=True)
class Became:
    """What became of a fit."""

    outcome: str
    attempts: int
    pool: str  # of the last attempt; "" if there was none
    ended: float  # of the last attempt, on any clock; NaN if there was none


class LocalDriver:
    """Real fits on real Dask workers."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def run(
        self, fits: Mapping[str, Does], *, deadline_s: float | None = None, cancel: bool = False
    ) -> dict[str, Became]:
        """Run fits to their end; `cancel` gives them up once one runs."""
        rows = np.arange(60)
        X, y = np.random.default_rng(0).normal(size=(60, 3)), rows % 2
        sweep = Sweep(
            {name: self._estimator(does) for name, does in fits.items()},
            X,
            y,
            cv=[(rows[:40], rows[40:])],
            refit=False,
            deadline_s=deadline_s,
        )
        workflow = self._client.submit(sweep)
        if cancel:
            while not (workflow.fits["state"] == "running").any():
                try:
                    workflow.wait(timeout_s=0.05)
                except errors.WaitTimeoutError:
                    continue
            workflow.cancel()
        workflow.wait(timeout_s=LONGEST_S)
        return {
            row["candidate"]: Became(
                str(row["outcome"]),
                int(row["attempts"]),
                "" if pd.isna(row["pool"]) else row["pool"],
                float("nan") if pd.isna(row["ended_at"]) else row["ended_at"].timestamp(),
            )
            for row in workflow.fits.to_dict("records")
        }

    def _estimator(self, does: Does) -> Majority:
        if does.kills_worker:
            return WorkerKiller(sleep_s=does.runtime_s)
        return Majority(fail=does.fails, allocate_mib=does.memory_mib, sleep_s=does.runtime_s)


class SimulatedDriver:
    """The same in virtual time."""

    def run(
        self, fits: Mapping[str, Does], *, deadline_s: float | None = None, cancel: bool = False
    ) -> dict[str, Became]:
        """Run fits to their end; `cancel` gives them up once one runs."""
        estimate = Estimate(
            threads=1,
            runtime_s_p10=0.15,
            runtime_s_p50=0.2,
            runtime_s_p90=0.3,
            peak_memory_bytes_p50=BASE_MIB * MIB,
            peak_memory_bytes_p95=round(1.2 * BASE_MIB) * MIB,
            failure_probability=0.01,
        )
        sweep = Submitted(
            workflow_id="w",
            estimates=dict.fromkeys(fits, estimate),
            dataset_bytes=MIB,
            deadline_s=deadline_s,
        )
        played = play(
            Scenario(
                pools=POOLS,
                arrivals=[(0.0, sweep)],
                behaviours={
                    FitKey("w", name): Behaviour(
                        runtime_s=does.runtime_s,
                        peak_memory_bytes=(BASE_MIB + does.memory_mib) * MIB,
                        raises=does.fails,
                        kills_worker=does.kills_worker,
                    )
                    for name, does in fits.items()
                },
                faults=[Cancelled(0.01, "w")] if cancel else [],
                replaced_in_s=4.0,
            )
        )
        became = {}
        for key, (settle,) in played.settled.items():
            own = [one for one in played.attempts if one.key == key]
            last = own[-1] if own else None
            became[key.fit_id] = Became(
                str(settle.outcome),
                len(own),
                last.start.pool if last else "",
                last.ended_s if last else float("nan"),
            )
        return became


@contextmanager
def local_driver(home) -> Iterator[LocalDriver]:
    with Client(LocalBackend(POOLS), home=home, history=MemoryHistory()) as client:
        yield LocalDriver(client)


@contextmanager
def simulated_driver(home) -> Iterator[SimulatedDriver]:
    yield SimulatedDriver()


@contextmanager
def kubernetes_driver(home) -> Iterator[LocalDriver]:
    pools = [
        # All workers from the start, as elsewhere: so little work is worth no second pod.
        KubernetesPool(
            name=pool.name, cpus=pool.cpus, memory_bytes=pool.memory_bytes, min_workers=1
        )
        for pool in POOLS
    ]
    with a_cluster(home) as cluster:
        backend = KubernetesBackend(pools, **cluster.settings)
        with Client(backend, home=home, history=MemoryHistory()) as client:
            yield LocalDriver(client)
        cluster.until_nothing_is_left()


DRIVERS = {
    "local": local_driver,
    "simulated": simulated_driver,
    "kubernetes": kubernetes_driver,
}
