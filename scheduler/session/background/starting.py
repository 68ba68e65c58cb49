"""Finds the background process of a home, or starts it; hands workflows over to it.

Whoever starts one waits for a word from it. Of several that are started at once one gets the
lock, and all use that. Not in: what it does then
(:mod:`fitcast.scheduler.session.background.process`).
"""

import os
import subprocess
import sys
import sysconfig
import time
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import fitcast
from fitcast.errors import BackgroundError
from fitcast.history.tracking_uri import checked_uri
from fitcast.scheduler.session.background.calls import Calls, UnreachableError
from fitcast.scheduler.session.background.place import BackgroundPlace
from fitcast.settings import KubernetesSettings, Settings
from fitcast.version import __version__

READY: Final = "ready"
ANOTHER: Final = "another"

START_WITHIN_S: Final = 120.0
"""A background process imports all libraries first: seconds, on a busy machine many."""

_PROGRAM: Final = "fitcast.scheduler.session.background"
_LOOK_EVERY_S: Final = 0.05
_COMPARED: Final = ("tracking_uri", "experiment", "cpus", "memory_bytes", "keep_messages")


def settings_marks(settings: Settings) -> dict[str, str]:
    """Return what stands for the settings that a workflow runs by; it tells none of them.

    A tracking URI may hold a password.
    """
    told = {name: getattr(settings, name) for name in _COMPARED}
    told["tracking_uri"] = checked_uri(settings.tracking_uri)
    kubernetes = KubernetesSettings().model_dump()
    told |= {f"kubernetes_{name}": value for name, value in kubernetes.items()}
    told |= {"version": __version__, "python": sys.prefix}
    return {name: sha256(repr(value).encode()).hexdigest()[:16] for name, value in told.items()}


def hand_over(workflow_id: str, settings: Settings) -> dict[str, Any]:
    """Let the background process go on with a workflow that is kept; start it if need be.

    Raises
    ------
    BackgroundError
        It can't be started, or was started with other settings.
    SubmissionError, SealError, StoreError
        The workflow can't be gone on with.
    """
    end_s = time.monotonic() + START_WITHIN_S
    while True:
        calls = started(settings)
        try:
            return calls.resume(workflow_id)
        except UnreachableError as error:  # it ended just now
            if time.monotonic() > end_s:
                log = BackgroundPlace(settings.home).log
                raise BackgroundError(
                    f"the background process doesn't answer ({error}): see {log}"
                ) from error
            time.sleep(_LOOK_EVERY_S)


def started(settings: Settings) -> Calls:
    """Return the background process of a home, started if there is none.

    Raises
    ------
    BackgroundError
        It can't be started, or was started with other settings.
    """
    place = BackgroundPlace(settings.ensure_home())
    place.make()
    calls = Calls(settings.home)
    end_s = time.monotonic() + START_WITHIN_S
    while True:
        try:
            health = calls.health()
        except UnreachableError:
            if not place.is_held():
                _start(settings, place)
            elif time.monotonic() > end_s:
                raise BackgroundError(
                    f"the background process of {place.home} doesn't answer: see {place.log}, and "
                    "end it if need be; what it runs can be resumed"
                ) from None
            else:  # it is starting, or ending
                time.sleep(_LOOK_EVERY_S)
        else:
            _check(health, settings)
            return calls


def _start(settings: Settings, place: BackgroundPlace) -> None:
    environment = os.environ | {
        "FITCAST_HOME": str(settings.home),
        "FITCAST_TRACKING_URI": checked_uri(settings.tracking_uri),
        "PYTHONPATH": os.pathsep.join(_path()),
    }
    log = place.open_log()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-P", "-m", _PROGRAM, str(settings.home)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    assert process.stdout is not None
    with process.stdout as said:
        word = said.readline().decode(errors="replace").strip()
    process.wait()  # it has left us long ago
    if word not in (READY, ANOTHER):
        raise BackgroundError(
            f"the background process can't be started ({word or 'it ended by itself'}): see "
            f"{place.log}"
        )


def _path() -> list[str]:
    """Return where modules are sought beside the usual places: it begins in another folder."""
    given = os.environ.get("PYTHONPATH", "")
    found = [str(Path(entry).absolute()) for entry in given.split(os.pathsep) if entry]
    here = str(Path(fitcast.__file__).parent.parent)  # as it was found here
    usual = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return found if here in {*found, *usual} else [*found, here]


def _check(health: dict[str, Any], settings: Settings) -> None:
    ours = settings_marks(settings)
    theirs = health.get("settings", {})
    others = [name for name, mark in ours.items() if theirs.get(name) != mark]
    if others:
        pid = health.get("pid")
        raise BackgroundError(
            f"the background process of this home (process {pid}) was started with other settings "
            f"({', '.join(others)}): use the same, wait until it has nothing to do and ends, or "
            f"end it with `kill {pid}`; what it runs can be resumed then"
        )
