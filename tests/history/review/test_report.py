"""``fitcast history report``, and the same text with a version of the sizing model."""

import json
import re
from dataclasses import replace

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from fitcast.cli import app
from fitcast.history.mlflow_models import MlflowModels
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.models import REPORT_FILE
from fitcast.history.records import Outcome
from fitcast.history.review.accuracy import markdown, report_of
from tests.history import examples


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = MlflowHistory(f"sqlite:///{tmp_path_factory.mktemp('report')}/mlflow.db")
    lost = {"outcome": Outcome.OUT_OF_MEMORY, "scores": {}, "peak_memory_bytes": 10**9}
    odd = examples.record(candidate=7)
    odd = replace(odd, request=replace(odd.request, algorithm="mine.[red]Odd|One"))
    store.save(examples.workflow(records=[*examples.sweep(), odd, examples.record(fold=9, **lost)]))
    return store


@pytest.fixture
def told(store, tmp_path, monkeypatch):
    monkeypatch.setenv("FITCAST_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*options, uri=store.tracking_uri):
        monkeypatch.setenv("FITCAST_TRACKING_URI", uri)
        ran = CliRunner().invoke(app, ["history", "report", *options])
        assert ran.exit_code == 0, ran.output
        return ran.output

    return run


def test_it_is_printed_as_tables_within_80_columns(told):
    printed = told()
    assert max(map(len, printed.splitlines())) <= 80
    assert "by algorithm" in printed
    assert "XGBClassifier" in printed
    assert len(re.findall(r"^ 2026-03-01 12:0[01]:..", printed, re.M)) == 5  # all periods
    assert "[red]Odd" in printed  # a name, not a colour
    assert "2026-03-01" in printed


def test_when_quiet_it_is_one_line_of_all_fits(told):
    (line,) = told("--quiet").splitlines()
    assert re.match(r"9 fits: runtimes off by \d+\.\d\d ×", line)
    assert json.loads(told("--quiet", "--json")) == json.loads(told("--json"))


def test_as_json_it_has_the_same_numbers(told, store):
    plain = json.loads(told("--json"))
    assert plain == report_of(store.read()[0]).as_json()
    assert plain["all_fits"]["fits"] == 9
    assert plain["all_fits"]["out_of_memory_share"] == 1 / 9
    assert set(plain["algorithms"]) == {"XGBClassifier", "[red]Odd|One"}


def test_a_history_without_forecasts_is_said(told, tmp_path):
    assert "no fits with forecasts" in told(uri=f"sqlite:///{tmp_path}/none.db")


def test_each_version_of_the_sizing_model_shows_the_report_of_its_time(store):
    text = markdown(report_of(store.read()[0]))
    number = MlflowModels(store).register({REPORT_FILE: text.encode()}, metrics={}, tags={})
    client = MlflowClient(store.tracking_uri)
    version = client.get_model_version("fitcast-sizing", str(number))
    assert version.description == text
    assert client.get_run(version.run_id).data.tags["mlflow.note.content"] == text
    files = [f.path for f in client.list_artifacts(version.run_id, "sizing-model")]
    assert files == [f"sizing-model/{REPORT_FILE}"]
    tables = re.findall(r"^\| .*\|$", text, re.M)
    assert len(tables) == 2 + 5 + 2  # heads, periods, algorithms
    assert "Odd\\|One" in text  # a name, not a column
