"""The commands of a shared platform: of who runs it, and of its users, as they are typed."""

import io
import json
import sys
from dataclasses import dataclass

import pytest
from sklearn.datasets import load_iris

from fitcast.cli import app
from fitcast.errors import FitcastError
from fitcast.scheduler.broker.keys import KeyFile
from tests.brokers import broker
from tests.polling import LONGEST_S, wait_for

SWEEP = """
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier
from fitcast import Sweep

X, y = load_iris(return_X_y=True)
sweep = Sweep({"tree": (DecisionTreeClassifier(random_state=0), {"max_depth": [1, 2]})}, X, y, cv=2)
"""


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    with broker(tmp_path_factory.mktemp("home")) as running:
        yield running


@dataclass
class Answer:
    code: int
    stdout: str
    stderr: str
    exception: Exception | None


@pytest.fixture
def types(monkeypatch, tmp_path, capfd):
    """Type commands, as somebody with a home of their own."""
    monkeypatch.delenv("FITCAST_BROKER", raising=False)
    monkeypatch.delenv("FITCAST_TOKEN", raising=False)
    file = tmp_path / "sweep_file.py"
    file.write_text(SWEEP)
    monkeypatch.chdir(tmp_path)

    def typed(who, *words, given="", code=0):
        if who != "operator":
            monkeypatch.setenv("FITCAST_HOME", str(tmp_path / who))
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        capfd.readouterr()
        found, error = 0, None
        try:
            found = app(list(words), standalone_mode=False) or 0
        except FitcastError as told:
            found, error = 1, told
        out, err = capfd.readouterr()
        assert found == code, (out, err, error)
        return Answer(found, out, err, error)

    return typed


def rows(answer):
    return json.loads(answer.stdout)


def test_two_users_from_login_to_result(there, types):
    for user in ("ann", "bob"):
        types(user, "login", there.url, given=there.token(user) + "\n")
    told = rows(types("ann", "estimate", "sweep_file.py", "--platform", "--json"))
    assert told["eta"]["p50_s"] > 0
    said = types("ann", "submit", "sweep_file.py").stdout
    workflow_id = said.split()[1]
    assert wait_for(
        lambda: rows(types("ann", "status", "--json"))[0]["state"] == "succeeded", LONGEST_S
    )
    types("ann", "status", workflow_id, code=0)
    assert types("ann", "logs", workflow_id).stdout == ""
    assert rows(types("bob", "status", "--json")) == []
    assert rows(types("bob", "queue", "--json")) == []
    for command in (("status",), ("logs",), ("cancel",), ("workflows", "remove")):
        answer = types("bob", *command, workflow_id, code=1)
        assert type(answer.exception).__name__ == "UnknownWorkflowError"
    waited = types("bob", "submit", "sweep_file.py", "--wait", "--quiet", "--json")
    assert rows(waited)["workflow"]["state"] == "succeeded"
    types("ann", "workflows", "remove", workflow_id)
    assert rows(types("ann", "status", "--json")) == []
    types("ann", "logout")
    answer = types("ann", "submit", "sweep_file.py", code=1)
    assert "fitcast login" in str(answer.exception)


def test_a_token_that_is_wrong_is_not_kept(there, types, tmp_path):
    answer = types("eve", "login", there.url, given="fct_wrong\n", code=1)
    assert type(answer.exception).__name__ == "AuthenticationError"
    assert not (tmp_path / "eve" / "credentials.json").exists()
    answer = types("eve", "login", there.url, given="\n", code=1)
    assert "no token was given" in str(answer.exception)


def test_users_tokens_and_keys(there, types, monkeypatch, tmp_path):
    monkeypatch.setenv("FITCAST_HOME", str(there.home))
    types("operator", "user", "add", "cat", "--group", "lab", "--weight", "2")
    answer = types("operator", "user", "add", "cat", code=1)
    assert type(answer.exception).__name__ == "UserExistsError"
    (cat,) = [
        one for one in rows(types("operator", "user", "list", "--json")) if one["user"] == "cat"
    ]
    assert (cat["group"], cat["weight"], cat["admin"]) == ("lab", 2.0, False)
    secret = types("operator", "token", "create", "cat", "--label", "laptop").stdout.strip()
    (token,) = rows(types("operator", "token", "list", "cat", "--json"))
    assert token["label"] == "laptop"
    assert secret not in json.dumps(token)
    user, _ = there.store.authenticate(secret)
    assert user.name == "cat"
    types("operator", "token", "revoke", str(token["token"]))
    with pytest.raises(Exception, match="revoked"):
        there.store.authenticate(secret)
    answer = types("operator", "token", "create", "cat", "--scope", "all", code=1)
    assert "no scope 'all'" in str(answer.exception)
    before = KeyFile(there.home / "broker" / "keys.json").wrap(32 * b"k", b"a")[1]
    said = types("operator", "keys", "rotate").stdout
    assert KeyFile(there.home / "broker" / "keys.json").wrap(32 * b"k", b"a")[1] != before
    assert "are wrapped with version" in said
    made = tmp_path / "made.json"
    types("operator", "keys", "new", str(made))
    assert KeyFile(made).wrap(32 * b"k", b"a")
    assert "never written over" in str(
        types("operator", "keys", "new", str(made), code=1).exception
    )
    types("operator", "user", "disable", "cat")
    actions = [entry.action for entry in there.store.audit_entries()]
    assert {"user add", "token create", "token revoke", "keys rotate", "user disable"} <= {*actions}


@pytest.fixture
def described(tmp_path):
    load_iris(as_frame=True).frame.to_csv(tmp_path / "iris.csv", index=False)
    models = {
        "tree": {
            "class": "sklearn.tree.DecisionTreeClassifier",
            "params": {"random_state": 0},
            "grid": {"max_depth": [1, 2]},
        }
    }
    told = {"models": models, "data": str(tmp_path / "iris.csv"), "target": "target", "cv": 2}
    (tmp_path / "sweep.json").write_text(json.dumps(told))
    return told


def test_a_sweep_as_json(described, types, tmp_path):
    with broker(tmp_path / "home", data=(str(tmp_path),)) as there:
        types("ann", "login", there.url, given=there.token("ann") + "\n")
        said = types("ann", "submit", "sweep.json").stdout
        assert "prepared by a worker" in said
        waited = json.loads(types("ann", "submit", "sweep.json", "--wait", "--json").stdout)
        assert waited["best"]["candidate"] == "tree max_depth=2", waited
        wrong = {**described, "target": "nope"}
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        answer = types("ann", "submit", "wrong.json", "--wait", code=1)
        assert "has no column 'nope'" in str(answer.exception)
        listed = rows(types("ann", "status", "--json"))
        assert [one["state"] for one in listed][-1] == "failed"
        assert len(listed) == 3
        estimate = types("ann", "estimate", "sweep.json", "--json")  # made here
        assert json.loads(estimate.stdout)["eta"]["p50_s"] > 0
        (tmp_path / "odd.json").write_text("[1]")
        assert "JSON object" in str(types("ann", "submit", "odd.json", code=1).exception)
        (tmp_path / "odd.json").write_text("{")
        assert "no JSON" in str(types("ann", "run", "odd.json", code=1).exception)
