"""Who is let in to MLflow's pages: a proxy in front of MLflow's server, with a secret address.

In here: the token, the cookie that it is changed for, checks of where a request comes from, and
passing requests and answers on. Not in here: the processes (:mod:`fitcast.ui_server`).
"""

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)
_HTTP_PORT: Final = 80  # left out of the Host header

Header = tuple[bytes, bytes]


def guarded(path: Path, port: int, token: str) -> Starlette:
    """Return the proxy: requests of who has the token go to the server on the socket `path`."""
    # A connection each: an idle one may just be closed by the server when it is wanted.
    limits = httpx.Limits(max_keepalive_connections=0)
    transport = httpx.AsyncHTTPTransport(uds=str(path), limits=limits)

    @asynccontextmanager
    async def closing(app: Starlette) -> AsyncIterator[None]:
        async with transport:
            yield

    behind = partial(_passed_on, transport)
    return Starlette(routes=[Mount("/", _Door(behind, port, token))], lifespan=closing)


class _Door:
    """Lets a request through if it is for this server, by somebody who has its secret."""

    def __init__(self, behind: ASGIApp, port: int, token: str) -> None:
        self._behind = behind
        self._token = token
        self._pass = secrets.token_urlsafe(32)  # so that the cookie doesn't tell the address
        self._cookie = f"fitcast-ui-{port}"  # cookies of one host are shared by its ports
        names = ("127.0.0.1", "localhost")
        self._hosts = {f"{name}:{port}" for name in names}
        if port == _HTTP_PORT:
            self._hosts.update(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refusal(Request(scope))
        await (self._behind if refused is None else refused)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        """Return what is answered in MLflow's place; None if the request may go through."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:  # a foreign name that leads here
            return _told(421, "This server answers to 127.0.0.1 and localhost alone.")
        given = request.query_params.get("token", "")
        if request.method in ("GET", "HEAD") and _equal(given, self._token):
            return self._let_in(request, hosts[0])
        if not _equal(request.cookies.get(self._cookie, ""), self._pass):
            return _told(401, "Use the address that `fitcast ui` printed, with its token.")
        # The browser sends the cookie with what pages of other ports of this machine ask for, too.
        origin = request.headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self._hosts}:
            return _told(403, "This server takes no requests from pages of others.")
        return None

    def _let_in(self, request: Request, host: str) -> Response:
        parts = request.scope["query_string"].decode("ascii", "replace").split("&")
        query = "&".join(part for part in parts if not part.startswith("token="))
        path = _raw_path(request.scope).decode("ascii", "replace")
        # with the host, as a path that begins with two slashes would lead to another
        response = RedirectResponse(f"http://{host}{path}{'?' if query else ''}{query}", 303)
        response.set_cookie(self._cookie, self._pass, httponly=True, samesite="strict")
        response.headers.update({"cache-control": "no-store", "referrer-policy": "no-referrer"})
        return response


async def _passed_on(
    transport: httpx.AsyncHTTPTransport, scope: Scope, receive: Receive, send: Send
) -> None:
    request = Request(scope, receive)
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    try:
        query = scope["query_string"]
        url = httpx.URL("http://mlflow").copy_with(
            raw_path=_raw_path(scope) + (b"?" + query if query else b"")
        )
        answer = await transport.handle_async_request(
            httpx.Request(
                request.method,
                url,
                headers=_end_to_end(request.headers.raw),
                content=request.stream() if has_body else None,
            )
        )
    except (httpx.InvalidURL, UnicodeError):
        await _told(400, "This address can't be read.")(scope, receive, send)
        return
    except httpx.TransportError as error:
        await _told(502, f"MLflow's server doesn't answer: {error}")(scope, receive, send)
        return
    try:
        response = StreamingResponse(answer.aiter_raw(), answer.status_code)
        response.raw_headers = _end_to_end(answer.headers.raw)
        await response(scope, receive, send)
    finally:  # also when the browser went away
        await answer.aclose()


def _raw_path(scope: Scope) -> bytes:
    """Return the path as it was sent: what is percent-encoded in it stays so."""
    path: bytes = scope["raw_path"]
    return path


def _end_to_end(headers: Iterable[Header]) -> list[Header]:
    """Return the headers without those that are between two neighbours only."""
    given = [(name.lower(), value) for name, value in headers]
    listed = b",".join(value for name, value in given if name == b"connection")
    dropped = _HOP_BY_HOP | {name.strip().lower() for name in listed.split(b",")}
    return [(name, value) for name, value in given if name not in dropped]


def _equal(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode(errors="replace"), secret.encode())


def _told(status: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status, {"cache-control": "no-store"})
