"""The experiments of a history in MLflow: found or made, and how MLflow's pages open them.

In here: calls of an MLflow client that is given. Not in here: runs
(:mod:`fitcast.history.mlflow_store`), what imports MLflow (the same).
"""

import json
import logging
from typing import Any, Final

from fitcast.errors import HistoryError

log = logging.getLogger(__name__)

KIND_TAG: Final = "mlflow.experimentKind"
KIND: Final = "custom_model_development"
"""Without it MLflow 3 opens an experiment as one of GenAI, its runs as "Evaluations"."""

AS_TRAINING: Final = "workflowType=machine_learning"
"""Behind ``?`` in an address: MLflow 3.17's pages go by it, or by the browser's last choice."""

_GUESSED: Final = ("", "no_inferred_type")  # and what ends with "_inferred": nobody chose it

VIEW: Final = "fitcast"
"""The key of the view of the runs table that shows the columns worth having."""

VIEW_KEY: Final = "viewStateShareKey"
"""The name in an address behind which MLflow looks for a stored view."""

VIEW_TAG: Final = f"mlflow.sharedViewState.{VIEW}"
_COLUMNS: Final = (
    "attributes.`Dataset`",
    "attributes.`User`",
    "attributes.`Source`",
    "attributes.`Models`",
    "tags.`fitcast.outcome`",
    "tags.`fitcast.algorithm`",
    "metrics.`best_score`",
    "metrics.`makespan_s/forecast_p50`",
    "metrics.`makespan_s/measured`",
    "metrics.`fits/failed`",
    "attributes.`Description`",
)
_NOTE: Final = (
    "Workflows of fitcast: a run per workflow, below it one per candidate. Each shows what was "
    "forecast beside what was measured; a workflow's artifacts hold its timeline, its forecast "
    "page and the leaderboard."
)


def experiment_tags() -> dict[str, str]:
    """Return the tags of an experiment of ours."""
    view = {"selectedColumns": list(_COLUMNS), "orderByKey": "attributes.start_time"}
    return {KIND_TAG: KIND, "mlflow.note.content": _NOTE, VIEW_TAG: json.dumps(view)}


def missing_tags(there: dict[str, str]) -> dict[str, str]:
    """Return the tags that an experiment lacks; what people chose or wrote stays."""
    wanted = experiment_tags()
    kind = there.get(KIND_TAG, "")
    chosen = kind not in _GUESSED and not kind.endswith("_inferred")
    missing = {k: v for k, v in wanted.items() if k not in there}
    if there.get(VIEW_TAG) != wanted[VIEW_TAG]:
        missing[VIEW_TAG] = wanted[VIEW_TAG]  # it is ours, and named so
    if not chosen:
        missing[KIND_TAG] = KIND
    return missing


def open_experiment(client: Any, name: str, location: str | None, tracking_uri: str) -> str:
    """Return the id of an experiment, made if it isn't there, so that it opens as it should.

    Raises
    ------
    HistoryError
        It was deleted, or there is no place for its files.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        if location is None and not tracking_uri.startswith(("http", "databricks")):
            raise HistoryError(
                f"The experiment {name!r} doesn't exist in this database and there "
                "is no place known for its files; make it with `mlflow experiments create "
                f"--experiment-name {name} --artifact-location <URI>`"
            )
        try:
            return str(
                client.create_experiment(name, artifact_location=location, tags=experiment_tags())
            )
        except Exception:  # another process was faster; otherwise it is still not there
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise HistoryError(
            f"The MLflow experiment {name!r} was deleted; restore it with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`"
        )
    try:
        for key, value in missing_tags(dict(found.tags)).items():
            client.set_experiment_tag(found.experiment_id, key, value)
    except Exception as error:  # who may only read must not fail for it
        log.info("the experiment %s keeps its tags: %s", name, error)
    return str(found.experiment_id)
