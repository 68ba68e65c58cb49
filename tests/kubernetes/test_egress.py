"""What pods may reach: their own workflow, DNS, and what their pool lists."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitcast import KubernetesPool
from fitcast.errors import InvalidPoolError
from fitcast.scheduler.backends.kubernetes import objects
from fitcast.scheduler.backends.kubernetes.egress import METADATA_SERVERS, egress_rule
from fitcast.scheduler.backends.kubernetes.pools import pool_of_settings

pytestmark = pytest.mark.security

NAMED = objects.ResourceNames(workflow_id="w")


def pool(*egress):
    return KubernetesPool(name="p", cpus=1, memory_bytes=2**30, egress=egress)


def test_pods_reach_their_own_workflow_and_dns_and_nothing_else():
    spec = objects.network_policy(NAMED, {"app": "broker"})["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    own, dns = spec["egress"]
    assert own == {"to": [{"podSelector": {"matchLabels": {objects.CLUSTER_LABEL: "fitcast-w"}}}]}
    assert {port["port"] for port in dns["ports"]} == {53}
    assert all("podSelector" in peer and "namespaceSelector" in peer for peer in dns["to"])


def test_what_a_pool_lists_is_for_its_workers_alone():
    listed = pool(
        {"cidr": "10.1.0.0/16", "port": 443},
        {"namespace_labels": {"n": "mlflow"}, "pod_labels": {"app": "mlflow"}, "port": 5000},
    )
    spec = objects.pool_network_policy(NAMED, listed)["spec"]
    labels = {objects.CLUSTER_LABEL: "fitcast-w", objects.POOL_LABEL: "p"}
    assert spec["podSelector"] == {"matchLabels": labels}
    assert spec["policyTypes"] == ["Egress"]
    network, pods = spec["egress"]
    assert network == {
        "to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        "ports": [{"protocol": "TCP", "port": 443}],
    }
    assert pods["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"n": "mlflow"}},
            "podSelector": {"matchLabels": {"app": "mlflow"}},
        }
    ]


@given(st.ip_addresses(), st.integers(0, 128), st.integers(1, 65535))
def test_no_larger_network_leads_to_the_clouds_credentials(address, length, port):
    length = min(length, address.max_prefixlen)
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    (peer,) = egress_rule("p", {"cidr": str(network), "port": port})["to"]
    block = peer["ipBlock"]
    for server in map(ipaddress.ip_network, METADATA_SERVERS):
        inside = server.version == network.version and server.subnet_of(network)
        assert (str(server) in block.get("except", ())) == (inside and server != network)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("10.0.0.0/8", "isn't a mapping"),
        ({"port": 443}, "needs either cidr"),
        ({"cidr": "10.0.0.0/8", "pod_labels": {"a": "b"}, "port": 1}, "needs either cidr"),
        ({"cidr": "10.0.0.1/8", "port": 443}, "host bits"),
        ({"cidr": "10.0.0.1", "port": 443}, "address/length"),
        ({"cidr": 10, "port": 443}, "address/length"),
        ({"cidr": "10.0.0.0/8"}, "port None"),
        ({"cidr": "10.0.0.0/8", "port": 70000}, "port 70000"),
        ({"cidr": "10.0.0.0/8", "port": True}, "port True"),
        ({"cidr": "10.0.0.0/8", "port": 1, "protocol": "ICMP"}, "protocol 'ICMP'"),
        ({"cidr": "10.0.0.0/8", "ports": 1}, "'ports', which isn't known"),
        ({"pod_labels": {}, "port": 1}, "pod_labels that aren't labels"),
        ({"pod_labels": {"a": 1}, "port": 1}, "pod_labels that aren't labels"),
    ],
)
def test_what_cannot_be_is_refused_with_what_would(wrong, said):
    with pytest.raises(InvalidPoolError, match=said) as told:
        pool(wrong)
    assert "pool 'p'" in str(told.value)
    assert '"port": 443' in str(told.value)


@pytest.mark.parametrize("wrong", ["10.0.0.0/8", {"cidr": "10.0.0.0/8", "port": 1}, 5])
def test_a_list_is_wanted(wrong):
    with pytest.raises(InvalidPoolError, match="give a list"):
        KubernetesPool(name="p", cpus=1, memory_bytes=2**30, egress=wrong)


def test_settings_may_list_it():
    written = {"name": "p", "cpus": 1, "memory_bytes": "1Gi"}
    egress = [{"cidr": "10.1.0.0/16", "port": 443}]
    assert pool_of_settings(written | {"egress": egress}) == pool(*egress)


def test_pods_run_python_without_its_folder_on_the_path():
    spec = objects.cluster(NAMED, objects.PodSettings(image="i"), 1.0, 1)["spec"]
    (container,) = spec["scheduler"]["spec"]["containers"]
    assert container["command"][:2] == ["python", "-P"]
    assert {"name": "PYTHONSAFEPATH", "value": "1"} in container["env"]
