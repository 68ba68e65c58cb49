"""Tokens: what users show instead of a password.

A token is ``fct_`` and 256 random bits. The database has its SHA-256 alone: that can't be guessed
back, and no slow hash is needed for what nobody could try out. It is found by the first bytes of
the hash and then compared as a whole, in a time that doesn't depend on where they differ.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select, update

from fitcast.errors import AuthenticationError, InvalidInputError
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Writing
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import (
    PREPARE,
    SCOPES,
    StoredWorkflow,
    Token,
    User,
)
from fitcast.scheduler.broker.store.rows import plain, token_of, user_of
from fitcast.scheduler.broker.store.tables import TOKENS, USERS
from fitcast.scheduler.broker.store.users import user_named

PREFIX: Final = "fct_"
"""What every token begins with, so that scanners for secrets find one that was let slip."""

_SECRET: Final = re.compile(r"fct_[A-Za-z0-9_-]{43}")
_NOTED_EVERY_S: Final = 60.0  # that a token was used
_NOBODYS: Final = bytes(32)


class TokenPart(StorePart):
    """Tokens of users."""

    def create_token(
        self,
        user: str,
        label: str = "",
        scopes: Iterable[str] = ("submit", "read"),
        expires_at: datetime | None = None,
    ) -> tuple[Token, str]:
        """Make a token for a user; return it and its secret, which can't be had again.

        Parameters
        ----------
        user : str
            Whose.
        label : str
            What it is for, as `tokens` shows it.
        scopes : iterable of str
            What it is good for: ``submit``, ``read``, ``admin``; or `PREPARE` alone, then for the
            workflow that `label` names.
        expires_at : datetime, optional
            Until when, with a time zone.

        Raises
        ------
        UnknownUserError
            There is none of that name.
        InvalidInputError
            A scope is unknown or beyond the user, or the time has no zone.
        """
        wanted = frozenset(scopes)
        if wanted != {PREPARE} and (not wanted or not wanted <= SCOPES):
            raise InvalidInputError(
                f"a token's scopes are some of {', '.join(sorted(SCOPES))}; "
                f"got {', '.join(sorted(wanted)) or 'none'}"
            )
        if expires_at is not None and expires_at.tzinfo is None:
            raise InvalidInputError("the time at which a token expires needs a time zone")
        secret = PREFIX + secrets.token_urlsafe(32)
        digest = _digest(secret)

        def work(writing: Writing) -> Token:
            owner = user_named(writing.connection, user)
            if owner.disabled_at is not None:
                raise InvalidInputError(f"user {user!r} is disabled: enable them first")
            if "admin" in wanted and not owner.is_admin:
                raise InvalidInputError(
                    f"user {user!r} is no admin: leave that scope out, or make them one"
                )
            row = writing.connection.execute(
                TOKENS.insert()
                .values(
                    user_id=owner.user_id,
                    label=plain(label, 200),
                    scopes=" ".join(sorted(wanted)),
                    selector=_selector(digest),
                    secret_sha256=digest,
                    created_at_s=wall_s(),
                    expires_at_s=None if expires_at is None else expires_at.timestamp(),
                )
                .returning(TOKENS)
            )
            return token_of(row.mappings().one())

        return self._database.write(work), secret

    def revoke_token(self, token_id: int, user: str | None = None) -> Token:
        """Let a token be good for nothing from now on.

        Raises
        ------
        InvalidInputError
            There is no such token, or none of that user's.
        """

        def work(writing: Writing) -> Token:
            condition = TOKENS.c.token_id == token_id
            if user is not None:
                owner = user_named(writing.connection, user)
                condition &= TOKENS.c.user_id == owner.user_id
            revoked = (
                update(TOKENS)
                .where(condition)
                .values(revoked_at_s=func.coalesce(TOKENS.c.revoked_at_s, wall_s()))
                .returning(TOKENS)
            )
            row = writing.connection.execute(revoked).mappings().one_or_none()
            if row is None:
                raise InvalidInputError(
                    f"there is no token {token_id}; `fitcast token list` lists those there are"
                )
            return token_of(row)

        return self._database.write(work)

    def tokens(self, user: str) -> list[Token]:
        """Return the tokens of a user, oldest first; revoked and expired ones, too.

        Raises
        ------
        UnknownUserError
            There is none of that name.
        """

        def work(connection: Connection) -> list[Token]:
            owner = user_named(connection, user)
            query = (
                select(TOKENS).where(TOKENS.c.user_id == owner.user_id).order_by(TOKENS.c.token_id)
            )
            return [token_of(row) for row in connection.execute(query).mappings()]

        return self._database.read(work)

    def authenticate(self, secret: str) -> tuple[User, Token]:
        """Return whose token that is, and the token, with no scope that the user hasn't.

        Raises
        ------
        AuthenticationError
            It is unknown, revoked or expired, or its user is disabled.
        """
        if not _SECRET.fullmatch(secret):
            raise _unknown()
        digest = _digest(secret)
        found = self._database.read(lambda connection: _found(connection, digest))
        if found is None:
            raise _unknown()
        user, token, now = found
        if token.revoked_at is not None:
            raise AuthenticationError("the token was revoked: ask an admin for a new one")
        if token.expires_at is not None and token.expires_at.timestamp() <= now:
            raise AuthenticationError("the token has expired: ask an admin for a new one")
        if user.disabled_at is not None:
            raise AuthenticationError(f"user {user.name!r} is disabled: ask an admin")
        used_s = None if token.last_used_at is None else token.last_used_at.timestamp()
        if used_s is None or not now - _NOTED_EVERY_S < used_s <= now:
            token = self._database.write(lambda writing: _noted(writing, token.token_id))
        return user, _within(token, user)


def revoke_preparing(writing: Writing, workflow: StoredWorkflow) -> None:
    """Let tokens be good for nothing by which the workflow was to be brought that one prepares."""
    mine = (TOKENS.c.user_id == workflow.user_id) & (TOKENS.c.label == workflow.prepares)
    writing.connection.execute(
        update(TOKENS)
        .where(mine, TOKENS.c.scopes == PREPARE, TOKENS.c.revoked_at_s.is_(None))
        .values(revoked_at_s=wall_s())
    )


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _selector(digest: bytes) -> str:
    return digest[:8].hex()


def _found(connection: Connection, digest: bytes) -> tuple[User, Token, float] | None:
    query = select(TOKENS, wall_s().label("now_s")).where(TOKENS.c.selector == _selector(digest))
    rows = connection.execute(query).mappings().all()
    found = None
    hmac.compare_digest(_NOBODYS, digest)  # as long where there is none
    for row in rows:
        if hmac.compare_digest(bytes(row["secret_sha256"]), digest):
            found = row
    if found is None:
        return None
    owner = select(USERS).where(USERS.c.user_id == found["user_id"])
    return user_of(connection.execute(owner).mappings().one()), token_of(found), found["now_s"]


def _noted(writing: Writing, token_id: int) -> Token:
    noted = update(TOKENS).where(TOKENS.c.token_id == token_id).values(last_used_at_s=wall_s())
    return token_of(writing.connection.execute(noted.returning(TOKENS)).mappings().one())


def _within(token: Token, user: User) -> Token:
    if user.is_admin or "admin" not in token.scopes:
        return token
    return replace(token, scopes=token.scopes - {"admin"})


def _unknown() -> AuthenticationError:
    return AuthenticationError("the token is unknown: check that all of it was copied")
