"""Users, and what they had of the cluster."""

import math
import re
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, func, select, update

from fitcast.errors import InvalidInputError, UnknownUserError, UserExistsError
from fitcast.scheduler.broker.fair_share import Account
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.quotas import Quota
from fitcast.scheduler.broker.resources import Resources
from fitcast.scheduler.broker.store.clocks import wall_s
from fitcast.scheduler.broker.store.database import Writing, now_s
from fitcast.scheduler.broker.store.parts import StorePart
from fitcast.scheduler.broker.store.records import Holdings, User
from fitcast.scheduler.broker.store.rows import amount, insert_or_skip, user_of
from fitcast.scheduler.broker.store.tables import TOKENS, USERS, WORKFLOWS

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")
_NOT_ENDED: Final = tuple(state for state in State if not state.is_terminal)


class UserPart(StorePart):
    """Users, their quotas, what they hold and what they had."""

    def add_user(
        self,
        name: str,
        *,
        group: str = "",
        weight: float = 1.0,
        is_admin: bool = False,
        quota: Quota | None = None,
    ) -> User:
        """Add a user.

        Raises
        ------
        UserExistsError
            There is one of that name, or was: names aren't given again.
        InvalidInputError
            That can be no name, or no weight.
        """
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                f"{name!r:.120} can be no user's name: use letters, digits and . _ @ + -"
            )
        values = {
            "name": name,
            "usage_cpu_s": 0.0,
            "usage_memory_byte_s": 0.0,
            "usage_gpu_s": 0.0,
            **_settings(group, weight, is_admin, quota or Quota()),
        }

        def work(writing: Writing) -> User:
            inserted = writing.connection.execute(
                insert_or_skip(writing.connection.dialect.name, USERS)
                .values(created_at_s=wall_s(), usage_as_of_s=wall_s(), **values)
                .returning(USERS)
            )
            row = inserted.mappings().one_or_none()
            if row is None:
                raise UserExistsError(f"there is a user {name!r} already")
            return user_of(row)

        return self._database.write(work)

    def user(self, name: str) -> User:
        """Return a user.

        Raises
        ------
        UnknownUserError
            There is none of that name.
        """
        return self._database.read(lambda connection: user_named(connection, name))

    def users(self) -> list[User]:
        """Return all users, by name; disabled ones, too."""

        def work(connection: Connection) -> list[User]:
            query = select(USERS).order_by(USERS.c.name)
            return [user_of(row) for row in connection.execute(query).mappings()]

        return self._database.read(work)

    def set_user(
        self,
        name: str,
        *,
        group: str | None = None,
        weight: float | None = None,
        is_admin: bool | None = None,
        quota: Quota | None = None,
    ) -> User:
        """Change a user; what is None stays as it is.

        Raises
        ------
        UnknownUserError
            There is none of that name.
        InvalidInputError
            That can be no group, or no weight.
        """
        values = _settings(group, weight, is_admin, quota)
        return self._change(name, values)

    def disable_user(self, name: str) -> User:
        """Let a user in no more and run nothing new of theirs; their tokens are revoked for good.

        What they have queued stays there; what runs goes on. Both can be cancelled.

        Raises
        ------
        UnknownUserError
            There is none of that name.
        """

        def work(writing: Writing) -> User:
            user = user_named(writing.connection, name)
            tokens = update(TOKENS).where(
                TOKENS.c.user_id == user.user_id, TOKENS.c.revoked_at_s.is_(None)
            )
            writing.connection.execute(tokens.values(revoked_at_s=wall_s()))
            return _changed(
                writing, name, {"disabled_at_s": func.coalesce(USERS.c.disabled_at_s, wall_s())}
            )

        return self._database.write(work)

    def enable_user(self, name: str) -> User:
        """Let a user in again, with new tokens.

        Raises
        ------
        UnknownUserError
            There is none of that name.
        """
        return self._change(name, {"disabled_at_s": None})

    def holdings(self, user_id: int) -> Holdings:
        """Return what a user has of all that a quota bounds."""
        return self._database.read(lambda connection: holdings_of(connection, user_id))

    # -- what was had --------------------------------------------------------------------------

    def accounts(self, half_life_s: float | None = None) -> list[Account]:
        """Return what each user had of the cluster, by number.

        Parameters
        ----------
        half_life_s : float, optional
            Decay it as of now; else it is as of when it was last charged.
        """

        def work(connection: Connection) -> list[Account]:
            now = now_s(connection)
            rows = connection.execute(select(USERS).order_by(USERS.c.user_id)).mappings()
            accounts = []
            for row in rows:
                as_of_s = row["usage_as_of_s"]
                left = 1.0
                if half_life_s is not None:
                    left = _left(now - as_of_s, half_life_s)
                    as_of_s = max(now, as_of_s)
                accounts.append(
                    Account(
                        user_id=row["user_id"],
                        user=row["name"],
                        group=row["group_name"],
                        weight=row["weight"],
                        usage=Resources(
                            row["usage_cpu_s"] * left,
                            row["usage_memory_byte_s"] * left,
                            row["usage_gpu_s"] * left,
                        ),
                        as_of_s=as_of_s,
                    )
                )
            return accounts

        return self._database.read(work)

    def charge(self, user_id: int, used: Resources, half_life_s: float) -> None:
        """Add resource-seconds to what a user had, which decays by half in `half_life_s`."""

        def work(writing: Writing) -> None:
            connection = writing.connection
            query = select(USERS).where(USERS.c.user_id == user_id).with_for_update(key_share=True)
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                raise UnknownUserError(f"there is no user {user_id}")
            now = now_s(connection)
            left = _left(now - row["usage_as_of_s"], half_life_s)
            connection.execute(
                update(USERS)
                .where(USERS.c.user_id == user_id)
                .values(
                    usage_cpu_s=amount(row["usage_cpu_s"] * left + amount(used.cpus)),
                    usage_memory_byte_s=amount(
                        row["usage_memory_byte_s"] * left + amount(used.memory_bytes)
                    ),
                    usage_gpu_s=amount(row["usage_gpu_s"] * left + amount(used.gpus)),
                    usage_as_of_s=max(now, row["usage_as_of_s"]),
                )
            )

        self._database.write(work)

    def _change(self, name: str, values: dict[str, Any]) -> User:
        return self._database.write(lambda writing: _changed(writing, name, values))


