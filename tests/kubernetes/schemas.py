"""Checks objects against the schemas of Kubernetes' API, as its generated client carries them.

Of custom resources the schema is in the Dask operator's CustomResourceDefinitions.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import yaml
from kubernetes import client
from pydantic import ValidationError


def problems(made: dict[str, Any]) -> list[str]:
    """Return what is wrong with an object; nothing if it is valid."""
    if made["apiVersion"] == "kubernetes.dask.org/v1":
        found = [error.message for error in _custom(made["kind"]).iter_errors(made)]
        pods = {"DaskCluster": ("scheduler", "worker"), "DaskWorkerGroup": ("worker",)}
        for part in pods[made["kind"]]:
            found += _problems("V1PodSpec", made["spec"][part]["spec"], f"spec.{part}.spec")
        found += _problems("V1ObjectMeta", made["metadata"], "metadata")
        return found
    return _problems(f"V1{made['kind']}", made, made["kind"])


def _problems(kind: str, data: Any, at: str) -> list[str]:
    try:  # strict: unknown fields and other types are errors
        getattr(client, kind).model_validate(data)
    except ValidationError as error:
        return [f"{at}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return []


@cache
def _custom(kind: str) -> jsonschema.Draft202012Validator:
    folder = files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    definition = yaml.safe_load((folder / f"{kind.lower()}.yaml").read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    return jsonschema.Draft202012Validator(version["schema"]["openAPIV3Schema"])
