"""A workflow's best model in MLflow: logged with its run, and registered when that is asked for.

In here: calls of an MLflow that is given. Not in here: what imports it
(:mod:`fitcast.history.mlflow_store`), when a model is logged (``Result.log_model``).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fitcast.history.presentation import KIND_TAG, WORKFLOW_TAG
from fitcast.history.temporary_files import temporary_folder

_NAME = "best-model"


def log_best_model(
    mlflow: Any,
    client: Any,
    run: Any,
    model: Any,
    *,
    input_example: Any,
    registered_name: str | None,
) -> str:
    """Log a fitted model with a workflow's run, and return its address in MLflow.

    Parameters
    ----------
    mlflow, client
        The module, with ``mlflow.sklearn`` and ``mlflow.models``, and a client of the store.
    run
        The workflow's.
    model
        With scikit-learn's interface.
    input_example
        Rows as they are predicted; None for a model without example and signature.
    registered_name
        The registered model of which it becomes a version; None for none.
    """
    signature = None
    if input_example is not None and hasattr(model, "predict"):
        signature = mlflow.models.infer_signature(input_example, model.predict(input_example))
    run_id = run.info.run_id
    told = {KIND_TAG: "best-model", WORKFLOW_TAG: run.data.tags[WORKFLOW_TAG]}
    logged = client.create_logged_model(
        run.info.experiment_id, name=_NAME, source_run_id=run_id, tags=told
    )
    try:
        with temporary_folder() as folder, _without_its_advice():
            mlflow.sklearn.save_model(
                model,
                str(folder / _NAME),
                mlflow_model=mlflow.models.Model(run_id=run_id, model_id=logged.model_id),
                # classes of the user's own script go along, as they do to workers
                serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,
                signature=signature,
                input_example=input_example,
            )
            client.log_model_artifacts(logged.model_id, str(folder / _NAME))
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [mlflow.entities.LoggedModelOutput(logged.model_id, 0)])
    if registered_name is not None:
        _register(client, logged, run_id, registered_name)
    return f"models:/{logged.model_id}"


def _register(client: Any, logged: Any, run_id: str, name: str) -> None:
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    client.create_model_version(
        name, source=logged.artifact_location, run_id=run_id, model_id=logged.model_id
    )


@contextmanager
def _without_its_advice() -> Iterator[None]:
    """Keep MLflow from advising against pickles at each model; the documentation says it once."""
    logger = logging.getLogger("mlflow.sklearn")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
