"""Pools of pods: how large they are, where they may run, and how many there may be.

Not in: how many there should be right now (:mod:`fitcast.scheduler.plan.pool_sizes`), how a pod
looks (:mod:`fitcast.scheduler.backends.kubernetes.objects`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from fitcast.errors import InvalidPoolError
from fitcast.scheduler.backends.kubernetes.egress import egress_rule
from fitcast.scheduler.plan.pools import WORKER_OVERHEAD_BYTES, Pool, check_pools

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?$")
_FACTORS: dict[str, int | Decimal] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesPool:
    """A kind of worker pod.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and dashes, at most 20; unique among the pools of a backend.
    cpus : int
        Cores of one worker.
    memory_bytes : int
        What the fits of one worker and their copy of the dataset may take together. Its pod asks
        for `WORKER_OVERHEAD_BYTES` more, and may use no more than it asks for.
    max_workers : int
        How many workers a workflow may have at most.
    min_workers : int
        How many it keeps while it runs, even if there is nothing for them to do.
    price_per_hour : float, optional
        What one worker costs per hour.
    node_selector : mapping
        Labels that a node must have.
    tolerations : sequence of mapping
        Taints of nodes that don't keep its pods away, as Kubernetes writes them.
    priority_class : str, optional
        The pods' PriorityClass.
    gpus : int
        Extended resources that one worker asks for, `gpu_resource` of them.
    gpu_resource : str
        Their name.
    spot : bool
        Whether its nodes may be taken away at any time: fits so long that the end waits for them go
        elsewhere if they find room there.
    egress : sequence of mapping
        What its workers may connect to beside their own workflow's pods and DNS; nothing by
        default. Each has a ``port``, and a ``cidr`` or ``namespace_labels`` and ``pod_labels``;
        ``protocol`` is ``"TCP"`` by default.

    Raises
    ------
    InvalidPoolError
        If a size or the name can't be.
    """

    name: str
    cpus: int
    memory_bytes: int
    max_workers: int = 1
    min_workers: int = 0
    price_per_hour: float | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    priority_class: str | None = None
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    spot: bool = False
    egress: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.match(self.name):
            raise InvalidPoolError(
                f"pool {self.name!r}: on Kubernetes a pool's name has lower-case letters, digits "
                "and dashes, at most 20, and begins and ends with a letter or digit"
            )
        _ = self.pool  # checks the sizes
        for what, least in (("min_workers", 0), ("gpus", 0)):
            value = getattr(self, what)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InvalidPoolError(
                    f"pool {self.name!r}: {what} is {value!r}; give a whole number of at least 0"
                )
        if self.min_workers > self.max_workers:
            raise InvalidPoolError(
                f"pool {self.name!r}: min_workers is {self.min_workers}, more than max_workers, "
                f"{self.max_workers}"
            )
        if isinstance(self.egress, str | Mapping) or not isinstance(self.egress, Iterable):
            raise InvalidPoolError(
                f"pool {self.name!r}: egress is {self.egress!r}; give a list of mappings"
            )
        object.__setattr__(self, "egress", tuple(self.egress))
        _ = self.egress_rules  # checks them

    @property
    def egress_rules(self) -> list[dict[str, Any]]:
        """What its workers may connect to, as a network policy has it."""
        return [egress_rule(self.name, one) for one in self.egress]

    @property
    def pool(self) -> Pool:
        """The same as the plan sees it."""
        return Pool(
            self.name,
            self.cpus,
            self.memory_bytes,
            self.max_workers,
            self.price_per_hour,
            self.spot,
        )

    @property
    def pod_memory_bytes(self) -> int:
        """What one of its pods asks for, and may not exceed."""
        return self.memory_bytes + WORKER_OVERHEAD_BYTES


def pool_of_settings(given: Mapping[str, Any]) -> KubernetesPool:
    """Return the pool that a setting describes.

    Raises
    ------
    InvalidPoolError
        If it lacks something, has something else, or can't be.
    """
    values = dict(given)
    if isinstance(values.get("memory_bytes"), str):
        values["memory_bytes"] = int(quantity(values["memory_bytes"]))
    if "tolerations" in values:
        values["tolerations"] = tuple(values["tolerations"])
    try:
        return KubernetesPool(**values)
    except TypeError as error:
        raise InvalidPoolError(
            f"a pool of FITCAST_KUBERNETES_POOLS can't be used: {error}. It needs name, cpus and "
            "memory_bytes"
        ) from error


def check_kubernetes_pools(pools: Iterable[KubernetesPool]) -> tuple[KubernetesPool, ...]:
    """Return the pools as a tuple.

    Raises
    ------
    InvalidPoolError
        If there is none, one is no `KubernetesPool`, or two share a name.
    """
    given = tuple(pools) if isinstance(pools, Iterable) else (pools,)
    for pool in given:
        if not isinstance(pool, KubernetesPool):
            raise InvalidPoolError(
                f"{pool!r} is no pool of pods; make one with KubernetesPool(name=…, cpus=…, "
                "memory_bytes=…, max_workers=…)"
            )
    if not given:
        raise InvalidPoolError("no pool given; give at least one KubernetesPool")
    check_pools([pool.pool for pool in given])
    return given


def pools_of_nodes(nodes: Iterable[Mapping[str, Any]]) -> tuple[KubernetesPool, ...]:
    """Return a pool per size of node: one worker fills what such a node can allocate.

    Parameters
    ----------
    nodes : iterable of mapping
        Node objects. Those that take no pods, or only pods that tolerate a taint, are left out.

    Raises
    ------
    InvalidPoolError
        If no node could hold a worker.
    """
    sizes: dict[tuple[int, int], int] = {}
    for node in nodes:
        spec, allocatable = node.get("spec", {}), node.get("status", {}).get("allocatable", {})
        hard = [t for t in spec.get("taints", []) if t.get("effect") != "PreferNoSchedule"]
        if spec.get("unschedulable") or hard:
            continue
        # Every node runs some pods of the cluster's own.
        cpus = int(quantity(allocatable.get("cpu", "0")) * Decimal("0.95"))
        memory = (
            int(quantity(allocatable.get("memory", "0")) * Decimal("0.9")) - WORKER_OVERHEAD_BYTES
        )
        memory -= memory % 2**26
        if cpus >= 1 and memory > 0:
            sizes[cpus, memory] = sizes.get((cpus, memory), 0) + 1
    if not sizes:
        raise InvalidPoolError(
            "no node of this cluster can hold a worker; give pools=[KubernetesPool(…)] for nodes "
            "that it can add, with the tolerations that they need"
        )
    return tuple(
        KubernetesPool(
            name=f"{cpus}cpu-{memory // 2**20}mib",
            cpus=cpus,
            memory_bytes=memory,
            max_workers=count,
        )
        for (cpus, memory), count in sorted(sizes.items())
    )


def quantity(text: str | int | float) -> Decimal:
    """Return the number that Kubernetes writes as ``500m``, ``4Gi`` or ``2``."""
    match = re.fullmatch(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)", str(text).strip())
    try:
        if match is None:
            raise KeyError(text)
        return Decimal(match[1]) * Decimal(_FACTORS[match[2]])
    except (KeyError, InvalidOperation) as error:
        raise InvalidPoolError(f"{text!r} is no amount that Kubernetes knows") from error
