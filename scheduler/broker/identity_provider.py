"""Bearer tokens of an OpenID Connect provider: who it says that somebody is.

The operator pins issuer, audience and algorithm. Keys are the issuer's, fetched as its
configuration says and asked for anew when a token names one that isn't known. Not in: tokens of
the platform's own (:mod:`fitcast.scheduler.broker.store`), what a caller may
(:mod:`fitcast.scheduler.broker.api.authentication`).
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt

from fitcast.errors import (
    AuthenticationError,
    IdentityProviderError,
    InvalidInputError,
    UnknownUserError,
    UserExistsError,
)
from fitcast.scheduler.broker.store import BrokerStore, Token, User

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Those with a public key: who can check a token can't make one."""

LONGEST_TOKEN: Final = 16_384
"""Characters; providers put much into a token."""

_SCOPES: Final = frozenset({"read", "submit"})
_LEEWAY_S: Final = 30.0
_TIMEOUT_S: Final = 10.0
_MOST_BYTES: Final = 2**20
_KEYS_FOR_S: Final = 3600.0
"""So long are keys used before they are asked for anew: one that was withdrawn is gone by then."""

_ASKED_EVERY_S: Final = 30.0
"""No sooner is the issuer asked again, whatever keys tokens name."""


@dataclass(frozen=True, slots=True)
class BearerIdentity:
    """Who a token speaks of.

    Attributes
    ----------
    name
        The user's, as the issuer calls them.
    issued_at, expires_at
        Of the token.
    """

    name: str
    issued_at: datetime
    expires_at: datetime


