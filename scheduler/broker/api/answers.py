"""How the broker answers: JSON, and errors of ours with their status, code and remedy."""

import json
import logging
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from fitcast.errors import BrokerStoreError, FitcastError, KeyEncryptionError
from fitcast.scheduler.session.documents import error_document, told_error

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
_LATER = frozenset({429, 503, 507})
_OF_THE_PLACE = {
    BrokerStoreError: "the platform's database can't be used now",
    KeyEncryptionError: "the platform can't open or make keys now",
}
"""What is wrong there is for who runs the platform: where its things lie is nobody else's."""


class PlainJson(JSONResponse):
    """JSON in ASCII: any text goes, half surrogate pairs too; NaN as Python reads it."""

    def render(self, content: Any) -> bytes:
        """Return the bytes of the body."""
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def _for_users(request: Request, error: FitcastError) -> FitcastError:
    """Return what users are told of an error; of one that is the place's own, no more than that."""
    for kind, said in _OF_THE_PLACE.items():
        if isinstance(error, kind):
            log.warning("%s %s: %s", request.method, request.url.path, error)
            return kind(f"{said}: try again later, or tell who runs it")
    return error


def answer_errors(app: FastAPI) -> None:
    """Let every error be told in the same form."""

    @app.exception_handler(FitcastError)
    def refused(request: Request, error: Exception) -> PlainJson:
        status, told = error_document(_for_users(request, cast(FitcastError, error)))
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        if status in _LATER:
            headers["Retry-After"] = str(RETRY_AFTER_S)
        return PlainJson(told, status, headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: Exception) -> PlainJson:
        problems = cast(RequestValidationError, error).errors()
        said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in problems[:10])
        return PlainJson(told_error("invalid_request", "InvalidInputError", said), 422)

    @app.exception_handler(HTTPException)
    def unknown(request: Request, error: Exception) -> PlainJson:
        found = cast(HTTPException, error)
        code = {404: "no_such_route", 405: "no_such_method"}.get(found.status_code, "http")
        told = told_error(code, "FitcastError", str(found.detail))
        return PlainJson(told, found.status_code, found.headers)

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> PlainJson:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        said = f"the platform failed ({type(error).__name__}): its log has the traceback"
        return PlainJson(told_error("internal", "InternalError", said), 500)
