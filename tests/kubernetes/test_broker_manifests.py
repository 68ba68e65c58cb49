"""The manifests of deploy/broker, as kustomize renders them: valid, and what the broker needs.

Rendered by kubectl where that is installed; no cluster is asked for anything.
"""

import re
import shutil
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml

from fitcast.scheduler.backends.kubernetes import objects, pod_status
from fitcast.scheduler.backends.kubernetes.pools import pool_of_settings
from fitcast.scheduler.backends.kubernetes.scheduler_pod import COMPONENT
from fitcast.scheduler.broker.settings import PREFIX, BrokerSettings
from fitcast.settings import KubernetesSettings, Settings
from tests.emulated_cluster.schemas import problems

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HOW_TO = (ROOT / "docs/how-to/team-on-kubernetes.md").read_text(encoding="utf-8")
OVERLAYS = ("small", "own-services")
BROKER = {"app.kubernetes.io/name": "fitcast-broker"}
OTHERS = {"PYTHONSAFEPATH", "MLFLOW_TRACKING_URI"}
SECRET = {"MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl isn't installed: it has kustomize in it"
)


def rendered(folder):
    run = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [one for one in yaml.safe_load_all(run.stdout) if one]


@pytest.fixture(scope="module", params=OVERLAYS)
def made(request):
    return rendered(DEPLOY / "broker/overlays" / request.param)


