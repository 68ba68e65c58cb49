"""What another local user gets of a running sweep: nothing."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from fitcast import Client, LocalBackend, Pool, Sweep
from fitcast.history.locked_folders import memory_root
from fitcast.history.store import MemoryHistory
from tests.fault import harm, holding
from tests.fault.estimators import Lingers
from tests.leases import leases_of
from tests.listing import files_matching
from tests.polling import LONGEST_S

pytestmark = pytest.mark.security

MIB = 2**20
NOBODY = 65534
ATTACKER = Path(__file__).with_name("attacker.py").read_text(encoding="utf-8")


@pytest.fixture
def home():
    """A home below a folder that everybody may pass through, as ``/home`` is."""
    above = Path(tempfile.mkdtemp(prefix="fitcast-test-"))
    above.chmod(0o755)
    yield above / "home"
    shutil.rmtree(above)


def as_nobody(command: list[str], told: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=told,
        text=True,
        capture_output=True,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        check=False,
        timeout=LONGEST_S,
    )


def python_for_others() -> str:
    """Return a Python that another user may run; skip without one."""
    places = "/usr/local/bin:/usr/bin:/bin"
    for python in (sys.executable, shutil.which("python3", path=places)):
        with suppress(OSError):
            if python is not None and as_nobody([python, "-ISc", "import ssl"]).returncode == 0:
                return python
    pytest.skip("there is no Python that another user may run")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_sees_and_reaches_nothing_of_a_running_sweep(home, no_process_left):
    python = python_for_others()
    temporary = Path(tempfile.gettempdir())
    before = set(temporary.iterdir())
    beside = set(psutil.Process().children(recursive=True))  # servers of other tests
    backend = LocalBackend([Pool("two", cpus=1, memory_bytes=450 * MIB, workers=2)])
    with Client(backend, home=home, history=MemoryHistory()) as client:
        sweep = Sweep(Lingers(linger_s=10 * LONGEST_S), holding.X, holding.Y, cv=2, refit=False)
        workflow = client.submit(sweep)
        assert harm.until(lambda: len(harm.victims(client)["fit"]) == 2)
        lease = client._platform.engine._keys.path
        assert lease in leases_of(os.getpid())
        (key_file,) = files_matching(lease, "*.key")
        key = key_file.read_bytes()
        below = set(psutil.Process().children(recursive=True)) - beside
        told = {
            "folders": [
                str(path)
                for path in (home.parent, memory_root(), *(set(temporary.iterdir()) - before))
            ],
            "open": [str(memory_root())],
            "processes": [process.pid for process in below],
            "ports": sorted(holding.listening()),
            "secrets": [key.hex(), key.hex().encode().hex(), holding.MARK.tobytes().hex()],
        }
        assert len(told["ports"]) >= 3  # the scheduler's and the workers'
        attack = as_nobody([python, "-ISc", ATTACKER], json.dumps(told))
        assert attack.returncode == 0, attack.stderr
        found = json.loads(attack.stdout)
        assert found["tried"] > 9 * len(below)
        ours = [str(home.parent), str(lease), "/proc", "port", "a secret"]
        assert not [what for what in found["got"] if any(of in what for of in ours)]
        workflow.cancel()
        workflow.wait(LONGEST_S)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_names_that_another_user_took_before_are_no_hindrance(home, no_process_left):
    squatted = [memory_root() / f"fitcast-{os.getuid()}", memory_root() / "fitcast-lease-0000"]
    made = []
    for path in squatted:
        if not path.exists():
            path.mkdir(mode=0o777)
            os.chown(path, NOBODY, NOBODY)
            made.append(path)
    try:
        with Client(LocalBackend([Pool("one", 1, 450 * MIB)]), home=home) as client:
            result = client.submit(Sweep(Lingers(), holding.X, holding.Y, cv=2)).result(LONGEST_S)
            assert np.isfinite(result.best_score_)
        assert all(path.exists() for path in made)
    finally:
        for path in made:
            path.rmdir()
