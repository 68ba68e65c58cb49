"""The worker groups of a workflow: made, grown, shrunk by chosen workers, and why they can't grow.

The operator is never asked to shrink a group: it would choose workers of any group (it has no way
to ask the scheduler under TLS). Workers that are to go have their Deployments deleted, and the
group's number of replicas follows: the operator counts Deployments, and finds nothing to do.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence

from fitcast.scheduler.backends.kubernetes import objects
from fitcast.scheduler.backends.kubernetes.api import KubernetesApi, Object
from fitcast.scheduler.backends.kubernetes.pod_status import StartObstacles, why_no_pod
from fitcast.scheduler.backends.kubernetes.pools import KubernetesPool
from fitcast.scheduler.backends.protocol import Limit

GROUP_LABEL = "dask.org/workergroup-name"


class WorkerGroups:
    """The groups of a workflow, one per pool that was ever needed.

    Parameters
    ----------
    api : KubernetesApi
        Where they are.
    names : ResourceNames
        Whose they are.
    kubernetes_pools : sequence of KubernetesPool
        What may be needed.
    make : callable
        ``make(pool, replicas)`` returns a group that isn't there yet.
    """

    def __init__(
        self,
        api: KubernetesApi,
        names: objects.ResourceNames,
        kubernetes_pools: Sequence[KubernetesPool],
        make: Callable[[KubernetesPool, int], Object],
    ) -> None:
        self._api, self._names = api, names
        self._pools = kubernetes_pools
        self._make = make
        self._obstacles = StartObstacles(api.warnings_of)
        self._limits: Mapping[str, Limit] = {}  # of pools that can't have all that they want
        self._asked_s: dict[str, float] = {}  # by pool, when it was last let grow
        self._started: set[str] = set()  # workers that were ready once

    def start_of(self, name: str, pool: str) -> float | None:
        """Return how long a worker took to be ready, in seconds; None if it was so before."""
        asked_s = self._asked_s.get(pool)
        if asked_s is None or name in self._started:
            return None
        self._started.add(name)
        return time.monotonic() - asked_s

    def hindered(self, seen: Collection[Object]) -> tuple[dict[str, Limit], list[str]]:
        """Return what pools are limited to for now, and why, in the cluster's own words."""
        limits, notes = {}, []
        deployments = self._deployments()
        for pool in self._pools:
            there = deployments[pool.name]
            stuck = [why for pod in self._of(pool, seen) if (why := self._why_not(pod))]
            said = f"{len(stuck)} of its workers can't start"
            if not stuck:
                stuck = [why for one in there if (why := why_no_pod(one))]
                said = "no pod could be made"
            if stuck:
                notes.append(f"pool {pool.name!r}: {said}: {stuck[0]}")
                most = max(0, min(pool.max_workers, len(there) - len(stuck)))
                limits[pool.name] = Limit(most, pool.min_workers)
        self._limits = limits
        return limits, notes

    def follow(
        self, wanted: Mapping[str, int], seen: Collection[Object], joined: Collection[str]
    ) -> None:
        """Let groups grow to what is wanted; drop what never started and isn't wanted any more.

        Parameters
        ----------
        wanted : mapping
            Workers by pool.
        seen : collection of dict
            The workflow's pods.
        joined : collection of str
            Names of workers that are ready.
        """
        deployments = self._deployments()
        for pool in self._pools:
            count = wanted.get(pool.name, 0)
            group = self._api.get("daskworkergroups", self._names.group(pool.name))
            if group is None:
                if count:
                    self._asked_s[pool.name] = time.monotonic()
                    self._api.create("daskworkergroups", self._make(pool, count))
                continue
            names = [one["metadata"]["name"] for one in deployments[pool.name]]
            there = len(names)
            # What can't start isn't wanted for that alone, but stays: nodes may be added for it.
            limit = self._limits.get(pool.name)
            if count < there and (limit is None or count < limit.most):
                waiting = [name for name in names if name not in joined]
                there -= self._dropped(pool, waiting, there - count, seen)
            asked = group["spec"]["worker"]["replicas"]
            target = max(count, there)
            if target > asked:
                self._asked_s[pool.name] = time.monotonic()
                self.scale(pool.name, target)
            elif target == there < asked:
                self.scale(pool.name, target)

    def remove(self, workers: Mapping[str, str]) -> None:
        """Delete workers, given as names with their pools, that were retired."""
        for name in workers:
            self._api.delete("deployments", name)
        deployments = self._deployments()
        for pool in set(workers.values()):
            self.scale(pool, len(deployments[pool]))

    def scale(self, pool: str, replicas: int) -> None:
        """Set a group's number of workers."""
        change = {"spec": {"worker": {"replicas": replicas}}}
        self._api.patch("daskworkergroups", self._names.group(pool), change)

    def _dropped(
        self, pool: KubernetesPool, waiting: Sequence[str], most: int, seen: Collection[Object]
    ) -> int:
        """Delete workers that can't start, of those that never did; return how many."""
        stuck = [pod["metadata"]["name"] for pod in self._of(pool, seen) if self._why_not(pod)]
        going = [name for name in waiting if any(pod.startswith(f"{name}-") for pod in stuck)]
        for name in going[:most]:
            self._api.delete("deployments", name)
        return len(going[:most])

    def _why_not(self, pod: Object) -> str:
        return self._obstacles.why_not(pod, time.monotonic())

    def _of(self, pool: KubernetesPool, seen: Collection[Object]) -> list[Object]:
        group = self._names.group(pool.name)
        return [pod for pod in seen if pod["metadata"].get("labels", {}).get(GROUP_LABEL) == group]

    def _deployments(self) -> dict[str, list[Object]]:
        """Return what the operator made of the groups, by pool."""
        pool_of = {self._names.group(pool.name): pool.name for pool in self._pools}
        found: dict[str, list[Object]] = {pool.name: [] for pool in self._pools}
        for one in self._api.find("deployments", self._names.labels):
            pool = pool_of.get(one["metadata"]["labels"].get(GROUP_LABEL, ""))
            if pool is not None:
                found[pool].append(one)
        return found