def of_kind(made, kind, name="fitcast-broker"):
    (found,) = [one for one in made if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def pods(made):
    return [one["spec"]["template"] for one in made if one["kind"] in ("Deployment", "StatefulSet")]


def broker_pod(made):
    return of_kind(made, "Deployment")["spec"]["template"]


def container(made):
    (only,) = broker_pod(made)["spec"]["containers"]
    return only


def variables(made):
    """Return the broker's environment, and which variables come from Secrets."""
    own = container(made)
    assert own["envFrom"] == [{"configMapRef": {"name": "fitcast-broker"}}]
    plain = dict(of_kind(made, "ConfigMap")["data"])
    plain |= {one["name"]: one["value"] for one in own["env"] if "value" in one}
    return plain, {one["name"] for one in own["env"] if "valueFrom" in one}


def test_all_of_it_is_valid_and_in_one_namespace(made):
    for one in made:
        assert problems(one) == [], one["metadata"]["name"]
        if one["kind"] != "Namespace":
            assert one["metadata"]["namespace"] == "fitcast"
    names = [(one["kind"], one["metadata"]["name"]) for one in made]
    assert len(set(names)) == len(names)
    assert "Secret" not in {one["kind"] for one in made}


def test_every_pod_is_restricted(made):
    namespace = of_kind(made, "Namespace", "fitcast")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(made):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False  # FITCAST_BROKER_PORT would be the Service's
        for one in (*spec["containers"], *spec.get("initContainers", ())):
            assert one["securityContext"]["allowPrivilegeEscalation"] is False
            assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in one["resources"]["limits"]
    assert broker_pod(made)["spec"]["securityContext"]["runAsUser"] == objects.USER_ID


def test_the_settings_are_ones_that_there_are_and_can_be_used(made, monkeypatch):
    plain, secret = variables(made)
    known = {f"FITCAST_{name.upper()}" for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}" for name in BrokerSettings.model_fields}
    known |= {f"FITCAST_KUBERNETES_{name.upper()}" for name in KubernetesSettings.model_fields}
    assert plain.keys() <= known | OTHERS
    assert secret <= known | SECRET
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    for name in secret:
        monkeypatch.setenv(name, "from-a-secret")
    settings, broker, kubernetes = Settings(), BrokerSettings(), KubernetesSettings()
    assert settings.tracking_uri == plain["MLFLOW_TRACKING_URI"]
    assert broker.host == "0.0.0.0"
    assert [pool_of_settings(pool) for pool in kubernetes.pools]
    assert (broker.key_file is None) != (broker.vault_address is None)
    assert kubernetes.image == container(made)["image"]  # the same versions of libraries


def test_ports_and_paths_fit_together(made):
    from fitcast.scheduler.broker.api.platform_routes import health_routes

    plain, _ = variables(made)
    own = container(made)
    (port,) = own["ports"]
    assert str(port["containerPort"]) == plain["FITCAST_BROKER_PORT"]
    (service,) = of_kind(made, "Service")["spec"]["ports"]
    assert service["targetPort"] == port["name"]
    open_paths = {route.path for route in health_routes(None).routes}
    scheme = "HTTPS" if "FITCAST_BROKER_CERTIFICATE" in plain else None
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = own[probe]["httpGet"]
        assert asked["path"] in open_paths
        assert asked["port"] == port["name"]
        assert asked.get("scheme") == scheme
    mounts = {PurePosixPath(one["mountPath"]): one["name"] for one in own["volumeMounts"]}
    assert {*mounts.values()} == {one["name"] for one in broker_pod(made)["spec"]["volumes"]} - {
        "key-secret"
    }
    home = PurePosixPath(plain["FITCAST_HOME"])
    assert mounts[home.parent] == "home"  # the volume's own folder is root's, not the broker's
    for name in ("KEY_FILE", "CERTIFICATE", "PRIVATE_KEY"):
        if place := plain.get(f"{PREFIX}{name}"):
            assert PurePosixPath(place).parent in mounts
    for first in broker_pod(made)["spec"].get("initContainers", ()):
        *_, source, target = first["command"]
        assert target == plain["FITCAST_BROKER_KEY_FILE"]
        assert PurePosixPath(source).parent in {
            PurePosixPath(one["mountPath"]) for one in first["volumeMounts"]
        }


def test_two_replicas_of_which_one_always_stays(made):
    deployment = of_kind(made, "Deployment")["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = of_kind(made, "PodDisruptionBudget")["spec"]
    assert budget["minAvailable"] == 1
    labels = broker_pod(made)["metadata"]["labels"]
    for selector in (
        budget["selector"]["matchLabels"],
        deployment["selector"]["matchLabels"],
        of_kind(made, "Service")["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()
    home = of_kind(made, "PersistentVolumeClaim", "fitcast-broker-home")
    assert home["spec"]["accessModes"] == ["ReadWriteMany"]


def test_its_rights_are_those_of_who_submits_but_for_forwarded_ports(made):
    """What code asks of the API is held against deploy/fitcast's Role (test_rights.py)."""

    def rights(role):
        return {
            (group, resource, verb)
            for rule in role["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    text = (DEPLOY / "fitcast/role.yaml").read_text(encoding="utf-8")
    (users,) = [one for one in yaml.safe_load_all(text) if one["kind"] == "Role"]
    forwarding = {("", "pods/portforward", verb) for verb in ("create", "get")}
    assert rights(of_kind(made, "Role")) == rights(users) - forwarding
    assert not [one for one in made if one["kind"] in ("ClusterRole", "ClusterRoleBinding")]
    (subject,) = of_kind(made, "RoleBinding")["subjects"]
    assert subject["name"] == broker_pod(made)["spec"]["serviceAccountName"]
    assert subject["namespace"] == "fitcast"
    for pod in pods(made):  # a token has who uses the API alone
        has_token = pod["spec"]["automountServiceAccountToken"]
        assert has_token == (pod is broker_pod(made))


def test_the_network_lets_through_what_is_needed(made):
    policies = {
        one["metadata"]["name"]: one["spec"] for one in made if one["kind"] == "NetworkPolicy"
    }
    assert policies["deny-by-default"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    own = policies["fitcast-broker"]
    assert own["podSelector"]["matchLabels"] == BROKER
    assert all(rule.get("ports") for rule in (*own["egress"], *own["ingress"]))
    leads_to = {
        (tuple(sorted(peer.get("podSelector", {}).get("matchLabels", {}).items())), one["port"])
        for rule in own["egress"]
        for peer in rule.get("to", ())
        for one in rule["ports"]
    }
    schedulers = tuple(sorted((objects.MANAGED_BY | COMPONENT).items()))
    assert (schedulers, objects.SCHEDULER_PORT) in leads_to
    assert ((("app.kubernetes.io/name", "mlflow"),), 5000) in leads_to
    assert ((("k8s-app", "kube-dns"),), 53) in leads_to
    ((rule,),) = [own["ingress"]]
    assert [one["port"] for one in rule["ports"]] == [8765]
    # schedulers let in whoever has the broker's labels
    assert pod_status.lasting_labels(broker_pod(made)) == BROKER


def test_the_how_to_makes_every_secret_that_is_asked_for(made):
    asked = set()
    for pod in pods(made):
        for one in pod["spec"]["containers"]:
            for variable in one["env"]:
                if ref := variable.get("valueFrom", {}).get("secretKeyRef"):
                    asked.add((ref["name"], ref["key"]))
        for volume in pod["spec"].get("volumes", ()):
            if "secret" in volume:
                asked.add((volume["secret"]["secretName"], None))
    told = {
        (name, key)
        for name, lines in re.findall(
            r"create secret generic (\S+)(?:(?!create secret).)*?<<END\n(.*?)\n\s*END$",
            HOW_TO,
            re.DOTALL | re.M,
        )
        for key in re.findall(r"^\s*(\w+)=", lines, re.M)
    }
    told |= {(name, None) for name in re.findall(r"create secret tls (\S+)", HOW_TO)}
    told |= {("fitcast-broker-key", None)}
    assert asked <= told
    assert "--from-file=keys.json" in HOW_TO


def test_an_overlay_of_ones_own_as_the_how_to_has_it(tmp_path):
    text = HOW_TO.partition("# mine/kustomization.yaml, beside deploy/\n")[2].partition(
        "\nLook at"
    )[0]
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (tmp_path / "mine").mkdir()
    lines = [line.removeprefix("    ") for line in text.splitlines()]
    (tmp_path / "mine/kustomization.yaml").write_text("\n".join(lines))
    made = rendered(tmp_path / "mine")
    assert container(made)["image"] == "REGISTRY/fitcast:1"
    plain, _ = variables(made)
    assert plain["FITCAST_KUBERNETES_IMAGE"] == "REGISTRY/fitcast:1"
    ingress = of_kind(made, "Ingress")["spec"]
    assert ingress["rules"][0]["host"] == ingress["tls"][0]["hosts"][0] == "fitcast.mine.org"
    assert of_kind(made, "PersistentVolumeClaim", "fitcast-broker-home")["spec"]["storageClassName"]


def test_uploads_pass_the_ingress_piece_by_piece(made):
    from fitcast.scheduler.session.remote.uploading import PIECE_BYTES

    for one in made:
        if one["kind"] == "Ingress":
            notes = one["metadata"]["annotations"]
            most = notes["nginx.ingress.kubernetes.io/proxy-body-size"]
            assert int(most.removesuffix("m")) * 2**20 > PIECE_BYTES
            (rule,) = one["spec"]["rules"]
            (path,) = rule["http"]["paths"]
            (port,) = of_kind(made, "Service")["spec"]["ports"]
            assert path["backend"]["service"] == {
                "name": "fitcast-broker",
                "port": {"name": port["name"]},
            }


def test_every_overlay_is_told_of():
    for name in OVERLAYS:
        assert f"overlays/{name}" in HOW_TO
    there = {path.name for path in (DEPLOY / "broker/overlays").iterdir()}
    assert there == set(OVERLAYS)
