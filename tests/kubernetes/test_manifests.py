"""The manifests of deploy/ and a workflow's objects: valid, and enough for what is asked."""

import re
from pathlib import Path

import pytest
import yaml

from fitcast import KubernetesPool
from fitcast.scheduler.backends.kubernetes import api, objects
from tests.emulated_cluster.schemas import problems

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(path for path in DEPLOY.rglob("*.yaml") if path.name != "kustomization.yaml")


def documents(path):
    return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one]


def a_workflow():
    named = objects.ResourceNames(workflow_id="20261127-120000-abcdef01")
    pods = objects.PodSettings(
        image="i", pull_secrets=("registry",), service_account="fitcast", env={"A": "b"}
    )
    pool = KubernetesPool(
        name="gpu",
        cpus=4,
        memory_bytes=2**33,
        max_workers=3,
        gpus=1,
        node_selector={"disk": "ssd"},
        tolerations=({"key": "spot", "operator": "Exists", "effect": "NoSchedule"},),
        priority_class="batch",
        egress=({"cidr": "0.0.0.0/0", "port": 443}, {"pod_labels": {"app": "db"}, "port": 5432}),
    )
    cluster = objects.cluster(named, pods, 1000.0, 5 * 2**20)
    owner = cluster | {"metadata": cluster["metadata"] | {"uid": "u"}}
    yield cluster
    yield objects.secret(named, named.key, {"dataset.key": b"k"})
    yield objects.network_policy(named, {"app": "broker"})
    yield objects.pool_network_policy(named, pool)
    yield objects.worker_group(
        named,
        pods,
        pool,
        scheduler_address="tls://10.0.0.1:8786",
        dataset_id="d",
        dataset_uri="",
        dataset_bytes=1,
        replicas=2,
        owner=owner,
    )


@pytest.mark.parametrize("made", list(a_workflow()), ids=lambda made: made["kind"])
def test_a_workflows_objects_are_valid(made):
    assert problems(made) == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_manifests_are_valid(path):
    for made in documents(path):
        assert problems(made) == []


def test_the_check_finds_what_is_wrong():
    (role,) = [one for one in documents(DEPLOY / "fitcast/role.yaml") if one["kind"] == "Role"]
    assert problems(role | {"rule": []})
    assert problems(role | {"rules": [{"apiGroups": [""]}]})  # verbs are required
    cluster = next(a_workflow())
    del cluster["spec"]["scheduler"]["spec"]["containers"][0]["name"]
    assert problems(cluster)


@pytest.mark.parametrize("folder", ["fitcast", "mlflow"])
def test_what_a_kustomization_names_is_there(folder):
    (made,) = documents(DEPLOY / folder / "kustomization.yaml")
    for name in made["resources"]:
        assert (DEPLOY / folder / name).is_file()
    for generator in made.get("secretGenerator", ()):
        assert all((DEPLOY / folder / f"{env}.example").is_file() for env in generator["envs"])


def test_the_role_allows_every_kind_that_is_asked_for_and_no_more():
    (role,) = [one for one in documents(DEPLOY / "fitcast/role.yaml") if one["kind"] == "Role"]
    allowed = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert allowed == set(api.VERSIONS) - {"nodes"} | {"pods/portforward"}
    assert "*" not in str(role["rules"])


def test_the_image_has_what_its_lock_file_pins_and_runs_as_the_pods_user():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert f"USER {objects.USER_ID}:{objects.USER_ID}" in text
    assert f"--uid {objects.USER_ID}" in text
    pinned = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")
    for name in ("dask", "distributed", "lightgbm", "mlflow", "scikit-learn", "xgboost"):
        assert re.search(rf"^{name}==", pinned, re.MULTILINE)
    assert "pytest==" not in pinned


def test_the_image_pins_what_the_tests_ran_with():
    def pins(path):
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(encoding="utf-8"), re.M))

    tested, image = pins(ROOT / "requirements.txt"), pins(DEPLOY / "requirements.txt")
    assert {name: image[name] for name in image.keys() & tested.keys()} == {
        name: tested[name] for name in image.keys() & tested.keys()
    }
