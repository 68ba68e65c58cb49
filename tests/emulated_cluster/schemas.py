"""Checks objects against the schemas of Kubernetes' API, as its generated client carries them.

Of custom resources the schema is in the Dask operator's CustomResourceDefinitions.
"""

from functools import cache
from typing import Any

import jsonschema
import yaml
from kubernetes import client
from pydantic import ValidationError

from tests.emulated_cluster.rights import CHART


def problems(made: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object; nothing if it is valid."""
    if made["apiVersion"] == "kubernetes.dask.org/v1":
        found = rejections(made)
        pods = {"DaskCluster": ("scheduler", "worker"), "DaskWorkerGroup": ("worker",)}
        for part in pods[made["kind"]]:
            found += _problems("V1PodSpec", made["spec"][part]["spec"], f"spec.{part}.spec")
        found += _problems("V1ObjectMeta", made["metadata"], "metadata")
        return found
    return _problems(f"V1{made['kind']}", made, made["kind"])


def rejections(made: dict[str, Any]) -> list[str]:
    """Return why an API server rejects a custom resource; nothing if it doesn't."""
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in _custom(made["kind"]).iter_errors(made)
    ]


def _problems(kind: str, data: Any, at: str) -> list[str]:
    try:  # strict: unknown fields and other types are errors
        getattr(client, kind).model_validate(data)
    except ValidationError as error:
        return [f"{at}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return []


@cache
def _custom(kind: str) -> jsonschema.Draft202012Validator:
    text = (CHART / "crds" / f"{kind.lower()}.yaml").read_text(encoding="utf-8")
    definition = yaml.safe_load(text)
    (version,) = definition["spec"]["versions"]
    return jsonschema.Draft202012Validator(version["schema"]["openAPIV3Schema"])
