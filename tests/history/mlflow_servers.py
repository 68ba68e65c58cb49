"""A real MLflow server on this machine."""

import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

from tests.polling import wait_for


def answers(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=30).close()
    except OSError:
        return False
    return True


@contextmanager
def server(folder, port, options=(), env=()):
    """Run a server whose files and log lie in a folder; its environment alone holds secrets."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "files"), *options]
    with (folder / "server.log").open("a") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            # Without jobs it starts one process less, in half the time
            env=os.environ
            | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            | dict(env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            assert wait_for(lambda: process.poll() is not None or answers(port))
            assert process.poll() is None, (folder / "server.log").read_text()
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