def user_named(connection: Connection, name: str) -> User:
    """Return a user by name.

    Raises
    ------
    UnknownUserError
        There is none.
    """
    row = connection.execute(select(USERS).where(USERS.c.name == name)).mappings().one_or_none()
    if row is None:
        raise _unknown(name)
    return user_of(row)


@cache
def _holdings() -> Select[Any]:
    columns = WORKFLOWS.c
    waits = columns.state.in_(_NOT_ENDED)
    runs = columns.state == State.RUNNING

    def total(column: Any, condition: Any) -> Any:
        return func.coalesce(func.sum(column).filter(condition), 0)

    return select(
        total(columns.fits_total - columns.fits_done, waits),
        total(columns.used_cpus, runs),
        total(columns.used_memory_bytes, runs),
        func.coalesce(func.sum(columns.stored_bytes), 0),
    ).where(columns.user_id == bindparam("of"))


def holdings_of(connection: Connection, user_id: int) -> Holdings:
    """Return what a user has of all that a quota bounds."""
    row = connection.execute(_holdings(), {"of": user_id}).one()
    fits, cpus, memory_bytes, stored_bytes = row
    return Holdings(
        queued_fits=int(fits),
        running_cpus=float(cpus),
        running_memory_bytes=float(memory_bytes),
        stored_bytes=int(stored_bytes),
    )


def _changed(writing: Writing, name: str, values: dict[str, Any]) -> User:
    if values:
        changed = update(USERS).where(USERS.c.name == name).values(values).returning(USERS)
        row = writing.connection.execute(changed).mappings().one_or_none()
        if row is None:
            raise _unknown(name)
        return user_of(row)
    return user_named(writing.connection, name)


def _settings(
    group: str | None, weight: float | None, is_admin: bool | None, quota: Quota | None
) -> dict[str, Any]:
    """Return the columns that are given, checked."""
    values: dict[str, Any] = {}
    if group is not None:
        if group and not _NAME.fullmatch(group):
            raise InvalidInputError(
                f"{group!r:.120} can be no group's name: use letters, digits and . _ @ + -"
            )
        values["group_name"] = group
    if weight is not None:
        if not (math.isfinite(weight) and weight > 0):
            raise InvalidInputError(
                "a weight must be a number above 0: 2 gets twice the share of 1"
            )
        values["weight"] = float(weight)
    if is_admin is not None:
        values["is_admin"] = is_admin
    if quota is not None:
        values |= {
            "quota_running_cpus": quota.running_cpus,
            "quota_running_memory_bytes": quota.running_memory_bytes,
            "quota_queued_fits": quota.queued_fits,
            "quota_stored_bytes": quota.stored_bytes,
        }
    return values


def _left(age_s: float, half_life_s: float) -> float:
    """Return what decay leaves; a clock that was set back lets nothing grow."""
    return float(0.5 ** (max(age_s, 0.0) / half_life_s))


def _unknown(name: str) -> UnknownUserError:
    return UnknownUserError(
        f"there is no user {name!r:.120}; `fitcast user list` lists those there are"
    )
