"""What commands write for other programs: whole lines in a pipe, JSON alone, or nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FITCAST = str(Path(sys.executable).with_name("fitcast"))
PARAM = "a_step_with_a_name__alpha"
SWEEP = f"""
import os
from fitcast import Sweep
from sklearn.datasets import load_iris
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import Pipeline

print("said by the file")
os.write(1, b"said by a library in C\\n")
model = Pipeline([("a_step_with_a_name", RidgeClassifier())])
grid = {{"{PARAM}": [0.1, 1.0], "{PARAM[:-5]}solver": ["svd", "[red]cholesky[/]"]}}
sweep = Sweep({{"ridge_with_a_name": (model, grid)}},
              *load_iris(return_X_y=True), cv=2, name="[bold]flowers")
"""
POOLS = ("--pool", "small:1:2:2:0.05", "--pool", "large:8:16:1:0.40")

pytestmark = pytest.mark.timeout(600)  # several commands each


@pytest.fixture
def fitcast(tmp_path, fitcast_home):
    (tmp_path / "sweep.py").write_text(SWEEP)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"COLUMNS": "40"}
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            environment.pop(name, None)
        ended = subprocess.run(
            [FITCAST, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert "\x1b" not in ended.stdout + ended.stderr
        return ended

    return run


def reference() -> dict[str, set[str]]:
    """Return the names that the reference lists of each part of the JSON documents."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    section = text.split("## What commands print as JSON")[1].split("\n## ")[0].split("\n\n")[2]
    named = {}
    for item in re.split(r"^- ", section, flags=re.MULTILINE)[1:]:
        part = re.match(r"`([\w ]+)`", item)[1]
        listed = item.split(":", 1)[1]
        outside = re.sub(r"\([^)]*\)", "", listed)  # brackets hold explanations
        named[part] = set(re.findall(r"`(\w+)`", outside))
    return named


def names_of(value) -> set[str]:
    rows = value if isinstance(value, list) else [value]
    return {name for row in rows for name in row}


@pytest.mark.slow
def test_an_estimate_in_a_pipe_has_a_row_in_a_line(fitcast):
    said = fitcast("estimate", "sweep.py", *POOLS, "--within", "1").stdout.splitlines()
    rows = [line for line in said if line.lstrip().startswith("ridge_with_a_name")]
    assert len(rows) == 4
    for row, alpha, solver in zip(
        rows, ("0.1", "0.1", "1", "1"), ("svd", "[red]cholesky[/]") * 2, strict=True
    ):
        assert re.search(rf"alpha={alpha} solver={re.escape(solver)} .* s to .*\d%$", row.rstrip())
    assert any(line.startswith("Whole workflow, 8 fits") for line in said)
    assert any(re.match(r" *2 × small \+ 1 × large .* to .*\d%", line) for line in said), said
    assert "Forecast, per fit of each candidate: runtime, peak memory, risk of failing" in said


def test_an_estimate_as_json_has_what_the_reference_lists(fitcast):
    ended = fitcast("estimate", "sweep.py", *POOLS, "--within", "1", "--json")
    document = json.loads(ended.stdout)
    named = reference()
    assert set(document) == named["estimate"]
    for part in named["estimate"] - {"sequential_s", "answer"}:
        assert names_of(document[part]) == named[part], part
    assert len(document["fits"]) == 8
    assert document["fits"][1]["fold"] == 1
    assert [pool["name"] for pool in document["pools"]] == ["small", "large"]
    assert document["answer"]
    assert "said by the file" in ended.stderr
    assert "said by a library in C" in ended.stderr


@pytest.mark.slow
def test_without_prices_a_cost_is_null(fitcast):
    document = json.loads(fitcast("estimate", "sweep.py", "--json").stdout)
    assert document["cost"] is None
    assert {row["cost_p50"] for row in document["what_if"]} == {None}
    assert document["answer"] is None


@pytest.mark.slow
def test_a_quiet_estimate_is_one_line(fitcast):
    said = fitcast("estimate", "sweep.py", "--quiet").stdout.splitlines()
    assert len(said) == 3  # two by the file
    assert said[-1].startswith("Whole workflow, 8 fits: ")


@pytest.mark.slow
def test_a_run_as_json_and_its_history(fitcast):
    ended = fitcast("run", "sweep.py", "--json")
    document = json.loads(ended.stdout)
    named = reference()
    assert set(document) == named["run"]
    for part in named["run"] - {"estimate"}:
        assert names_of(document[part]) == named[f"run {part}"], part
    assert document["workflow"]["workflow_name"] == "[bold]flowers"
    assert document["workflow"]["state"] == "succeeded"
    assert document["best"]["params"][PARAM] in {0.1, 1.0}
    assert {row["candidate"] for row in document["errors"]} == {
        row["candidate"] for row in document["fits"] if "cholesky[/]" in row["candidate"]
    }
    progress = [line for line in ended.stderr.splitlines() if line.startswith("[bold]flowers: ")]
    assert re.search(r"\d+/[89] fits, \d running, .* left \(", progress[0])
    assert re.search(r"succeeded, 9/9 fits in ", progress[-1])
    assert len(progress) <= 4

    (row,) = json.loads(fitcast("history", "--json").stdout)
    assert set(row) == named["history"]
    assert row["workflow_id"] == document["workflow"]["workflow_id"]
    said = fitcast("history").stdout
    ended_at = row["ended_at"][:16].replace("T", " ")
    assert re.search(rf"{row['workflow_id']}.*\[bold\]flowers.*{ended_at}", said)


@pytest.mark.slow
def test_a_quiet_run_shows_the_result_alone(fitcast):
    ended = fitcast("run", "sweep.py", "--quiet")
    assert "Forecast" not in ended.stdout
    assert "fits" not in ended.stderr
    rows = [line for line in ended.stdout.splitlines() if "ridge_with_a_name" in line]
    assert len([row for row in rows if ", fold " not in row]) == 4
    lost = [row for row in rows if ", fold " in row]
    assert len(lost) == 4
    assert all("[red]cholesky[/]" in row and ": failed: " in row for row in lost)


@pytest.mark.slow
def test_who_reads_only_the_first_line_sees_no_traceback(tmp_path, fitcast_home):
    (tmp_path / "sweep.py").write_text(SWEEP)
    command = f"{FITCAST} estimate sweep.py --json | head -n 1"
    ended = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=170
    )
    assert ended.stdout == "{\n"
    assert "Traceback" not in ended.stderr
