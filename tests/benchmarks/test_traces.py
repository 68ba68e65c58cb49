"""The game's accounting, and that nobody is told a truth before its time."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fitcast.errors import InvalidDataError
from fitcast.sizing.allocation import Attempts

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks import traces  # noqa: E402  the folder is no installed package
from benchmarks.traces import Game, Play, Task, Truth  # noqa: E402


def trace(tasks=40, kinds=2, seed=0):
    random = np.random.default_rng(seed)
    frames = []
    for kind in range(kinds):
        size = random.uniform(1e9, 4e9, tasks)
        frames.append(
            pd.DataFrame(
                {
                    "process": f"KIND_{kind}",
                    "tag": "-",
                    "submit": random.permutation(tasks) * 1000,
                    "memory": 16_000_000_000,
                    "rchar": size.astype(int),
                    "rss": (size * (1 + kind) * random.lognormal(0, 0.05, tasks)).astype(int),
                    "realtime": random.integers(1000, 100_000, tasks),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def folder(tmp_path):
    trace().to_csv(tmp_path / "trace_made.csv", index=False)
    return tmp_path


class Spy:
    """Plays fixed steps and writes down what it is told, in order."""

    def __init__(self, *steps):
        self.steps, self.told = steps, []

    def attempts(self, task, *, least_bytes=0.0):
        self.told.append(("asked", task, least_bytes))
        return Attempts(tuple(s for s in self.steps if s > least_bytes), 0.0, 0.0)

    def observe(self, task, *, peak_memory_bytes, runtime_s):
        self.told.append(("revealed", task, peak_memory_bytes))


def task(number):
    return Task("KIND", float(number), 100.0)


def test_failed_attempts_cost_all_and_the_last_what_it_had_too_much():
    played = [Play(task(1), Truth(30.0, 10.0)), Play(task(2), Truth(5.0, 2.0))]
    first, second = Game([], played).play(Spy(10.0, 20.0, 40.0))
    assert (first.wastage_byte_s, first.failures) == ((10 + 20 + 40 - 30) * 10.0, 2)
    assert (second.wastage_byte_s, second.failures) == ((10 - 5) * 2.0, 0)


def test_an_attempt_of_just_what_is_needed_succeeds():
    (cost,) = Game([], [Play(task(1), Truth(10.0, 1.0))]).play(Spy(10.0))
    assert (cost.wastage_byte_s, cost.failures) == (0.0, 0)


def test_a_truth_is_revealed_only_after_its_task():
    known = [Play(task(0), Truth(1.0, 1.0))]
    played = [Play(task(1), Truth(2.0, 1.0)), Play(task(2), Truth(3.0, 1.0))]
    spy = Spy(10.0)
    list(Game(known, played).play(spy))
    assert [(what, told.input_bytes) for what, told, _ in spy.told] == [
        ("revealed", 0.0),
        ("asked", 1.0),
        ("revealed", 1.0),
        ("asked", 2.0),
        ("revealed", 2.0),
    ]
    assert set(Task.__dataclass_fields__) == {"kind", "input_bytes", "requested_bytes"}


def test_truths_to_come_change_nothing(folder):
    """Allocations up to a task stay the same whatever that task and later ones need."""
    known, played = traces.split(traces.read_trace(folder / "trace_made.csv"), "shuffled", 1)
    forecasts = []
    for factor in (1.0, 3.0):
        changed = [
            Play(play.task, Truth(play.truth.peak_memory_bytes * factor, play.truth.runtime_s))
            for play in played[8:]
        ]
        recorder = Recorder()
        list(Game(known, played[:8] + changed).play(recorder))
        forecasts.append(recorder.first)
    assert forecasts[0][:9] == forecasts[1][:9]
    assert forecasts[0][9:] != forecasts[1][9:]


class Recorder(traces.OnlineForecaster):
    def __init__(self):
        super().__init__()
        self.first = []

    def attempts(self, task, *, least_bytes=0.0):
        plan = super().attempts(task, least_bytes=least_bytes)
        if not least_bytes:
            self.first.append(plan.memory_bytes)
        return plan


def test_a_forecaster_that_does_not_grow_is_stopped():
    class Stuck(Spy):
        def attempts(self, task, *, least_bytes=0.0):
            return Attempts((1.0,), 0.0, 0.0)

    with pytest.raises(InvalidDataError, match="no more than"):
        list(Game([], [Play(task(1), Truth(30.0, 1.0))]).play(Stuck()))


def test_small_types_and_those_without_runtime_are_left_out(tmp_path):
    frame = pd.concat(
        [
            trace(40, kinds=1),
            trace(33, kinds=1).assign(process="FEW"),
            trace(40, kinds=1).assign(process="ZERO_RSS", rss=[0] * 7 + [1] * 33),
            trace(40, kinds=1).assign(process="INSTANT", realtime=[0] + [1] * 39),
        ]
    )
    frame.to_csv(tmp_path / "trace_x.csv", index=False)
    assert set(traces.read_trace(tmp_path / "trace_x.csv")["kind"]) == {"KIND_0"}


def test_the_split_is_seven_in_ten_and_in_order(folder):
    frame = traces.read_trace(folder / "trace_made.csv")
    known, played = traces.split(frame, "chronological", 0)
    assert (len(known), len(played)) == (24, 56)
    for kind in ("KIND_0", "KIND_1"):
        own = frame[frame["kind"] == kind].sort_values("submitted_ms", kind="stable")
        inputs = [p.task.input_bytes for p in known + played if p.task.kind == kind]
        assert inputs == own["input_bytes"].tolist()
    known, played = traces.split(frame, "shuffled", 5)
    from sklearn.model_selection import train_test_split

    own = frame[frame["kind"] == "KIND_0"]
    _, expected = train_test_split(own, test_size=0.7, random_state=5)
    inputs = [p.task.input_bytes for p in played if p.task.kind == "KIND_0"]
    assert inputs == expected["input_bytes"].tolist()


def test_the_command_prints_and_writes_scores(folder):
    written = folder / "scores.json"
    command = [sys.executable, "-m", "benchmarks.traces", "--traces", str(folder), "--seed", "3"]
    run = subprocess.run(
        [*command, "--json", str(written)], cwd=ROOT, capture_output=True, text=True, timeout=170
    )
    assert run.returncode == 0, run.stderr
    assert "made" in run.stdout
    (score,) = json.loads(written.read_text())
    assert set(score) == {
        "workflow",
        "order",
        "seed",
        "wastage_gbh",
        "failures",
        "tasks",
        "ms_per_decision",
    }
    assert (score["workflow"], score["order"], score["seed"]) == ("made", "shuffled", 3)
    assert score["tasks"] == 56
    assert score["wastage_gbh"] > 0.0


def spoil_nan(frame):
    return frame.assign(rss=[float("nan"), *frame["rss"][1:]])


def spoil_text(frame):
    return frame.assign(memory=["much", *frame["memory"][1:]])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: frame.drop(columns="rss"), "lacks the columns rss"),
        (spoil_nan, "rss is nan"),
        (spoil_text, "memory is much"),
        (lambda frame: frame.assign(realtime=-1), "realtime is -1"),
    ],
)
def test_what_is_no_trace_is_refused(tmp_path, capsys, spoil, message):
    spoil(trace()).to_csv(tmp_path / "trace_bad.csv", index=False)
    with pytest.raises(InvalidDataError, match=message):
        traces.read_trace(tmp_path / "trace_bad.csv")
    assert traces.main(["--traces", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_folders_without_traces_are_refused(tmp_path, capsys):
    assert traces.main(["--traces", str(tmp_path / "none")]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert traces.main(["--traces", str(tmp_path)]) == 2
    assert "no trace_*.csv" in capsys.readouterr().err
    (tmp_path / "trace_empty.csv").write_text("")
    assert traces.main(["--traces", str(tmp_path)]) == 2
    assert "can't be read" in capsys.readouterr().err
