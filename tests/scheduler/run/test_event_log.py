"""The last events of a plan can be played again, from the plan as it was before them."""

import subprocess
import sys

import pytest

from fitcast.errors import FitcastError
from fitcast.history.records import Outcome
from fitcast.scheduler.plan.decisions import Decisions
from fitcast.scheduler.plan.events import AttemptEnded, Reforecast, Start, WorkerJoined
from fitcast.scheduler.plan.pools import WorkerSize
from fitcast.scheduler.run import event_log
from fitcast.scheduler.run.event_log import EventLog, read, replay
from tests.scheduler.making import MIB, estimate, submitted


def run(log, fits):
    """Let a worker run a workflow; return what was decided, event by event."""
    decisions = Decisions()
    decided = []

    def act(event, now_s):
        log.note(event, now_s, decisions)
        decided.append(decisions.handle(event, now_s))
        return decided[-1]

    act(WorkerJoined(WorkerSize("w", "p", 1, 1000 * MIB)), 0.0)
    actions = act(submitted(*[estimate(5.0)] * fits), 0.0)
    now_s = 0.0
    while starts := [one for one in actions if isinstance(one, Start)]:
        now_s += 5.0
        ended = AttemptEnded(starts[0].key, 1, Outcome.SUCCEEDED, 0)
        actions = act(ended, now_s)
    return decided


def test_what_was_decided_is_decided_again(tmp_path):
    log = EventLog(tmp_path)
    decided = run(log, 20)
    path = log.write()
    assert [actions for _, _, actions in replay(*read(path))] == decided
    assert path.stat().st_mode & 0o077 == 0


def test_the_last_events_are_kept_whatever_came_before(tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "KEPT", 10)
    log = EventLog(tmp_path)
    decided = run(log, 34)
    again = [actions for _, _, actions in replay(*read(log.write()))]
    assert 10 <= len(again) <= 20
    assert again == decided[-len(again) :]


def test_many_corrected_estimates_are_not_kept_a_thousand_times(tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "MOST_ESTIMATES", 100)
    log, decisions = EventLog(tmp_path), Decisions()
    sweep = submitted(*[estimate(5.0)] * 30)
    log.note(sweep, 0.0, decisions)
    decisions.handle(sweep, 0.0)
    for second in range(50):
        event = Reforecast("w", dict(sweep.estimates))
        log.note(event, float(second), decisions)
        decisions.handle(event, float(second))
    base, every = read(log.write())
    assert sum(len(event.estimates) for _, event in every) <= 2 * 130
    assert len(list(replay(base, every))) == len(every)


def test_old_files_go(tmp_path, monkeypatch):
    monkeypatch.setattr(event_log, "MOST_FILES", 3)
    log = EventLog(tmp_path)
    run(log, 2)
    paths = [log.write() for _ in range(5)]
    assert sorted(tmp_path.iterdir()) == paths[-3:]


def test_a_file_of_another_release_is_not_guessed_at(tmp_path, monkeypatch):
    log = EventLog(tmp_path)
    run(log, 1)
    monkeypatch.setattr(event_log, "__version__", "0.0.0")
    path = log.write()
    monkeypatch.undo()
    with pytest.raises(FitcastError, match=r"0\.0\.0"):
        read(path)


def test_the_command_tells_every_event_and_action(tmp_path):
    log = EventLog(tmp_path)
    run(log, 1)
    command = [sys.executable, "-m", "fitcast.scheduler.run.event_log", str(log.write())]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "WorkerJoined" in told
    assert "Start(" in told
    assert "Conclude(" in told
