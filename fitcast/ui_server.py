"""``fitcast ui``: MLflow's pages for one person of this machine, out of others' reach.

In here: MLflow's server, on a Unix socket in a folder of this user alone; the port on loopback; how
all of it ends. Not in here: who is let in (:mod:`fitcast.ui_login`), and servers that several
people use (``deploy/mlflow``).
"""

import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import httpx
import psutil
import uvicorn

from fitcast.errors import HistoryError, InvalidInputError
from fitcast.history.mlflow_experiments import AS_TRAINING, VIEW, VIEW_KEY, VIEW_TAG
from fitcast.trainer.attempt.process_tree import adopt_orphans, die_with
from fitcast.ui_login import guarded

_LONGEST_SOCKET_BYTES: Final = 100  # the kernel takes 107
_ENDING_S: Final = 10.0
_ANSWER_S: Final = 20.0


def serve(tracking_uri: str, port: int, say: Callable[[str], None], experiment: str) -> None:
    """Serve MLflow's pages on a store until Ctrl-C or a signal; nothing stays behind.

    Raises
    ------
    InvalidInputError
        The port can't be had.
    HistoryError
        MLflow's server ended by itself.
    """
    token = secrets.token_urlsafe(32)
    with _bound(port) as listening, _ended_by_signals(), _private_folder() as folder:
        path = folder / "mlflow"
        with _mlflow(tracking_uri, path) as process:
            _wait_for(process, path)
            listening.listen()  # from now on who connects waits until the server below takes it
            page = _first_page(path, experiment)
            say(f"MLflow UI: http://127.0.0.1:{port}/?token={token}#{page}")
            say("That address is for you alone. Ctrl-C ends it.")
            server = uvicorn.Server(
                uvicorn.Config(
                    guarded(path, port, token),
                    log_level="warning",
                    access_log=False,  # it would show the token
                    server_header=False,
                    date_header=False,  # MLflow's go through
                    ws="none",
                    timeout_graceful_shutdown=2,
                )
            )

            def end_with_mlflow() -> None:
                process.wait()
                server.should_exit = True

            threading.Thread(target=end_with_mlflow, daemon=True).start()
            server.run(sockets=[listening])
            _check_runs(process)


@contextmanager
def _bound(port: int) -> Iterator[socket.socket]:
    """Take the port; nobody is answered before the server listens on it."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", port))
        except OSError as error:
            raise InvalidInputError(
                f"port {port} can't be used ({error.strerror}); give another one with --port"
            ) from None
        yield listening


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn signals that end a process at once into exceptions, so that all is cleared up."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            before[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Make a folder that this user alone may enter, with a path short enough for a socket."""
    usual = tempfile.gettempdir()
    short = len(os.fsencode(usual)) < _LONGEST_SOCKET_BYTES - len("/fitcast-ui-12345678/mlflow")
    with tempfile.TemporaryDirectory(prefix="fitcast-ui-", dir=None if short else "/tmp") as folder:  # noqa: S108
        yield Path(folder)


@contextmanager
def _mlflow(tracking_uri: str, path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run MLflow's server on a Unix socket; end it and what it started."""
    command = ["mlflow", "server", "--workers", "1"]  # each more would import all of MLflow first
    uds = f"--uds {shlex.quote(str(path))} --log-level warning"
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **os.environ,
        "MLFLOW_BACKEND_STORE_URI": tracking_uri,  # others may read arguments
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONSAFEPATH": "1",
    }
    adopt_orphans()  # MLflow's server has one below it that does the work
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", *command, "--uvicorn-opts", uds],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        start_new_session=True,  # Ctrl-C comes to it from here, in order
        preexec_fn=partial(die_with, os.getpid(), signal.SIGTERM),  # no threads yet
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it is ending, and within a bound
    family = psutil.Process().children(recursive=True)
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.terminate()
    _, left = psutil.wait_procs(family, _ENDING_S)
    for one in left:
        one.kill()
    psutil.wait_procs(left)
    process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", path: Path) -> None:
    """Wait until MLflow's server takes connections."""
    while True:
        _check_runs(process)
        with socket.socket(socket.AF_UNIX) as tried:
            try:
                tried.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)
            else:
                return


def _first_page(path: Path, experiment: str) -> str:
    """Return the page to begin with: the workflows in the view stored for them, if there are any.

    Without the address nobody finds that view: MLflow has no default one for all.
    """
    asked = "http://mlflow/ajax-api/2.0/mlflow/experiments/get-by-name"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), timeout=_ANSWER_S) as http:
            found = http.get(asked, params={"experiment_name": experiment}).raise_for_status()
            told = found.json()["experiment"]
    except (httpx.HTTPError, ValueError, KeyError):  # none yet; MLflow's own first page does
        return f"/experiments?{AS_TRAINING}"
    if VIEW_TAG not in {tag["key"] for tag in told.get("tags", ())}:
        return f"/experiments/{told['experiment_id']}/runs?{AS_TRAINING}"
    return f"/experiments/{told['experiment_id']}/runs?{VIEW_KEY}={VIEW}&{AS_TRAINING}"


def _check_runs(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        raise HistoryError(
            f"MLflow's server ended by itself (exit code {process.returncode}); it says why above"
        )
