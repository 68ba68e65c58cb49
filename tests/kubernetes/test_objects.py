"""The objects of a workflow: what the issue of security asks of them, and who owns what."""

from base64 import b64decode

from fitcast import KubernetesPool
from fitcast.scheduler.backends.kubernetes import objects

GIB = 2**30
NAMED = objects.ResourceNames(workflow_id="20261127-120000-abcdef01")
PODS = objects.PodSettings(image="fitcast:1")
CLUSTER = objects.cluster(NAMED, PODS, 1000.0, 5 * 2**20)
OWNER = CLUSTER | {"metadata": CLUSTER["metadata"] | {"uid": "u-1"}}


def group(**given):
    pool = KubernetesPool(name="big", cpus=4, memory_bytes=8 * GIB, max_workers=3, **given)
    return objects.worker_group(
        NAMED,
        PODS,
        pool,
        scheduler_address="tls://10.0.0.1:8786",
        dataset_id="d",
        dataset_uri="",
        dataset_bytes=100,
        replicas=2,
        owner=OWNER,
    )


def pod_specs():
    yield CLUSTER["spec"]["scheduler"]["spec"]
    yield group()["spec"]["worker"]["spec"]


def test_pods_may_do_nothing_but_their_work():
    for spec in pod_specs():
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_memory_asked_for_is_the_limit():
    for spec in pod_specs():
        resources = spec["containers"][0]["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert "cpu" not in resources["limits"]  # throttling would spoil what is measured


def test_keys_are_files_of_secrets_and_nowhere_else():
    made = objects.secret(NAMED, NAMED.key, {"dataset.key": b"\x00secret"})
    assert b64decode(made["data"]["dataset.key"]) == b"\x00secret"
    spec = group()["spec"]["worker"]["spec"]
    assert {"name": "fitcast-keys", "secret": {"secretName": NAMED.key, "defaultMode": 0o440}} in (
        spec["volumes"]
    )
    assert "fitcast-keys" not in str(CLUSTER)  # the scheduler could not read the dataset


def test_every_mount_has_its_volume_and_the_environment_names_it():
    for spec in pod_specs():
        (container,) = spec["containers"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == volumes
        values = {one["name"]: one.get("value") for one in container["env"]}
        assert values["FITCAST_TLS_DIR"] in mounts.values()


def test_everything_carries_the_workflows_label_and_belongs_to_its_cluster():
    made = [CLUSTER, group(), objects.network_policy(NAMED, {})]
    for one in made:
        assert one["metadata"]["labels"].items() >= NAMED.labels.items()
    assert group()["metadata"]["ownerReferences"][0]["uid"] == "u-1"


def test_a_pools_wishes_reach_its_pods():
    spec = group(
        gpus=1,
        node_selector={"disk": "ssd"},
        tolerations=({"key": "spot", "operator": "Exists"},),
        priority_class="batch",
    )["spec"]["worker"]["spec"]
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [{"key": "spot", "operator": "Exists"}]
    assert spec["priorityClassName"] == "batch"
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_only_its_own_pods_and_its_owner_reach_a_workflow():
    policy = objects.network_policy(NAMED, {"app": "fitcast-broker"})
    (rule,) = policy["spec"]["ingress"]
    selectors = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert selectors == [
        {objects.CLUSTER_LABEL: NAMED.cluster},
        {"app": "fitcast-broker"},
    ]


def test_names_are_short_enough_for_the_operator():
    from dask_kubernetes.operator.validation import validate_cluster_name

    from_a_broker = "20261127-120000-0123456789abcdef0123456789abcdef"
    for named in (NAMED, *map(objects.ResourceNames.new, (NAMED.workflow_id, from_a_broker))):
        validate_cluster_name(named.cluster)
        assert named.group("default") != named.default_group
        longest = f"{named.group('p' * 20)}-worker-{'0' * 10}"
        assert len(longest) <= 253
        services = (named.scheduler, named.group("p" * 20), named.default_group)
        labels = (named.workflow_id, *named.labels.values())
        assert all(len(name) <= 63 for name in (*services, *labels))


def test_each_cluster_of_a_workflow_has_names_and_pods_of_its_own():
    first, second = (objects.ResourceNames.new("20261127-120000-abcdef01") for _ in range(2))
    assert first.cluster != second.cluster
    assert first.labels_of_workflow == second.labels_of_workflow
    assert not first.labels.items() >= second.selector.items()
