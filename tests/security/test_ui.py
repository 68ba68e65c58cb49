"""``fitcast ui`` is for the one who started it: nobody else reads or changes the history by it."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from fitcast.errors import InvalidInputError
from fitcast.ui_server import serve
from tests.mlflow_ui import served
from tests.polling import LONGEST_S, wait_for
from tests.security.test_other_users import as_nobody, python_for_others

pytestmark = [pytest.mark.security, pytest.mark.timeout(400)]

API = "/api/2.0/mlflow"
SEARCH = f"{API}/experiments/search?max_results=5"
ARTIFACT = "/api/2.0/mlflow-artifacts/artifacts/a%20folder/large.bin"
MIB = 2**20


@pytest.fixture(scope="module")
def temporary():
    # short, as the path of a socket has to be
    with tempfile.TemporaryDirectory(prefix="ui-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def ui(tmp_path_factory, temporary):
    there = tmp_path_factory.mktemp("ui")
    with served(f"sqlite:///{there}/mlflow.db", cwd=there, TMPDIR=str(temporary)) as both:
        yield both


@pytest.fixture(scope="module")
def address(ui):
    """Return the printed address without its token: what anybody may guess."""
    return f"http://{urlsplit(ui[1]).netloc}"


@pytest.fixture
def stranger(address):
    with httpx.Client(base_url=address, timeout=LONGEST_S) as client:
        yield client


@pytest.fixture
def owner(address, ui):
    """Somebody who opened the printed address."""
    with httpx.Client(base_url=address, timeout=LONGEST_S) as client:
        assert client.get(ui[1], follow_redirects=True).status_code == 200
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", SEARCH),
        ("GET", "/static-files/favicon.ico"),
        ("GET", "/health"),
        ("GET", "/?token=" + "A" * 43),
        ("GET", "/?token=%ff"),
        ("POST", f"{API}/experiments/create"),
        ("PUT", ARTIFACT),
        ("OPTIONS", SEARCH),
    ],
)
def test_without_the_token_nothing_is_answered(stranger, method, path):
    answer = stranger.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 401
    assert "the address that `fitcast ui` printed" in answer.text
    assert "set-cookie" not in answer.headers


def test_the_token_is_changed_for_a_cookie_and_taken_off_the_address(stranger, ui):
    for _ in range(2):  # another browser, another time
        answer = stranger.get(f"{ui[1]}&page=2", follow_redirects=False)
        assert answer.status_code == 303
        assert answer.headers["location"] == f"{ui[1].partition('?')[0]}?page=2"
        (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
        assert cookie["httponly"]
        assert cookie["samesite"].lower() == "strict"
        assert cookie.value not in ui[1]
        stranger.cookies.clear()


@pytest.mark.parametrize("path", ["//elsewhere.example/", "/%2e%2e//elsewhere.example"])
def test_the_token_leads_nowhere_else(stranger, ui, path):
    token = urlsplit(ui[1]).query
    answer = stranger.get(f"{stranger.base_url}{path}?{token}", follow_redirects=False)
    assert urlsplit(answer.headers["location"]).netloc == urlsplit(ui[1]).netloc


def test_with_it_the_pages_are_there(owner):
    assert "<html" in owner.get("/").text
    assert owner.get(SEARCH).json()["experiments"]
    script = re.search(r'src="([^"]+\.js)"', owner.get("/").text)
    assert owner.get(f"/{script[1].removeprefix('/')}").status_code == 200


def test_what_is_sent_and_fetched_arrives_as_it_was(owner):
    content = os.urandom(20 * MIB)
    parts = (content[at : at + MIB] for at in range(0, len(content), MIB))  # chunked
    assert owner.put(ARTIFACT, content=parts).status_code == 200
    assert owner.get(ARTIFACT).content == content
    assert owner.get(f"{API}/runs/get?run_id=none").status_code in (400, 404)  # as MLflow says it


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [
        ("Host", "evil.example", 421),  # a name that was made to lead here
        ("Host", "127.0.0.1", 421),
        ("Host", "127.0.0.1:1", 421),
        ("Origin", "http://127.0.0.1:1", 403),  # the page of another user on this machine
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
    ],
)
def test_with_the_cookie_other_names_and_pages_are_refused(owner, header, value, status):
    cookie = "; ".join(f"{name}={value}" for name, value in owner.cookies.items())
    answer = owner.get(SEARCH, headers={header: value, "Cookie": cookie})
    assert answer.status_code == status
    assert "experiments" not in answer.text


def test_another_user_cannot_delete_an_experiment(owner, address):
    name = f"kept-{os.urandom(4).hex()}"
    made = owner.post(f"{API}/experiments/create", json={"name": name}).json()
    code = f"""
import json, urllib.error, urllib.request
asked = urllib.request.Request(
    "{address}{API}/experiments/delete",
    json.dumps({{"experiment_id": "{made["experiment_id"]}"}}).encode(),
    {{"Content-Type": "application/json"}},
)
try:
    urllib.request.urlopen(asked)
except urllib.error.HTTPError as error:
    print(error.code)
"""
    assert _as_another(code) == "401"
    found = owner.get(f"{API}/experiments/get-by-name?experiment_name={name}").json()
    assert found["experiment"]["lifecycle_stage"] == "active"


def test_another_user_cannot_reach_the_server_behind(ui, temporary):
    (folder,) = temporary.glob("fitcast-ui-*")
    (path,) = folder.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    with socket.socket(socket.AF_UNIX) as tried:
        tried.connect(str(path))
    code = f"""
import socket
try:
    socket.socket(socket.AF_UNIX).connect({str(path)!r})
except OSError as error:
    print(type(error).__name__)
"""
    if os.getuid() == 0:
        assert _as_another(code) == "PermissionError"
    listening = {
        one.laddr.port
        for process in _family(ui[0])
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }
    assert listening == {urlsplit(ui[1]).port}


def test_arguments_tell_neither_store_nor_token(ui):
    lines = [" ".join(process.cmdline()) for process in _family(ui[0])]
    assert len(lines) >= 2
    token = urlsplit(ui[1]).query.removeprefix("token=")
    assert not [line for line in lines if "mlflow.db" in line or token in line]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGKILL", "mlflow"])
def test_all_of_it_ends_together(tmp_path, temporary, how):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    before = set(temporary.iterdir())
    with served(uri, cwd=tmp_path, TMPDIR=str(temporary)) as (process, _):
        family = _family(process)
        if how == "mlflow":
            family[1].kill()
        else:
            process.send_signal(signal.Signals[how])
        code = process.wait(LONGEST_S)
        assert code == {"SIGTERM": 143, "SIGINT": 130, "SIGKILL": -9, "mlflow": 1}[how]
        assert wait_for(lambda: not any(one.is_running() for one in family))
    if how != "SIGKILL":
        assert set(temporary.iterdir()) == before


def test_a_port_that_is_taken_is_said_before_anything_starts(no_process_left):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InvalidInputError, match=rf"port {port} can.t be used.*--port"):
            serve("sqlite://", port, print, "fitcast")


def _family(process) -> list[psutil.Process]:
    own = psutil.Process(process.pid)
    return [own, *own.children(recursive=True)]


def _as_another(code: str) -> str:
    """Run Python code as another user, or, without the right to, as this one without the token."""
    if os.getuid() == 0:
        ended = as_nobody([python_for_others(), "-ISc", code])
    else:
        ended = subprocess.run(
            [sys.executable, "-ISc", code], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()
