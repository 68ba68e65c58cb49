"""The status page, signing in to it, and the API's description as a page. Works without internet.

A token that is signed in with is in a cookie that no script reads and no other site's page sends;
it opens what is only read. Not in: what the page shows
(:mod:`fitcast.scheduler.broker.api.status_document`).
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, FastAPI, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from fitcast.errors import AuthenticationError, ForbiddenError, InvalidInputError
from fitcast.scheduler.broker.api.answers import PlainJson
from fitcast.scheduler.broker.api.authentication import (
    COOKIE,
    READ,
    Reader,
    checked_caller,
)
from fitcast.scheduler.broker.api.described import (
    ASKED,
    OF_A_WORKFLOW,
    Refusal,
    Responses,
    StatusTold,
    WorkflowId,
    refusals,
)
from fitcast.scheduler.broker.api.status_document import status_document
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.views import Views
from fitcast.version import __version__

CONTENT_POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
"""What a page may load: nothing but what comes from here, and no script within the page."""

DOCS_POLICY: Final = f"{CONTENT_POLICY}; img-src 'self' data:"
"""Swagger UI's style sheet has its arrows as data."""

_LONGEST_BODY: Final = 8192
_LONGEST_COOKIE: Final = 4096  # browsers keep no longer one
_STATIC: Final = Path(str(files("fitcast.scheduler.broker.api") / "pages" / "static"))
_SWAGGER: Final = Path(str(files("fastapi_offline") / "static"))
_FORM: Final = "application/x-www-form-urlencoded"
_TOKEN: Final = {
    "type": "object",
    "required": ["token"],
    "properties": {"token": {"type": "string"}},
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _TOKEN}, _FORM: {"schema": _TOKEN}},
    }
}

_NOT_THERE: Final[Responses] = {
    404: {
        "model": Refusal,
        "description": "MLflow has nothing of it, or there is no such workflow",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}


def add_pages(app: FastAPI, service: Service, views: Views, *, has_mlflow: bool) -> None:
    """Let an application have pages.

    Parameters
    ----------
    app
        Which.
    service, views
        What they show.
    has_mlflow
        Whether there is an MLflow server to link to.
    """
    app.include_router(_session_routes())
    app.include_router(_page_routes(service, views, has_mlflow=has_mlflow))
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.mount("/swagger", StaticFiles(directory=_SWAGGER), name="swagger")


def _page_routes(service: Service, views: Views, *, has_mlflow: bool) -> APIRouter:
    router = APIRouter()
    templates = Environment(
        loader=PackageLoader("fitcast.scheduler.broker.api", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    templates.globals["version"] = __version__

    def page(name: str, status: int = 200, policy: str = CONTENT_POLICY, **values: Any) -> Response:
        headers = {"Content-Security-Policy": policy}
        return HTMLResponse(templates.get_template(name).render(values), status, headers)

    @router.get("/", include_in_schema=False)
    def home(request: Request) -> Response:
        """Show how the platform stands, or where to sign in."""
        problem = "That token opens nothing here." if "refused" in request.query_params else ""
        try:
            caller = checked_caller(request, READ)
        except AuthenticationError:
            return page("sign_in.html", problem=problem)
        except ForbiddenError as error:
            return page("sign_in.html", problem=str(error))
        return page("status.html", user=caller.user.name, is_admin=caller.is_admin)

    @router.get("/docs", include_in_schema=False)
    def docs() -> Response:
        """Show the API's description."""
        return page("docs.html", policy=DOCS_POLICY)

    @router.get("/v1/status", response_class=PlainJson, response_model=StatusTold, responses=ASKED)
    def status(caller: Reader) -> PlainJson:
        """Tell how the platform stands: the queue, pools, the caller's workflows."""
        return PlainJson(
            status_document(
                service, views, caller.user, is_admin=caller.is_admin, has_mlflow=has_mlflow
            )
        )

    @router.get(
        "/workflows/{workflow_id}/mlflow",
        status_code=303,
        response_class=RedirectResponse,
        responses=OF_A_WORKFLOW | _NOT_THERE,
    )
    def mlflow(caller: Reader, workflow_id: WorkflowId) -> Response:
        """Lead to a workflow in MLflow."""
        row = service.mine(caller.user, workflow_id)
        url = service.engine.url(row.workflow_id) if has_mlflow else None
        if url is None or urlsplit(url).scheme not in ("http", "https"):
            return page("message.html", 404, title="MLflow has nothing of this workflow yet")
        return RedirectResponse(url, 303)

    return router


def _session_routes() -> APIRouter:
    router = APIRouter()

    @router.post(
        "/session",
        status_code=204,
        response_class=Response,
        responses=refusals(401, 403, 422, 503) | {303: {"description": "To the page"}},
        openapi_extra=_BODY,
    )
    async def sign_in(request: Request) -> Response:
        """Keep a token in a cookie of this browser, which opens what is only read."""
        is_form = request.headers.get("Content-Type", "").partition(";")[0].strip() == _FORM
        _check_same_origin(request)
        token = _token_of(await _body(request), is_form=is_form)
        try:
            if not token or len(token) > _LONGEST_COOKIE or not token.isprintable():
                raise AuthenticationError(
                    "no token was given: make one with `fitcast token create`"
                )
            await run_in_threadpool(request.app.state.authenticate, token)
        except AuthenticationError:
            if is_form:
                return RedirectResponse("/?refused", 303)
            raise
        answer = RedirectResponse("/", 303) if is_form else Response(status_code=204)
        answer.set_cookie(
            COOKIE, token, httponly=True, samesite="strict", secure=_is_https(request), path="/"
        )
        return answer

    @router.delete("/session", status_code=204, response_class=Response, responses=refusals(403))
    async def sign_out(request: Request) -> Response:
        """Let this browser forget the token."""
        _check_same_origin(request)
        answer = Response(status_code=204)
        answer.delete_cookie(
            COOKIE, httponly=True, samesite="strict", secure=_is_https(request), path="/"
        )
        return answer

    return router


def _check_same_origin(request: Request) -> None:
    """Refuse what a page of another site lets a browser send; scripts say no origin."""
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    if site not in ("same-origin", "none") or (
        # the scheme isn't compared: a proxy may have ended TLS
        origin is not None and urlsplit(origin).netloc != request.headers.get("Host", "")
    ):
        raise ForbiddenError("sign in on the platform's own page")


def _is_https(request: Request) -> bool:
    origin = urlsplit(request.headers.get("Origin", ""))
    return "https" in (request.url.scheme, origin.scheme)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LONGEST_BODY:
            raise InvalidInputError("that is no token: it is far too long")
    return bytes(body)


def _token_of(body: bytes, *, is_form: bool) -> str:
    try:
        if is_form:
            return parse_qs(body.decode("ascii"), max_num_fields=10).get("token", [""])[0].strip()
        token = json.loads(body)["token"]
    except (ValueError, TypeError, KeyError, RecursionError):
        token = None
    if not isinstance(token, str):
        raise InvalidInputError('send {"token": "…"}, or a form with the field token')
    return token.strip()
