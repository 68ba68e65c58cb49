"""Asks a shared platform: requests over HTTP, tried again where that is safe, errors as it told.

In: one method for each route that a user's client needs. Not in: what is made of the answers
(:mod:`fitcast.scheduler.session.remote.platform`), the other end
(:mod:`fitcast.scheduler.broker.api`).
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import httpx

from fitcast.errors import BrokerUnreachableError, error_named
from fitcast.scheduler.session.remote.address import BrokerAddress
from fitcast.version import __version__

log = logging.getLogger(__name__)

CONNECT_S: Final = 10.0
ANSWER_S: Final = 30.0
"""Longer than any answer takes that isn't asked to wait for something."""

COMMIT_S: Final = 900.0
"""Once all is uploaded, the platform verifies it: some seconds per 10 GB."""

TRY_FOR_S: Final = 30.0
"""For so long a platform that restarts is asked again."""

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0
_AWAY: Final = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)
_LATER: Final = frozenset({*_AWAY, HTTPStatus.TOO_MANY_REQUESTS})


class BrokerCalls:
    """What may be asked of a shared platform.

    Each raises the errors that the platform told, and `BrokerUnreachableError` if it doesn't
    answer; until then it was asked again for a while, as nothing here does a thing twice.

    Parameters
    ----------
    address : BrokerAddress
        Where it answers.
    token : str
        Who asks.
    transport : httpx.BaseTransport, optional
        How requests travel, for tests.
    clock, pause : callable, optional
        Monotonic seconds, and waiting for some.
    """

    def __init__(
        self,
        address: BrokerAddress,
        token: str,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.address = address
        self._clock = clock
        self._pause = pause
        self._client = httpx.Client(
            base_url=f"{address.url}/v1",
            headers={"Authorization": f"Bearer {token}", "User-Agent": f"fitcast/{__version__}"},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            follow_redirects=False,  # a token goes nowhere else
            transport=transport,
        )

    def close(self) -> None:
        """End all connections."""
        self._client.close()

    # -- the platform ----------------------------------------------------------------------------

    def about(self) -> dict[str, Any]:
        """Return the platform's version, its pools and limits, and who asks."""
        return self._asked("GET", "/about")

    def estimates(self, submission: Mapping[str, Any], probes: list[str]) -> dict[str, Any]:
        """Return what the fits of a submission are forecast to cost, and when they could begin."""
        body = {"submission": submission, "probes": probes}
        return self._asked("POST", "/estimates", **_json(body))

    def learn(self) -> int:
        """Let the platform train; return how many records it knows."""
        return int(self._asked("POST", "/learn", timeout_s=COMMIT_S)["records"])

    def flushed(self, wait_s: float) -> bool:
        """Tell whether its history has all of this user's, after waiting for that."""
        params = {"wait_s": wait_s}
        told = self._asked("GET", "/history/flushed", params=params, timeout_s=ANSWER_S + wait_s)
        return bool(told["flushed"])

    # -- submitting ------------------------------------------------------------------------------

    def create(self, body: Mapping[str, Any], idempotency_key: str) -> dict[str, Any]:
        """Announce a workflow; return it."""
        content = _json(body)
        content["headers"]["Idempotency-Key"] = idempotency_key
        return self._asked("POST", "/workflows", **content)

    def describe(self, body: Mapping[str, Any], idempotency_key: str) -> dict[str, Any]:
        """Hand a sweep in as plain JSON; return its workflow, which a worker prepares."""
        content = _json(body)
        content["headers"]["Idempotency-Key"] = idempotency_key
        return self._asked("POST", "/sweeps", **content)

    def received(self, workflow_id: str, upload: str) -> int:
        """Return how many bytes of an upload have arrived."""
        return int(self._asked("GET", f"{_path(workflow_id)}/uploads/{upload}")["received"])

    def send(self, workflow_id: str, upload: str, offset: int, data: Iterator[bytes]) -> int:
        """Send bytes of an upload from an offset on, once; return how many have arrived.

        Raises
        ------
        BrokerUnreachableError
            The connection broke; `received` tells how far it came.
        """
        told = self._once(
            "PATCH",
            f"{_path(workflow_id)}/uploads/{upload}",
            content=data,
            headers={
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
            },
        )
        return int(told["received"])

    def commit(self, workflow_id: str) -> dict[str, Any]:
        """Say that all was uploaded; return the workflow, which is queued now."""
        return self._asked("POST", f"{_path(workflow_id)}/commit", timeout_s=COMMIT_S)

    # -- workflows -------------------------------------------------------------------------------

    def workflows(self) -> list[dict[str, Any]]:
        """Return all of this user's, oldest first."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            told = self._asked("GET", "/workflows", params={"after": after})
            found += told["workflows"]
            after = told["next"]
            if not after:
                return found[::-1]

    def workflow(self, workflow_id: str, wait_s: float = 0.0) -> dict[str, Any]:
        """Return a workflow; after `wait_s`, or sooner if it is over then."""
        params = {"wait_s": wait_s}
        return self._asked("GET", _path(workflow_id), params=params, timeout_s=ANSWER_S + wait_s)

    def fits(self, workflow_id: str, since: str) -> dict[str, Any]:
        """Return the fits that changed since a cursor, and the next cursor."""
        return self._asked("GET", f"{_path(workflow_id)}/fits", params={"since": since})

    def accepted(self, workflow_id: str) -> dict[str, Any]:
        """Return a workflow as it was taken in."""
        return self._asked("GET", f"{_path(workflow_id)}/submission")

    def key(self, workflow_id: str) -> str:
        """Return its key, as base64."""
        return str(self._asked("GET", f"{_path(workflow_id)}/key")["key"])

    def cancel(self, workflow_id: str) -> dict[str, Any]:
        """Give a workflow up."""
        return self._asked("POST", f"{_path(workflow_id)}/cancel")

    def resume(self, workflow_id: str) -> dict[str, Any]:
        """Let it be gone on with."""
        return self._asked("POST", f"{_path(workflow_id)}/resume")

    def remove(self, workflow_id: str) -> None:
        """Remove all of it."""
        self._asked("DELETE", _path(workflow_id))

    def queue(self) -> list[dict[str, Any]]:
        """Return what runs and waits, of all that this user may see."""
        told: list[dict[str, Any]] = self._asked("GET", "/queue")["workflows"]
        return told

    def mlflow_url(self, workflow_id: str) -> str | None:
        """Return where a workflow is seen in the platform's MLflow."""
        url = self._asked("GET", f"{_path(workflow_id)}/mlflow", timeout_s=2 * ANSWER_S)["url"]
        return None if url is None else str(url)

    # -- files -----------------------------------------------------------------------------------

    def files(self, workflow_id: str) -> dict[str, int]:
        """Return names and bytes of the files of its results."""
        told = self._asked("GET", f"{_path(workflow_id)}/files")
        return {str(name): int(size) for name, size in told["files"].items()}

    def part(self, workflow_id: str, name: str, start: int, end: int) -> bytes:
        """Return bytes of a file, from `start` to before `end`."""
        answer = self._answered(
            "GET",
            f"{_path(workflow_id)}/files/{quote(name, safe='')}",
            headers={"Range": f"bytes={start}-{end - 1}"},
        )
        if not answer.is_success:
            raise _error(answer)
        return answer.content

    # --------------------------------------------------------------------------------------------

    def _asked(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        return _told(self._answered(method, path, **how))

    def _answered(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Ask until there is an answer, or for `TRY_FOR_S`."""
        until_s, pause_s = self._clock() + TRY_FOR_S, _FIRST_PAUSE_S
        while True:
            wanted_s = pause_s
            try:
                answer = self._sent(method, path, **how)
            except BrokerUnreachableError as error:
                problem: Exception = error
            else:
                if answer.status_code not in _LATER:
                    return answer
                problem = _error(answer)
                with suppress(ValueError):
                    wanted_s = max(pause_s, float(answer.headers.get("Retry-After", "")))
            if self._clock() + wanted_s > until_s:
                raise problem
            log.debug("%s %s is asked again in %.1f s: %s", method, path, wanted_s, problem)
            self._pause(wanted_s)
            pause_s = min(2.0 * pause_s, _LONGEST_PAUSE_S)

    def _once(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        return _told(self._sent(method, path, **how))

    def _sent(
        self, method: str, path: str, *, timeout_s: float = ANSWER_S, **how: Any
    ) -> httpx.Response:
        try:
            timeout = httpx.Timeout(timeout_s, connect=CONNECT_S)
            answer = self._client.request(method, path, timeout=timeout, **how)
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            raise BrokerUnreachableError(
                f"{self.address.url} doesn't answer ({said}): see that it runs and that this "
                "machine reaches it; what was submitted goes on there"
            ) from error
        if answer.status_code in _AWAY:
            raise BrokerUnreachableError(
                f"{self.address.url} can't answer now (HTTP {answer.status_code}): try again later"
            )
        return answer


def _json(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body of JSON in ASCII: any text goes, and NaN, which scores may be."""
    data = json.dumps(body, separators=(",", ":")).encode("ascii")
    return {"content": data, "headers": {"Content-Type": "application/json"}}


def _told(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code == HTTPStatus.NO_CONTENT:
        return {}
    if not answer.is_success:
        raise _error(answer)
    try:
        told = answer.json()
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise BrokerUnreachableError(
            f"{answer.url.copy_with(query=None)} answers, but not as a fitcast platform does: "
            "check the address"
        )
    return told


def _error(answer: httpx.Response) -> Exception:
    """Return the error that an answer tells."""
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        said = answer.json()["error"]
        return error_named(str(said["type"]), str(said["message"]))
    return BrokerUnreachableError(
        f"{answer.url.copy_with(query=None)} says HTTP {answer.status_code}, but not as a fitcast "
        "platform does: check the address, and what stands between"
    )


def _path(workflow_id: str) -> str:
    return f"/workflows/{quote(workflow_id, safe='')}"
