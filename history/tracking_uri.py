"""Checks of a tracking URI that give their answer within a bound and say what to do.

In here: which kinds of store there are, which file a SQLite URI names, whether a server answers at
all. Not in here: checks of that file (:mod:`fitcast.history.sqlite_files`), MLflow itself
(:mod:`fitcast.history.mlflow_store`).
"""

import http.client
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Final

from fitcast.errors import HistoryError

_DATABASES: Final = ("postgresql", "mysql", "mssql")
HINT: Final = (
    "Use sqlite:////absolute/path/mlflow.db for a store on this machine, or the address of an "
    "MLflow server such as http://host:5000"
)
"""What to do about a tracking URI that can't be used."""
WAIT_S: Final = 30.0
"""Seconds that are waited for an answer, or a lock, unless something else is set."""
WAIT_HINT: Final = "FITCAST_STORE_WAIT_S sets for how many seconds fitcast waits"
"""What to do about a store that is slow."""


def masked(text: str) -> str:
    """Return a text without the passwords of the URIs in it."""
    return re.sub(r"(://[^/@\s:]*):[^/@\s]+@", r"\1:***@", text)


def checked_uri(uri: str) -> str:
    """Return a tracking URI in the form that is passed to MLflow.

    A relative SQLite path is made absolute, so that a later change of folder doesn't move the
    store.

    Raises
    ------
    HistoryError
        MLflow has no store for such a URI.
    """
    uri = uri.strip()
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if scheme == "sqlite":
        return _sqlite(uri, rest)
    if uri.startswith("databricks") or scheme.split("+")[0] in _DATABASES:
        return uri
    if scheme in {"http", "https"}:
        try:
            parts = urllib.parse.urlsplit(uri)
            valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:
            valid = False
        if not valid:
            raise HistoryError(f"The tracking URI {masked(uri)!r} names no valid host. {HINT}.")
        return uri.rstrip("/")
    if scheme == "file" or not separator:
        raise HistoryError(
            f"The tracking URI {uri!r} is a folder. MLflow no longer keeps runs in plain "
            f"folders. {HINT}."
        )
    raise HistoryError(
        f"The tracking URI {masked(uri)!r} is of an unknown kind ({scheme}). {HINT}."
    )


def sqlite_path(uri: str) -> Path | None:
    """Return the database file of a checked SQLite URI; None for every other kind."""
    scheme, _, rest = uri.partition("://")
    if scheme.split("+")[0] != "sqlite":
        return None
    return Path(urllib.parse.unquote(rest[1:].partition("?")[0]))


def check_reachable(uri: str, wait_s: float = WAIT_S) -> None:
    """Check that something answers at an http(s) address within ``wait_s`` seconds.

    Raises
    ------
    HistoryError
        Nothing does.
    """
    request = urllib.request.Request(f"{uri}/health", headers={"User-Agent": "fitcast"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=wait_s):  # noqa: S310
            return
    except urllib.error.HTTPError as answer:
        answer.close()
        # Whatever it says (perhaps: log in first), it is there; these say that nothing is behind it
        if answer.code in {502, 503, 504}:
            raise HistoryError(_unreachable(uri, f"HTTP {answer.code}")) from answer
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return  # it is there; which certificates to trust is set in MLflow's own variables
        if isinstance(reason, TimeoutError):
            raise HistoryError(slow(uri, wait_s)) from error
        raise HistoryError(_unreachable(uri, str(reason))) from error


def slow(uri: str, wait_s: float) -> str:
    """Return what is said of a server that takes too long."""
    return f"The MLflow server at {masked(uri)} doesn't answer within {wait_s:g} s. {WAIT_HINT}."


def login_hint(uri: str, status: str) -> str:
    """Return what is said of a server that refuses the user's login, or lack of one."""
    return (
        f"The MLflow server at {masked(uri)} refuses access (HTTP {status}): set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to a "
        "login that may write there"
    )


def _unreachable(uri: str, reason: str) -> str:
    return (
        f"No MLflow server answers at {masked(uri)} ({reason}); start it, or set "
        "MLFLOW_TRACKING_URI to the right address"
    )


def _sqlite(uri: str, rest: str) -> str:
    if not rest.startswith("/"):
        raise HistoryError(
            f"The tracking URI {uri!r} has too few slashes: sqlite:///relative.db or "
            "sqlite:////absolute/path.db"
        )
    path, mark, query = rest[1:].partition("?")
    if path in {"", ":memory:"}:
        raise HistoryError(
            f"The tracking URI {uri!r} names no file; a history in memory is lost when the "
            f"process ends. {HINT}."
        )
    return f"sqlite:///{Path(path).expanduser().absolute()}{mark}{query}"
