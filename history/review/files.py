"""The files that a reviewer finds with an ended workflow.

In here: which there are, and that a picture that can't be made harms nothing else. Not in here:
what is in them (the other modules of this folder), where they go
(:mod:`fitcast.history.mlflow_store`).
"""

import logging
from collections.abc import Callable, Mapping, Sequence

from fitcast.history.records import Record
from fitcast.history.review.charts import MOST_SHOWN, forecast_charts, timeline
from fitcast.history.review.pages import page
from fitcast.history.review.summary import summarise
from fitcast.history.review.tables import failures_text, fits_parquet, leaderboard_csv
from fitcast.history.store import AttemptLog, WorkflowRun

log = logging.getLogger(__name__)


def review_files(
    run: WorkflowRun, records: Sequence[Record], logs: Mapping[str, AttemptLog]
) -> dict[str, bytes]:
    """Return the files by name; those that are empty or can't be made are left out.

    Parameters
    ----------
    run
        The workflow.
    records
        Of all its attempts.
    logs
        By record, of what failed.
    """
    measured = [r for r in records if not r.imported]
    if not measured:
        return {}
    summary = summarise(measured, str(run.params.get("refit", "")))
    title = run.name or run.workflow_id
    many = len(measured) > MOST_SHOWN
    some = f" Shown: all that failed, and some of {len(measured):,} attempts." if many else ""
    of_time = (
        "A bar is an attempt at a fit, in its worker's lane; marks tell what failed or came again. "
        "Scroll to zoom, drag to move, click a name to hide it." + some
    )
    of_forecast = (
        "A point is a fit: on the dashed line it cost what was forecast, above it more. Its bar is "
        "the forecast's interval." + some
    )

    def forecast_page() -> bytes:
        charts = forecast_charts(measured)
        return page(f"{title}: forecast and measured", of_forecast, charts) if charts else b""

    makers: dict[str, Callable[[], bytes]] = {
        "timeline.html": lambda: page(f"{title}: timeline", of_time, [timeline(measured)]),
        "forecast.html": forecast_page,
        "leaderboard.csv": lambda: leaderboard_csv(summary),
        "fits.parquet": lambda: fits_parquet(measured),
        "failures.txt": lambda: failures_text(measured, logs),
    }
    files = {}
    for name, make in makers.items():
        try:
            if content := make():
                files[name] = content
        except Exception as error:  # records hold whatever users named; all else is stored already
            log.warning("%s of workflow %s can't be made: %s", name, run.workflow_id, error)
    return files
