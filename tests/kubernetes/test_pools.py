"""Pools of pods: what they may be, and what nodes make of them."""

from decimal import Decimal

import pytest

from fitcast import Client, KubernetesBackend, KubernetesPool, Pool, errors
from fitcast.scheduler.backends.kubernetes.pools import (
    check_kubernetes_pools,
    pool_of_settings,
    pools_of_nodes,
    quantity,
)
from fitcast.scheduler.plan.pools import WORKER_OVERHEAD_BYTES

GIB = 2**30


def node(cpu, memory, **spec):
    return {"spec": spec, "status": {"allocatable": {"cpu": cpu, "memory": memory}}}


def test_a_pool_is_the_plans_pool_with_more_memory_for_the_worker_itself():
    pool = KubernetesPool(name="big", cpus=4, memory_bytes=8 * GIB, max_workers=3)
    assert pool.pool == Pool("big", 4, 8 * GIB, 3)
    assert pool.pod_memory_bytes == 8 * GIB + WORKER_OVERHEAD_BYTES


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "Big"}, "lower-case"),
        ({"name": "a" * 21}, "at most 20"),
        ({"name": "-a"}, "begins and ends"),
        ({"cpus": 0}, "cpus is 0"),
        ({"memory_bytes": -1}, "memory_bytes is -1"),
        ({"max_workers": 0}, "workers is 0"),
        ({"min_workers": 4}, "more than max_workers"),
        ({"min_workers": -1}, "min_workers is -1"),
        ({"gpus": 0.5}, "gpus is 0.5"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(given, said):
    fine = {"name": "a", "cpus": 1, "memory_bytes": GIB, "max_workers": 2}
    with pytest.raises(errors.InvalidPoolError, match=said):
        KubernetesPool(**(fine | given))


def test_pools_of_this_machine_are_no_pools_of_pods():
    with pytest.raises(errors.InvalidPoolError, match="KubernetesPool"):
        check_kubernetes_pools([Pool("a", 1, GIB)])
    with pytest.raises(errors.InvalidPoolError, match="at least one"):
        check_kubernetes_pools([])
    twice = KubernetesPool(name="a", cpus=1, memory_bytes=GIB)
    with pytest.raises(errors.InvalidPoolError, match="two pools"):
        check_kubernetes_pools([twice, twice])


def test_nodes_of_a_size_are_a_pool():
    nodes = [
        node("4", "16Gi"),
        node("4", "16Gi"),
        node("1930m", "7Gi"),
        node("8", "64Gi", unschedulable=True),
        node("8", "64Gi", taints=[{"key": "gpu", "effect": "NoSchedule"}]),
        node("500m", "1Gi"),
    ]
    pools = pools_of_nodes(nodes)
    assert [(pool.cpus, pool.max_workers) for pool in pools] == [(1, 1), (3, 2)]
    assert all(pool.pod_memory_bytes < 16 * GIB for pool in pools)


def test_a_cluster_without_a_usable_node_says_what_to_do():
    with pytest.raises(errors.InvalidPoolError, match="tolerations"):
        pools_of_nodes([node("500m", "1Gi")])


def test_pools_may_come_from_settings():
    pool = pool_of_settings({"name": "a", "cpus": 2, "memory_bytes": "4Gi", "max_workers": 8})
    assert pool == KubernetesPool(name="a", cpus=2, memory_bytes=4 * GIB, max_workers=8)
    with pytest.raises(errors.InvalidPoolError, match="cpu"):
        pool_of_settings({"name": "a", "cpu": 2})


def test_settings_that_are_no_pools_are_told(monkeypatch):
    monkeypatch.setenv("FITCAST_KUBERNETES_IMAGE", "i")
    monkeypatch.setenv("FITCAST_KUBERNETES_POOLS", "small:2")
    with pytest.raises(errors.InvalidInputError, match=r"FITCAST_KUBERNETES_POOLS='small:2'.*list"):
        Client()
    monkeypatch.delenv("FITCAST_KUBERNETES_IMAGE")
    monkeypatch.delenv("FITCAST_KUBERNETES_POOLS")
    with pytest.raises(errors.InvalidInputError, match="FITCAST_KUBERNETES_IMAGE isn't set"):
        KubernetesBackend.from_settings()


@pytest.mark.parametrize(
    ("text", "number"),
    [("2", 2), ("500m", Decimal("0.5")), ("4Gi", 4 * GIB), ("1e3", 1000), ("128M", 128 * 10**6)],
)
def test_amounts_are_read_as_kubernetes_writes_them(text, number):
    assert quantity(text) == number


def test_an_amount_that_is_none_is_refused():
    with pytest.raises(errors.InvalidPoolError, match="no amount"):
        quantity("4Qi")