class IdentityProvider:
    """Checks tokens of one issuer.

    Parameters
    ----------
    issuer
        Its address, as tokens name it; ``https``, but on loopback.
    audience
        Whom tokens are to be for.
    algorithm
        By which they are to be signed, one of `ALGORITHMS`.
    user_claim
        The claim that has the user's name on this platform.
    clock_s
        Tells monotonic seconds.

    Raises
    ------
    InvalidInputError
        An address or algorithm isn't safe.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        algorithm: str = "RS256",
        user_claim: str = "sub",
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise InvalidInputError(
                f"tokens signed by {algorithm!r:.40} aren't taken: choose one of "
                f"{', '.join(sorted(ALGORITHMS))}"
            )
        _check_address(issuer)
        self._issuer = issuer
        self._audience = audience
        self._algorithm = algorithm
        self._user_claim = user_claim
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_s: float | None = None
        self._asked_s: float | None = None
        self._client = httpx.Client(timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False)

    def identity(self, token: str) -> BearerIdentity:
        """Return who a token speaks of.

        Raises
        ------
        AuthenticationError
            It is none of this issuer's for this platform, was changed, or has expired.
        IdentityProviderError
            The issuer's keys can't be had.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise _refused("it is no token of the identity provider's") from None
        if header.get("alg") != self._algorithm:
            raise _refused(f"it isn't signed by {self._algorithm}")
        key = self._key(header.get("kid"))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[self._algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=_LEEWAY_S,
                options={"require": ["exp", "iat", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("it has expired: log in again") from None
        except jwt.InvalidAudienceError:
            raise _refused(f"it isn't for {self._audience!r}") from None
        except jwt.InvalidIssuerError:
            raise _refused(f"it isn't from {self._issuer!r}") from None
        except jwt.MissingRequiredClaimError as error:
            raise _refused(f"it has no claim {error.claim!r}") from None
        except jwt.InvalidTokenError:
            raise _refused("its signature or its times aren't good") from None
        name = claims.get(self._user_claim)
        if not isinstance(name, str) or not name:
            raise _refused(f"it has no claim {self._user_claim!r} with a name")
        return BearerIdentity(name, _time(claims["iat"]), _time(claims["exp"]))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _key(self, key_id: object) -> jwt.PyJWK:
        """Return the issuer's key of that name; one that names none gets the only one."""
        with self._lock:  # many who come at once ask the issuer once
            now_s = self._clock_s()
            is_old = self._fetched_s is None or now_s - self._fetched_s > _KEYS_FOR_S
            key = self._known(key_id)
            may_ask = self._asked_s is None or now_s - self._asked_s > _ASKED_EVERY_S
            if (key is None or is_old) and may_ask:
                self._asked_s = now_s
                try:
                    self._keys = self._fetched()
                except IdentityProviderError:
                    if key is None:
                        raise
                    # else those that are known do, for as long as the issuer is away
                else:
                    self._fetched_s = now_s
                key = self._known(key_id)
            if key is None:
                if self._fetched_s is None:
                    raise self._unreachable("it was asked a moment ago")
                raise _refused("the identity provider has no such key")
            return key

    def _known(self, key_id: object) -> jwt.PyJWK | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id) if isinstance(key_id, str) else None

    def _fetched(self) -> dict[str, jwt.PyJWK]:
        told = self._json(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
        if told.get("issuer") != self._issuer:
            raise self._unreachable(f"it calls itself {told.get('issuer')!r:.200}")
        at = told.get("jwks_uri")
        if not isinstance(at, str):
            raise self._unreachable("its configuration names no jwks_uri")
        _check_address(at)
        listed = self._json(at).get("keys")
        keys = {}
        for number, one in enumerate(listed if isinstance(listed, list) else []):
            if not isinstance(one, dict) or one.get("use", "sig") != "sig":
                continue
            if one.get("alg", self._algorithm) != self._algorithm:
                continue
            try:
                keys[str(one.get("kid", f"#{number}"))] = jwt.PyJWK(one, self._algorithm)
            except (jwt.PyJWTError, ValueError, TypeError):
                continue  # of a kind that isn't for this algorithm
        return keys

    def _json(self, url: str) -> dict[str, Any]:
        try:
            with self._client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
                answer.raise_for_status()
                body = bytearray()
                for piece in answer.iter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        raise self._unreachable(f"{url} is far too long")
                told = json.loads(body)
        except (httpx.HTTPError, ValueError) as error:
            raise self._unreachable(f"{url}: {type(error).__name__}: {error}"[:300]) from None
        if not isinstance(told, dict):
            raise self._unreachable(f"{url} is no JSON object")
        return told

    def _unreachable(self, why: str) -> IdentityProviderError:
        return IdentityProviderError(
            f"the keys of the identity provider {self._issuer} can't be had ({why}): try again in "
            "a moment, or use a token from `fitcast token create`"
        )


class AnyTokens:
    """Takes tokens of the platform's own and, if there is a provider, the provider's.

    Parameters
    ----------
    store
        Knows users, and the platform's tokens.
    provider
        Knows the others.
    adds_users
        Whether somebody the provider knows, and the platform doesn't, becomes a user.
    """

    def __init__(
        self, store: BrokerStore, provider: IdentityProvider | None, *, adds_users: bool = False
    ) -> None:
        self._store = store
        self._provider = provider
        self._adds_users = adds_users

    def authenticate(self, secret: str) -> tuple[User, Token]:
        """Return whose token that is, and what it is good for.

        One of the provider's is good for reading and submitting, whoever has it: what an
        administrator does needs a token that was made for it.

        Raises
        ------
        AuthenticationError
            It isn't good, or its user is unknown or disabled.
        IdentityProviderError
            The provider's keys can't be had.
        """
        # three parts, as a signed token has; the platform's own have no dot
        if self._provider is None or secret.count(".") != 2:
            return self._store.authenticate(secret)
        identity = self._provider.identity(secret)
        user = self._user(identity.name)
        if user.disabled_at is not None:
            raise AuthenticationError(f"user {user.name!r} is disabled: ask an admin")
        return user, Token(
            token_id=0,
            user_id=user.user_id,
            label="identity provider",
            scopes=_SCOPES,
            created_at=identity.issued_at,
            expires_at=identity.expires_at,
            revoked_at=None,
            last_used_at=None,
        )

    def _user(self, name: str) -> User:
        try:
            return self._store.user(name)
        except UnknownUserError:
            if not self._adds_users:
                raise AuthenticationError(
                    f"the identity provider calls you {name!r:.120}, and this platform has no user "
                    "of that name: ask an admin for `fitcast user add`"
                ) from None
        try:
            user = self._store.add_user(name)
        except UserExistsError:  # by another request, a moment ago
            return self._store.user(name)
        except InvalidInputError as error:
            raise AuthenticationError(f"of the identity provider's tokens: {error}") from None
        self._store.note_audit("identity provider", "user add", name, "done")
        return user


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return
    raise InvalidInputError(
        f"{url!r:.200} is no address that an identity provider's keys may come from: it must begin "
        "with https://"
    )


def _time(seconds: object) -> datetime:
    assert isinstance(seconds, int | float)
    return datetime.fromtimestamp(seconds, UTC)


def _refused(why: str) -> AuthenticationError:
    return AuthenticationError(f"the token isn't good here: {why}")
