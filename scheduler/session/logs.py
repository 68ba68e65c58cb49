"""What fits wrote, put together."""

from fitcast.errors import UnknownFitError
from fitcast.scheduler.run.views import WorkflowView


def logs_of(view: WorkflowView, fit: str | None = None) -> str:
    """Return output, warnings and tracebacks of fits, of all or of one.

    Raises
    ------
    UnknownFitError
        There is no such fit.
    """
    rows = view.rows
    if fit is not None and fit not in rows:
        raise UnknownFitError(f"there is no fit {fit!r}; workflow.fits lists them by fit_id")
    parts = []
    for row in rows.values() if fit is None else (rows[fit],):
        measured = row.measured
        if measured is None:
            continue
        texts = (measured.stdout, measured.stderr, *measured.warnings, measured.traceback)
        text = "\n".join(text.rstrip() for text in texts if text.strip())
        if text or row.error:
            head = f"== {row.fit.fit_id} {row.fit.candidate.label} fold {row.fit.fold}"
            parts.append(f"{head}\n{text or row.error}")
    return "\n".join(parts)
