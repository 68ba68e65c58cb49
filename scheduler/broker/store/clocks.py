"""The two clocks of the database, as SQL expressions.

`wall_s()` is the time of day, for what people read. `lease_clock_s()` is what leases go by: on
PostgreSQL the server's clock, which all replicas share; on SQLite, where all processes are on one
machine, that machine's steady clock, so that setting its time of day lapses no lease. The steady
clock begins anew when the machine does: leases of before are taken for lapsed then
(:mod:`fitcast.scheduler.broker.store.database`).

In: how each dialect writes them. Not in: who reads them.
"""

import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

STEADY_FUNCTION: Final = "fitcast_steady_s"
"""The name of the steady clock in a connection to SQLite."""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class wall_s(FunctionElement[float]):  # noqa: N801 - a function of SQL
    """Seconds since 1970 in UTC, by the database's clock."""

    type = Double()
    inherit_cache = True


class lease_clock_s(FunctionElement[float]):  # noqa: N801 - a function of SQL
    """Seconds by the clock that leases go by."""

    type = Double()
    inherit_cache = True


@compiles(wall_s, "postgresql")
@compiles(lease_clock_s, "postgresql")
def _on_postgresql(element: Any, compiler: Any, **_: Any) -> str:
    # not now(): that stands still while a transaction waits
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(wall_s, "sqlite")
def _wall_on_sqlite(element: Any, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(lease_clock_s, "sqlite")
def _lease_on_sqlite(element: Any, compiler: Any, **_: Any) -> str:
    return f"{STEADY_FUNCTION}()"


def steady_s() -> float:
    """Return this machine's steady clock, the same for all of its processes."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def boot() -> str:
    """Name the run of this machine in which the steady clock counts."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:  # no Linux: what is left of an earlier run can't be told from this one's
        return "unknown"
