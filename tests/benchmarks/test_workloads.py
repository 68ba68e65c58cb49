import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from benchmarks import peers
from benchmarks.bench import BENCHMARKS, main
from benchmarks.eta_asked import answers_at, judged
from benchmarks.shared_graph import shared_graph, told_by_graph
from benchmarks.watching import Peak
from benchmarks.workloads.eta_truth import KINDS, sweeps
from benchmarks.workloads.memory_bound import bound_s
from benchmarks.workloads.ragged import task as ragged
from benchmarks.workloads.seed import task as seed
from fitcast.scheduler.forecast.eta import Eta


def eta(p10_s, p50_s, p90_s):
    return Eta(p10_s, p50_s, p90_s, datetime.now(UTC))


def test_one_search_has_the_candidates_of_all_models_in_their_order():
    of = seed(quick=True).single_threaded()
    small = peers.Task(of.models, of.X[:400], of.y[:400], cv=2)
    alone = peers.search(small, small.search_per_model(), 1, 2)()
    together = peers.search(small, small.one_search(), 1, 2)()
    assert alone.fits == together.fits == of.candidates * 2
    assert np.array_equal(alone.scores, together.scores)


def test_ragged_fits_grow_and_the_longest_is_the_last():
    trees = ragged(quick=False).models["forest"][1]["n_estimators"]
    assert trees == sorted(trees)
    assert trees[-1] >= sum(trees[:-1])


def test_the_graph_gives_gridsearchs_scores_and_fits_each_prefix_once():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(120, 4)), rng.integers(0, 2, 120)
    steps = [("poly", PolynomialFeatures()), ("scale", StandardScaler())]
    pipeline = Pipeline([*steps, ("lr", LogisticRegression())])
    grid = {"lr__C": [0.01, 1.0, 100.0], "poly__degree": [1, 2]}
    graph = shared_graph(pipeline, grid, X, y, 3, "roc_auc")
    theirs = GridSearchCV(pipeline, grid, cv=3, scoring="roc_auc", refit=False).fit(X, y)
    told = told_by_graph(graph.compute(scheduler="sync"), 3)
    assert told.fits == 18
    assert told.scores == pytest.approx(theirs.cv_results_["mean_test_score"])
    names = [str(key) for key in dict(graph.__dask_graph__())]
    assert sum(name.startswith("_transformed") for name in names) == 2 * 3


def test_no_schedule_beats_cores_memory_or_the_longest_fit():
    fits = pd.DataFrame({"runtime_s": [1.0] * 4, "threads": 1, "peak_memory_bytes": 10.0})
    assert bound_s(fits, cores=2, memory_bytes=1000.0) == 2.0
    assert bound_s(fits, cores=2, memory_bytes=10.0) == 4.0
    assert bound_s(fits, cores=100, memory_bytes=1000.0) == 1.0


def test_peaks_are_above_the_level_at_the_start():
    peak = Peak(start_bytes=100)
    for total in (90, 150, 120):
        peak.see(total)
    assert peak.peak_bytes == 50


def test_answers_are_looked_up_as_last_said():
    samples = [(0.0, eta(8, 10, 12)), (3.0, eta(4, 5, 6)), (9.0, eta(0.5, 1, 2))]
    at_start, halfway = answers_at(samples, took_s=10.0, shares=(0.0, 0.5))
    assert at_start.is_inside and at_start.error == pytest.approx(0.0)
    assert halfway.gone_s == 3.0 and halfway.rest_s == 7.0
    assert not halfway.is_inside
    assert halfway.error == pytest.approx(-0.2)
    assert halfway.error_of_rest == pytest.approx(-2 / 7)
    row = judged("both", [at_start, halfway])
    assert row["in P10–P90"] == 0.5 and row["asked"] == 2
    assert judged("none", []) == {"": "none", "asked": 0}


@pytest.mark.slow
def test_twenty_workflows_tell_whether_etas_are_true_and_no_candidate_comes_twice():
    found = list(sweeps(KINDS))
    assert len(found) >= 20
    for (_, cold, first), (_, warm, second) in zip(found[::2], found[1::2], strict=True):
        assert (cold, warm) == ("cold", "warm")
        labels = [{c.label for c in sweep.prepare().candidates} for sweep in (first, second)]
        assert labels[0] and labels[1]


def test_unknown_benchmarks_are_refused():
    with pytest.raises(SystemExit):
        main(["nothing"])


@pytest.mark.slow
@pytest.mark.timeout(400)  # a minute and a half on an idle machine
def test_every_benchmark_runs(tmp_path, capsys):
    path = tmp_path / "bench.json"
    assert main(["--quick", "--json", str(path)]) == 0
    whole = json.loads(path.read_text())
    assert set(whole["benchmarks"]) == set(BENCHMARKS)
    assert whole["machine"]["cpus"] >= 1 and "scikit-learn" in whole["machine"]["versions"]
    for name, report in whole["benchmarks"].items():
        for rows in report["tables"].values():
            ours = [row for row in rows if row["name"].startswith("fitcast")]
            assert not [row for row in ours if row.get("note")], f"{name}: {ours}"
        apart = [note for note in report["notes"] if note.startswith("scores")]
        assert not apart or float(apart[0].split()[-2]) < 1e-6, f"{name}: {apart}"
    assert "Side by side" in capsys.readouterr().out
