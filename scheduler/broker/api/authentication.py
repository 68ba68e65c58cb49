"""Who asks, and what they may: a bearer token on every request but those of health.

Default deny: a route that names no scope can't be made. Not in: what tokens are
(:mod:`fitcast.scheduler.broker.store`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from fitcast.errors import AuthenticationError, ForbiddenError, UnknownWorkflowError
from fitcast.scheduler.broker.identity_provider import LONGEST_TOKEN
from fitcast.scheduler.broker.store import PREPARE, Token, User

READ: Final = "read"
SUBMIT: Final = "submit"
ADMIN: Final = "admin"

COOKIE: Final = "fitcast_token"
"""Where the status page keeps a token; only for reading, as a browser sends it by itself."""

_bearer = HTTPBearer(auto_error=False, description="A token from `fitcast token create`")
_READING: Final = frozenset({"GET", "HEAD"})

Authenticate = Callable[[str], tuple[User, Token]]
"""Says whose token one is and what it is good for."""

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
"""Says in the API's description that a route wants a token; what is in it is read elsewhere."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    user: User
    token: Token

    @property
    def is_admin(self) -> bool:
        """Whether they may see everybody's queue, with this token."""
        return self.user.is_admin and ADMIN in self.token.scopes

    @property
    def prepares(self) -> str | None:
        """The one workflow that this token brings; None of a user's own token."""
        return self.token.label if PREPARE in self.token.scopes else None

    def check_brings(self, workflow_id: str) -> None:
        """Check that the token isn't for bringing another workflow.

        Raises
        ------
        UnknownWorkflowError
            It is.
        """
        if self.prepares not in (None, workflow_id):
            raise UnknownWorkflowError(
                "this token is for another workflow, and for preparing it alone"
            )


def caller_of(request: Request) -> Caller:
    """Return who asks.

    Raises
    ------
    AuthenticationError
        There is no token, or none that is good.
    """
    header = request.headers.get("Authorization", "")
    scheme, secret = get_authorization_scheme_param(header)
    is_cookie = scheme.lower() != "bearer"
    if is_cookie:
        secret = request.cookies.get(COOKIE, "") if request.method in _READING else ""
    if not secret or len(secret) > LONGEST_TOKEN:
        raise AuthenticationError(
            "this platform wants a token: send `Authorization: Bearer …`, or run `fitcast login`"
        )
    user, token = request.app.state.authenticate(secret)
    if is_cookie:  # what a page of a browser needs not do, it may not
        token = replace(token, scopes=token.scopes - {SUBMIT, PREPARE})
    return Caller(user, token)


def checked_caller(request: Request, scope: str) -> Caller:
    """Return who asks, if the token has a scope.

    Raises
    ------
    AuthenticationError
        There is no token, or none that is good.
    ForbiddenError
        It hasn't that scope, or the user is no administrator.
    """
    caller = caller_of(request)
    if scope not in caller.token.scopes:
        raise ForbiddenError(
            f"this token has no scope {scope!r}: make one with `fitcast token create --scope "
            f"{scope}`"
        )
    if scope == ADMIN and not caller.user.is_admin:
        raise ForbiddenError("this is for administrators of the platform")
    return caller


def may(scope: str) -> Callable[..., Caller]:
    """Return a dependency that gives the caller, if the token has a scope.

    Raises
    ------
    ForbiddenError
        It hasn't, or the user is no administrator.
    """

    def checked(request: Request, _: Bearer = None) -> Caller:
        return checked_caller(request, scope)

    return checked


def _bringing(request: Request, _: Bearer = None) -> Caller:
    """Return the caller, if they may bring what the path names."""
    caller = caller_of(request)
    if caller.prepares is None:
        return checked_caller(request, SUBMIT)
    caller.check_brings(request.path_params.get("workflow_id", caller.prepares))
    return caller


Reader = Annotated[Caller, Depends(may(READ))]
Submitter = Annotated[Caller, Depends(may(SUBMIT))]
Bringer = Annotated[Caller, Depends(_bringing)]
Admin = Annotated[Caller, Depends(may(ADMIN))]
"""Who asks, in the signature of a route: with that scope, else it isn't called."""
