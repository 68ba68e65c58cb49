from contextlib import contextmanager

import numpy as np
import pytest

from benchmarks.kept_open import kept_open, opened
from benchmarks.report import FORMATS, Goal, Report
from benchmarks.side_by_side import (
    Taken,
    Told,
    Way,
    best_peer,
    overhead_ms,
    ratio,
    rows_of,
    score_note,
    side_by_side,
    turns,
)


def a_way(name, *, is_peer=True, log=None, error=None, scores=(0.5, 0.6)):
    @contextmanager
    def start():
        if log is not None:
            log.append(f"open {name}")

        def work():
            if error:
                raise error
            return lambda: Told(fits=2, fits_s=1.0, attempts_s=1.5, scores=np.array(scores))

        yield work
        if log is not None:
            log.append(f"close {name}")

    return Way(name, start, is_peer)


def taken(name, *makespans_s, is_peer=True, fits_s=1.0):
    told = [Told(fits=10, fits_s=fits_s, attempts_s=fits_s) for _ in makespans_s]
    return Taken(a_way(name, is_peer=is_peer), list(makespans_s), told)


def test_every_way_has_its_turns_and_nobody_else_is_open_meanwhile():
    log = []
    found = side_by_side([a_way("a", log=log), a_way("b", log=log)], 3)
    assert [len(one.makespans_s) for one in found] == [3, 3]
    for opening, closing in zip(log[::2], log[1::2], strict=True):
        assert closing == opening.replace("open", "close")


def test_nobody_always_follows_the_same_one():
    several = [taken(name) for name in "abc"]
    orders = ["".join(one.way.name for one in turns(several, number)) for number in range(3)]
    assert len(set(orders)) == 3
    assert len({order[0] for order in orders}) > 1
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)


def test_a_way_that_fails_is_noted_and_the_others_go_on():
    found = side_by_side([a_way("a", error=ImportError("no ray")), a_way("b")], 2)
    rows = rows_of(found, 2)
    assert rows[0] == {"": "a", "runs": 0, "note": "ImportError: no ray"}
    assert rows[1]["runs"] == 2
    assert best_peer(found) is found[1]


def test_ratios_are_of_the_same_repeat():
    slow_machine = [taken("peer", 1.0, 10.0, 1.0), taken("fitcast", 0.9, 9.0, 0.9, is_peer=False)]
    best = best_peer(slow_machine)
    assert best.way.name == "peer"
    assert ratio(slow_machine[1], best) == pytest.approx(0.9)
    assert np.isnan(ratio(slow_machine[1], None))


def test_overhead_is_what_cores_did_beside_the_fits():
    assert overhead_ms(taken("a", 1.0, fits_s=1.0), cores=2) == pytest.approx(100.0)
    row = rows_of([taken("a", 1.0, fits_s=1.0)], cores=2)[0]
    assert row["busy with fits"] == pytest.approx(0.5)
    assert row["fits' own s / cores"] == pytest.approx(0.5)
    assert set(row) - {""} <= set(FORMATS)


def test_differing_scores_are_told():
    same = side_by_side([a_way("a"), a_way("b")], 1)
    assert "at most 0 apart" in score_note(same)
    apart = side_by_side([a_way("a"), a_way("b", scores=(0.5, 0.7))], 1)
    assert "at most 0.1 apart" in score_note(apart)
    fewer = side_by_side([a_way("a"), a_way("b", scores=(0.5,))], 1)
    assert "different numbers" in score_note(fewer)


def test_goals_say_whether_they_are_met():
    assert Goal("ratio", 0.9, most=0.97).is_met
    assert not Goal("ratio", float("nan"), most=0.97).is_met
    assert str(Goal("busy", 0.9, least=0.95, form="{:.0%}")) == "missed: busy: 90% (≥ 95%)"
    assert Goal("ratio", float("nan"), most=1).plain()["measured"] is None


def test_reports_print_tables_goals_and_notes():
    report = Report(
        "Title",
        {"Table": [{"": "a", "makespan s": 1.0}, {"": "b", "note": "not installed"}]},
        [Goal("ratio", 0.9, most=0.97)],
        ["a note"],
    )
    text = report.text(markdown=True)
    assert "## Title" in text and "| a | 1.00 | – |" in text
    assert "- met: ratio" in text and "- a note" in text
    assert report.plain()["tables"]["Table"][1] == {"name": "b", "note": "not installed"}


def test_what_is_kept_is_opened_once_and_closed_in_the_end():
    log = []

    @contextmanager
    def start():
        log.append("open")
        yield "thing"
        log.append("close")

    with kept_open():
        for _ in range(2):
            with opened("name", start) as thing:
                assert thing == "thing"
        assert log == ["open"]
    with opened("name", start):
        pass
    assert log == ["open", "close", "open", "close"]
