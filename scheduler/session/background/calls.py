"""Asks the background process of a home.

In: requests over its socket, and errors as it told them. Not in: starting it
(:mod:`fitcast.scheduler.session.background.starting`).
"""

import http.client
import json
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fitcast.errors import error_named
from fitcast.scheduler.session.background.place import BackgroundPlace

ANSWER_S: Final = 20.0
"""Longer than any answer takes that isn't asked to wait for something."""

RESUME_S: Final = 600.0
"""Handing a workflow over: all of its data is verified, and what is kept is read."""


class UnreachableError(Exception):
    """No background process answers, or it is ending."""


class Calls:
    """What may be asked of a home's background process.

    Each raises `UnreachableError` if there is none, and the errors that the process told.

    Parameters
    ----------
    home : Path
        The home.
    """

    def __init__(self, home: Path) -> None:
        self._place = BackgroundPlace(home)

    def health(self) -> dict[str, Any]:
        """Return who it is, and with which settings it was started."""
        return self._asked("GET", "/v1/health")

    def workflows(self) -> list[dict[str, Any]]:
        """Return what it runs, and ran."""
        told: list[dict[str, Any]] = self._asked("GET", "/v1/workflows")["workflows"]
        return told

    def workflow(self, workflow_id: str, wait_s: float = 0.0) -> dict[str, Any]:
        """Return a workflow; after `wait_s`, or sooner if it is over then."""
        return self._asked(
            "GET", _path(workflow_id), {"wait_s": wait_s}, timeout_s=ANSWER_S + wait_s
        )

    def fits(self, workflow_id: str, since: str) -> dict[str, Any]:
        """Return the fits that changed since a cursor, and the next cursor."""
        return self._asked("GET", f"{_path(workflow_id)}/fits", {"since": since})

    def cancel(self, workflow_id: str) -> dict[str, Any]:
        """Give a workflow up."""
        return self._asked("POST", f"{_path(workflow_id)}/cancel")

    def resume(self, workflow_id: str) -> dict[str, Any]:
        """Let it go on with a workflow."""
        return self._asked("POST", f"{_path(workflow_id)}/resume", timeout_s=RESUME_S)

    def _asked(
        self,
        method: str,
        path: str,
        query: dict[str, Any] | None = None,
        *,
        timeout_s: float = ANSWER_S,
    ) -> dict[str, Any]:
        connection = _Connection(self._place, timeout_s)
        try:
            connection.request(method, f"{path}?{urlencode(query)}" if query else path)
            answer = connection.getresponse()
            told = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnreachableError(str(error) or type(error).__name__) from error
        finally:
            connection.close()
        if answer.status == HTTPStatus.OK and isinstance(told, dict):
            return told
        said = told.get("error", {}) if isinstance(told, dict) else {}
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            raise UnreachableError(str(said.get("message", "it is ending")))
        raise error_named(str(said.get("type")), str(said.get("message", f"HTTP {answer.status}")))


class _Connection(http.client.HTTPConnection):
    def __init__(self, place: BackgroundPlace, timeout_s: float) -> None:
        super().__init__("fitcast", timeout=timeout_s)
        self._place = place
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = self._place.connected(self._timeout_s)


def _path(workflow_id: str) -> str:
    return f"/v1/workflows/{quote(workflow_id, safe='')}"
