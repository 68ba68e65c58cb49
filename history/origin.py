"""Whose workflow it is and what it comes from, as MLflow's own tags say it.

In here: user, script or notebook, what the refit goes by. Not in here: how runs show it
(:mod:`fitcast.history.presentation`).
"""

import getpass
import os
import sys
from pathlib import PurePath


def origin_tags() -> dict[str, str]:
    """Return user and source of what is run by this process.

    Of a script only the name of its file is told: its folder says more of a machine than
    reviewers need.
    """
    name, kind = _source()
    return {"mlflow.user": _user(), "mlflow.source.name": name, "mlflow.source.type": kind}


def refit_text(refit: object) -> str:
    """Return what a sweep's ``refit`` says, as text: a score's name, or yes, no, a rule."""
    if callable(refit):
        return getattr(refit, "__name__", "a function")
    return str(refit)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without a name, as in many containers
        return str(os.geteuid())


def _source() -> tuple[str, str]:
    if "ipykernel" in sys.modules:
        return "notebook", "NOTEBOOK"
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None) or (sys.argv[0] if sys.argv else "")
    name = PurePath(path).name if path and path not in ("-", "-c", "-m") else ""
    return name or "python", "LOCAL"
