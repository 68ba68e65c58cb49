"""Who may do what in an emulated cluster: the roles that deploy/ and the operator's chart list."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

Rules = list[dict[str, Any]]

DEPLOY = Path(__file__).parents[2] / "deploy" / "fitcast"
CHART = files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator"


def rules_of_users() -> Rules:
    """Return what those may do who submit."""
    texts = [(DEPLOY / name).read_text("utf-8") for name in ("role.yaml", "nodes-role.yaml")]
    made = [one for text in texts for one in yaml.safe_load_all(text)]
    return [rule for one in made for rule in one.get("rules", ())]


def rules_of_operator(*, everywhere: bool) -> Rules:
    """Return what the operator may do that Helm installs, for all namespaces or for its own."""
    text = (CHART / "templates" / ("clusterrole.yaml" if everywhere else "role.yaml")).read_text()
    rules: Rules = yaml.safe_load(re.sub(r"\{\{.*?\}\}", "", text))["rules"]
    return rules


def allows(rules: Rules, verb: str, group: str, resource: str) -> bool:
    """Tell whether some rule allows it."""
    return any(
        group in rule["apiGroups"]
        and resource in rule["resources"]
        and ("*" in rule["verbs"] or verb in rule["verbs"])
        for rule in rules
    )
