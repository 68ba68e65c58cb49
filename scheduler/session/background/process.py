"""The background process of a home: one engine, behind the control API, until it is idle.

In: its life, its log, how it ends. Not in: who starts it
(:mod:`fitcast.scheduler.session.background.starting`), what may be asked of it
(:mod:`fitcast.scheduler.session.background.api`).

Standard output is a pipe at first, to whoever starts it and waits for a word: ``ready``, or
``another`` if there is one already. Both outputs go to the log from then on.
"""

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from fitcast.errors import FitcastError
from fitcast.scheduler.backends.chosen import backend_of_settings
from fitcast.scheduler.session.api_thread import ApiThread, api_config
from fitcast.scheduler.session.background.api import OwnersProtocol, control_api
from fitcast.scheduler.session.background.idleness import Idleness
from fitcast.scheduler.session.background.place import LOG_BYTES, OLD_LOGS, BackgroundPlace
from fitcast.scheduler.session.background.starting import ANOTHER, READY, settings_marks
from fitcast.scheduler.session.engine import Engine
from fitcast.scheduler.session.opening import engine_of
from fitcast.settings import Settings

log = logging.getLogger(__name__)

_STDOUT: Final = 1
_STDERR: Final = 2
_ANSWERING_S: Final = 5


def run_until_idle(home: str) -> int:
    """Run workflows that are handed over until there are none; return the exit code."""
    settings = Settings(home=Path(home))
    place = BackgroundPlace(settings.ensure_home())
    place.make()
    lock = place.hold()
    if lock is None:
        _say(ANOTHER)
        return 0
    try:
        return _run(settings, place)
    finally:
        os.close(lock)


def _run(settings: Settings, place: BackgroundPlace) -> int:
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    said = os.dup(_STDOUT)
    _write_log(place)
    log.info("process %d begins, on %s", os.getpid(), place.home)
    try:
        engine = engine_of(settings, backend_of_settings())
    except FitcastError as error:
        log.error("it can't begin: %s", error)
        _say(f"{type(error).__name__}: {error}", said)
        return 1
    try:
        listening = place.listening()
        idleness = Idleness(
            settings.background_idle_s,
            lambda: any(not run.closed.is_set() for run in engine.runs()),
            time.monotonic(),
        )
        app = control_api(engine, idleness, settings_marks(settings))
        server = ApiThread(
            api_config(app, grace_s=_ANSWERING_S, http=OwnersProtocol, loop="asyncio"),
            listening,
            "fitcast-api",
        )
        try:
            _say(READY, said)
            _wait(idleness, ending)
        finally:
            idleness.end_now()
            log.info("process %d ends%s", os.getpid(), " as asked" if ending.is_set() else "")
            _close(engine)
            server.close()
            place.remove_socket()
    except FitcastError as error:
        log.error("it can't begin: %s", error)
        with suppress(OSError):
            _say(f"{type(error).__name__}: {error}", said)
        engine.close()
        return 1
    return 0


def _wait(idleness: Idleness, ending: threading.Event) -> None:
    while (left_s := idleness.left_s(time.monotonic())) > 0.0:
        if ending.wait(min(left_s, 1.0)):
            return


def _close(engine: Engine) -> None:
    try:
        engine.close()
    except Exception:
        log.exception("the engine can't be closed in order")


def _say(word: str, descriptor: int = _STDOUT) -> None:
    with suppress(OSError):  # nobody waits
        os.write(descriptor, f"{word}\n".encode())
    with suppress(OSError):
        os.close(descriptor)


def _write_log(place: BackgroundPlace) -> None:
    """Let all that is said go to a file."""
    handler = _PrivateLog(place)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(_is_worth_it)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _is_worth_it(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or record.name.partition(".")[0] == "fitcast"


class _PrivateLog(RotatingFileHandler):
    """A file of its owner alone; what is written to the process's outputs goes there, too."""

    def __init__(self, place: BackgroundPlace) -> None:
        self._place = place
        super().__init__(place.log, maxBytes=LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        descriptor = self._place.open_log()
        for output in (_STDOUT, _STDERR):
            os.dup2(descriptor, output)
        return os.fdopen(descriptor, "a", encoding="utf-8")
