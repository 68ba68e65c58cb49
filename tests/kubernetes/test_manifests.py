"""The manifests of deploy/ and a workflow's objects: valid, and enough for what is asked."""

import configparser
import re
from pathlib import Path
from typing import ClassVar

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
    assert "secretGenerator" not in made  # what is generated from files lies in files


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


def test_the_images_base_can_be_given_and_nothing_is_imported_from_its_folder():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^ARG BASE=(.*)$", text, re.MULTILINE) == ["python:${PYTHON}-slim"]
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
    (command,) = re.findall(r"^CMD (.*)$", text, re.MULTILINE)
    assert yaml.safe_load(command)[:3] == ["python", "-P", "-m"]


class TestMlflow:
    """deploy/mlflow: apart from the users, behind a login, reached by what is listed alone."""

    MADE = tuple(
        one
        for path in sorted((DEPLOY / "mlflow").glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for one in documents(path)
    )
    PODS: ClassVar = {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in MADE
        if one["kind"] in {"Deployment", "StatefulSet"}
    }
    POLICIES: ClassVar = {
        one["metadata"]["name"]: one["spec"] for one in MADE if one["kind"] == "NetworkPolicy"
    }

    @staticmethod
    def container(pod):
        (only,) = pod["spec"]["containers"]
        return only

    @staticmethod
    def selects(spec, labels):
        wanted = spec["podSelector"].get("matchLabels", {})
        return wanted.items() <= labels.items()

    def test_it_lies_in_a_namespace_of_its_own(self):
        (made,) = documents(DEPLOY / "mlflow/kustomization.yaml")
        (namespace,) = [one for one in self.MADE if one["kind"] == "Namespace"]
        (users,) = documents(DEPLOY / "fitcast/namespace.yaml")
        assert made["namespace"] == namespace["metadata"]["name"] != users["metadata"]["name"]
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        name = "app.kubernetes.io/name"
        assert labels[name] != users["metadata"]["labels"][name]  # is not let in as a user's

    @pytest.mark.parametrize("name", PODS)
    def test_every_pod_is_closed_by_default(self, name):
        labels = self.PODS[name]["metadata"]["labels"]
        assert any(
            self.selects(spec, labels)
            and set(spec["policyTypes"]) == {"Ingress", "Egress"}
            and not spec.get("ingress")
            and not spec.get("egress")
            for spec in self.POLICIES.values()
        )

    def test_the_network_allows_what_is_needed_and_no_more(self):
        def ports(rule):
            return [(one["protocol"], one["port"]) for one in rule["ports"]]

        allowed = {
            (name, way, port)
            for name, spec in self.POLICIES.items()
            for way in ("ingress", "egress")
            for rule in spec.get(way, ())
            for port in ports(rule)
        }
        assert allowed == {
            ("mlflow", "ingress", ("TCP", 5000)),
            ("mlflow", "egress", ("TCP", 5432)),
            ("mlflow", "egress", ("UDP", 53)),
            ("mlflow", "egress", ("TCP", 53)),
            ("mlflow-postgres", "ingress", ("TCP", 5432)),
        }
        (users,) = documents(DEPLOY / "fitcast/namespace.yaml")
        ((peer,),) = [rule["from"] for rule in self.POLICIES["mlflow"]["ingress"]]
        wanted = peer["namespaceSelector"]["matchLabels"]
        assert wanted
        assert wanted.items() <= users["metadata"]["labels"].items()
        ((peer,),) = [rule["from"] for rule in self.POLICIES["mlflow-postgres"]["ingress"]]
        assert peer["podSelector"]["matchLabels"].items() <= (
            self.PODS["mlflow"]["metadata"]["labels"].items()
        )
        assert "namespaceSelector" not in peer
        for spec in self.POLICIES.values():  # an empty peer is everybody
            for rule in (*spec.get("ingress", ()), *spec.get("egress", ())):
                peers = rule.get("from") or rule.get("to")
                assert peers
                for one in peers:
                    assert one
                    assert all(selector.get("matchLabels") for selector in one.values())

    def test_no_password_is_written_down(self):
        for path in (DEPLOY / "mlflow").iterdir():
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"://[^/@\s:]*:[^/@\s]+@", text)
        assert not [one for one in self.MADE if one["kind"] == "Secret"]
        for pod in self.PODS.values():
            container = self.container(pod)
            for variable in container["env"]:
                if re.search(r"PASSWORD|SECRET|TOKEN", variable["name"]):
                    assert set(variable) == {"name", "valueFrom"}
                    assert set(variable["valueFrom"]) == {"secretKeyRef"}
            arguments = " ".join((*container.get("command", ()), *container.get("args", ())))
            assert "$(" not in arguments  # arguments are seen by whoever sees the process

    def test_the_documentation_makes_every_secret_that_is_asked_for(self):
        text = (ROOT / "docs/how-to/kubernetes.md").read_text(encoding="utf-8")
        asked = {
            (ref["name"], ref["key"])
            for pod in self.PODS.values()
            for variable in self.container(pod)["env"]
            if (ref := variable.get("valueFrom", {}).get("secretKeyRef"))
        }
        made = {
            (name, key)
            for name, lines in re.findall(
                r"create secret generic (\S+).*?<<END\n(.*?)\n\s*END$", text, re.DOTALL | re.M
            )
            for key in re.findall(r"^\s*(\w+)=\$\(openssl rand -hex \d+\)$", lines, re.M)
        }
        assert asked == made

    def test_mlflow_wants_a_login(self):
        container = self.container(self.PODS["mlflow"])
        assert container["command"] == ["python", "-P", "-m", "mlflow", "server"]
        assert "--app-name=basic-auth" in container["args"]
        names = {variable["name"] for variable in container["env"]}
        assert {
            "MLFLOW_AUTH_ADMIN_PASSWORD",
            "MLFLOW_AUTH_CONFIG_PATH",
            "MLFLOW_FLASK_SERVER_SECRET_KEY",
            "PYTHONSAFEPATH",
        } <= names
        pinned = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")
        assert re.search(r"^flask-wtf==", pinned, re.MULTILINE)

    def test_the_settings_of_the_login_hold_no_password(self):
        (settings,) = [one for one in self.MADE if one["kind"] == "ConfigMap"]
        config = configparser.ConfigParser()
        config.read_string(settings["data"]["basic_auth.ini"])
        env = {one["name"]: one for one in self.container(self.PODS["mlflow"])["env"]}
        assert dict(config["mlflow"]) == {
            "default_permission": "EDIT",
            "database_uri": env["MLFLOW_BACKEND_STORE_URI"]["value"],
            "admin_username": "admin",
        }

    def test_postgres_wants_a_password(self):
        env = {one["name"]: one for one in self.container(self.PODS["mlflow-postgres"])["env"]}
        assert env["POSTGRES_HOST_AUTH_METHOD"]["value"] == "scram-sha-256"
        assert "--auth-host=scram-sha-256" in env["POSTGRES_INITDB_ARGS"]["value"]
        assert "secretKeyRef" in env["POSTGRES_PASSWORD"]["valueFrom"]

    @pytest.mark.parametrize("name", PODS)
    def test_pods_have_no_rights(self, name):
        spec = self.PODS[name]["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        security = self.container(self.PODS[name])["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_image_pins_what_the_tests_ran_with():
    def pins(path):
        return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", path.read_text(encoding="utf-8"), re.M))

    tested, image = pins(ROOT / "requirements.txt"), pins(DEPLOY / "requirements.txt")
    assert {name: image[name] for name in image.keys() & tested.keys()} == {
        name: tested[name] for name in image.keys() & tested.keys()
    }
