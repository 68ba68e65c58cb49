"""What notebooks show: well-formed, needing nothing from elsewhere, with users' names as text."""

import html
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from fitcast.scheduler.forecast.pictures import block, intervals, table, timeline
from fitcast.scheduler.session.results import Result

EVIL = "<script src='http://x/y.js'>&\"</script>"
START = datetime(2026, 3, 1, tzinfo=UTC)

# XML has no way to write control characters; browsers' HTML does without them, too
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
seconds = st.floats(0, 1e9) | st.just(float("nan"))


def candidates(*labels, runtime_s=(0.5, 1.0, 3.0)):
    p10, p50, p90 = runtime_s
    rows = [
        {"candidate": n, "runtime_s_p10": p10, "runtime_s_p50": p50, "runtime_s_p90": p90}
        for n in labels
    ]
    return pd.DataFrame(rows)


def fit(candidate="lr", fold=0, worker="w", took_s=2.0, outcome="succeeded", ended=True):
    begun = START + timedelta(seconds=fold)
    return {
        "candidate": candidate,
        "fold": fold,
        "worker": worker,
        "started_at": begun,
        "ended_at": begun + timedelta(seconds=took_s) if ended else pd.NaT,
        "outcome": outcome if ended else None,
        "state": "done" if ended else "running",
    }


def parsed(picture):
    root = ElementTree.fromstring(picture)
    assert not re.search(r"<(script|img|image|link|iframe|use)\b|(href|src)=|url\(", picture)
    assert picture.count("http") == 1  # the name of SVG itself
    return root


@given(st.lists(names, min_size=1, max_size=30), st.tuples(seconds, seconds, seconds))
def test_any_forecast_is_a_well_formed_picture_or_none(labels, runtime_s):
    picture = intervals(candidates(*labels, runtime_s=sorted(runtime_s)))
    if picture and "http" not in "".join(labels):
        texts = "".join(parsed(picture).itertext())
        assert all(label in texts for label in labels[:20])


def test_intervals_are_drawn_in_order_and_say_the_median():
    root = parsed(intervals(candidates("lr C=1")))
    (line,) = (e for e in root if e.tag.endswith("line"))
    (dot,) = (e for e in root if e.tag.endswith("circle"))
    assert float(line.get("x1")) < float(dot.get("cx")) < float(line.get("x2"))
    assert "1.0 s" in "".join(root.itertext())


def test_of_many_candidates_the_rest_is_counted():
    assert "5 more candidates" in intervals(candidates(*(f"c{n}" for n in range(25))))


def test_the_timeline_has_a_bar_per_fit_in_its_workers_lane():
    fits = [fit(fold=0), fit(fold=1, worker="v", outcome="out_of_memory"), fit(fold=2, ended=False)]
    root = parsed(timeline(pd.DataFrame(fits)))
    bars = [e for e in root if e.tag.endswith("rect")]
    assert [bar.get("fill") for bar in bars] == ["#009e73", "#c00000", "#56b4e9"]
    assert bars[0].get("y") == bars[2].get("y") != bars[1].get("y")
    assert "fold 1: out_of_memory" in "".join(root.itertext())


def test_what_has_not_begun_has_no_picture():
    waiting = {**fit(), "started_at": pd.NaT, "ended_at": pd.NaT}
    assert timeline(pd.DataFrame([waiting])) == ""


def test_what_users_named_is_text_everywhere():
    shown = block(
        EVIL,
        intervals(candidates(EVIL)),
        timeline(pd.DataFrame([fit(candidate=EVIL, worker=EVIL)])),
        table(candidates(EVIL), {"candidate": None}),
    )
    assert "<script" not in shown
    assert html.escape(EVIL) in shown
    ElementTree.fromstring(shown)


def test_a_result_is_shown_by_its_leaderboard():
    board = pd.DataFrame(
        {
            "rank": [1, 2],
            "candidate": [EVIL, "lr"],
            "mean_score": [0.9, float("nan")],
            "std_score": [0.01, float("nan")],
            "runtime_s": [1.0, float("nan")],
            "forecast_runtime_s": [2.0, 2.0],
            "peak_memory_bytes": [2.0**20, float("nan")],
        }
    )
    lost = pd.DataFrame({"candidate": ["lr"], "fold": [0], "outcome": ["failed"], "error": ["x"]})
    shown = Result(board, {}, 0, EVIL, {}, 0.9, {}, lost)._repr_html_()
    root = ElementTree.fromstring(shown)
    assert "<script" not in shown
    assert "1 fits failed" in "".join(root.itertext())
    assert len(root.findall(".//tbody/tr")) == 2
