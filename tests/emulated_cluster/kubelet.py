"""Runs pods of an emulated cluster as processes of this machine, each on an address of its own.

There are no namespaces of the kernel: a pod's volumes are folders, and whatever in its environment
or command begins with the path of a mount leads to the folder instead; what would listen everywhere
listens on the pod's address. The image is this Python.
"""

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.emulated_cluster.controllers import NETWORK, Clock
from tests.emulated_cluster.store import Object, RefusedError, Store, timestamp

GRACE_S = 5.0
"""A pod's processes have at most so long to end, whatever the pod says."""


@dataclass
class _Running:
    """A pod that was given to a node."""

    uid: str
    folder: Path
    ip: str
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    ended: Object | None = None  # of the last process
    is_killed_for_memory: bool = False
    asked_to_end_s: float | None = None
    status: Object = field(default_factory=dict)
    pause: Clock = field(default_factory=Clock)


class Kubelet:
    """Takes care of the pods of all nodes."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._running: dict[tuple[str, str], _Running] = {}
        self._count = 0

    def look(self) -> None:
        """Start, watch and end pods."""
        for key, running in list(self._running.items()):
            pod = self._pod(key)
            if pod is None or pod["metadata"]["uid"] != running.uid:
                self._end(running, signal.SIGKILL)
                del self._running[key]
        for pod in list(self._store.find("pods")):
            if pod["spec"].get("nodeName"):
                self._look_at(pod)

    def _look_at(self, pod: Object) -> None:
        metadata = pod["metadata"]
        key = metadata["namespace"], metadata["name"]
        running = self._running.get(key)
        if running is None:
            self._count += 1
            ip = f"127.{120 + NETWORK}.{self._count // 250}.{self._count % 250 + 1}"
            folder = self._folder / metadata["name"]
            running = self._running[key] = _Running(metadata["uid"], folder, ip)
        if "deletionTimestamp" in metadata:
            self._end_in_order(key, running, pod)
            return
        if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
            self._end(running, signal.SIGKILL)
            return
        self._note_end(running)
        if running.process is None:
            self._try_to_start(running, pod)
        self._tell(key, running, pod)

    def _note_end(self, running: _Running) -> None:
        process = running.process
        if process is None or process.poll() is None:
            return
        code = process.returncode if process.returncode >= 0 else 128 - process.returncode
        reason = "OOMKilled" if running.is_killed_for_memory else "Error" if code else "Completed"
        running.ended = {"exitCode": code, "reason": reason, "finishedAt": timestamp()}
        log = running.folder / "log"
        running.ended["message"] = log.read_text(errors="replace")[-400:] if code else ""
        running.is_killed_for_memory = False
        running.process = None
        running.restarts += 1
        running.pause.failed()

    def _try_to_start(self, running: _Running, pod: Object) -> None:
        (container,) = pod["spec"]["containers"]
        if container.get("image", "").startswith("missing"):
            waits = {"reason": "ImagePullBackOff", "message": f"no image {container['image']}"}
        elif not running.pause.is_due():
            waits = {"reason": "CrashLoopBackOff", "message": "back-off restarting container"}
        else:
            try:
                self._start(running, pod, container)
                return
            except RefusedError as error:  # a Secret that isn't there yet
                waits = {"reason": "ContainerCreating"}
                if running.status != {"waiting": waits}:
                    self._store.event(pod, "FailedMount", f"MountVolume.SetUp failed: {error}")
        running.status = {"waiting": waits}

    def _start(self, running: _Running, pod: Object, container: Object) -> None:
        folders = self._volumes(running, pod, container)

        def real(text: str) -> str:
            for path, folder in folders.items():
                if text == path or text.startswith(f"{path}/"):
                    return f"{folder}{text[len(path) :]}"
            return text

        env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        fields = {
            "status.podIP": running.ip,
            "metadata.name": pod["metadata"]["name"],
            "metadata.namespace": pod["metadata"]["namespace"],
            "spec.nodeName": pod["spec"]["nodeName"],
        }
        for one in container.get("env", ()):
            source = one.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            value = fields[source] if source else one.get("value", "")
            env[one["name"]] = real(_expanded(value, env))
        env["FITCAST_LISTEN_ON"] = running.ip
        words = [*container.get("command", ()), *container.get("args", ())]
        command = [real(_expanded(word, env)) for word in words]
        if command[0] == "python":
            command[0] = sys.executable
        with (running.folder / "log").open("ab") as log:
            running.process = subprocess.Popen(
                command,
                cwd=running.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        running.status = {"running": {"startedAt": timestamp()}}

    def _volumes(self, running: _Running, pod: Object, container: Object) -> dict[str, Path]:
        folders = {}
        for volume in pod["spec"].get("volumes", ()):
            folder = running.folder / "volumes" / volume["name"]
            folder.mkdir(parents=True, exist_ok=True)
            folders[volume["name"]] = folder
            if "secret" in volume:
                name = volume["secret"]["secretName"]
                secret = self._store.get("secrets", pod["metadata"]["namespace"], name)
                for file, content in secret.get("data", {}).items():
                    (folder / file).write_bytes(base64.b64decode(content))
        mounts = container.get("volumeMounts", ())
        running.folder.mkdir(parents=True, exist_ok=True)
        return {mount["mountPath"]: folders[mount["name"]] for mount in mounts}

    def _tell(self, key: tuple[str, str], running: _Running, pod: Object) -> None:
        (container,) = pod["spec"]["containers"]
        ready = running.process is not None and self._answers(running, container)
        state = {
            "name": container["name"],
            "ready": ready,
            "restartCount": running.restarts,
            "state": running.status,
            "lastState": {} if running.ended is None else {"terminated": running.ended},
        }
        kept = [
            one
            for one in pod.get("status", {}).get("conditions", ())
            if one["type"] == "DisruptionTarget"
        ]
        started = running.process is not None or running.restarts
        status = {
            "phase": "Running" if started else "Pending",
            "podIP": running.ip,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if ready else "False"},
                *kept,
            ],
            "containerStatuses": [state],
        }
        self._store.status("pods", *key, status)

    def _answers(self, running: _Running, container: Object) -> bool:
        probe = container.get("readinessProbe", {}).get("tcpSocket")
        if probe is None:
            return True
        named = {one.get("name"): one["containerPort"] for one in container.get("ports", ())}
        port = named.get(probe["port"], probe["port"])
        with socket.socket() as tried:
            tried.settimeout(0.2)
            return tried.connect_ex((running.ip, int(port))) == 0

    def _end_in_order(self, key: tuple[str, str], running: _Running, pod: Object) -> None:
        process = running.process
        if process is not None and process.poll() is None:
            now_s = time.monotonic()
            if running.asked_to_end_s is None:
                running.asked_to_end_s = now_s
                process.terminate()
            patience_s = min(GRACE_S, pod["spec"].get("terminationGracePeriodSeconds", 30))
            if now_s - running.asked_to_end_s < patience_s:
                return
        self._end(running, signal.SIGKILL)
        del self._running[key]
        with suppress(RefusedError):
            self._store.remove("pods", *key)

    def _end(self, running: _Running, number: int) -> None:
        """End a pod's process and all that it started, as the end of a container does."""
        process, running.process = running.process, None
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
            for one in (psutil.Process(process.pid), *below):
                with suppress(psutil.NoSuchProcess):
                    one.send_signal(number)
        process.wait(10)

    def _pod(self, key: tuple[str, str]) -> Object | None:
        try:
            return self._store.get("pods", *key)
        except RefusedError:
            return None

    # -- faults ----------------------------------------------------------------------------------

    def kill(self, name: str, *, for_memory: bool = False) -> None:
        """Kill a pod's container, with all its processes; it is started again."""
        running = self._named(name)
        assert running.process is not None
        running.is_killed_for_memory = for_memory
        below = psutil.Process(running.process.pid).children(recursive=True)
        running.process.kill()
        for one in below:
            with suppress(psutil.NoSuchProcess):
                one.kill()

    def pids(self, name: str) -> list[int]:
        """Return the processes of a pod, the container's first one first."""
        process = self._named(name).process
        if process is None:
            return []
        below = psutil.Process(process.pid).children(recursive=True)
        return [process.pid, *(one.pid for one in below)]

    def log(self, name: str) -> str:
        """Return what a pod wrote."""
        return (self._folder / name / "log").read_text(errors="replace")

    def close(self) -> None:
        """End everything."""
        for running in self._running.values():
            self._end(running, signal.SIGKILL)
        self._running.clear()

    def _named(self, name: str) -> _Running:
        return next(one for key, one in self._running.items() if key[1] == name)


def _expanded(text: str, env: dict[str, Any]) -> str:
    return re.sub(r"\$\((\w+)\)", lambda found: env.get(found[1], found[0]), text)
