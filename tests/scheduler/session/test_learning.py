"""The model in use: how it is found, judged, replaced and kept, over real stores in memory."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from fitcast.errors import HistoryError
from fitcast.history.models import MemoryModels, rollback
from fitcast.history.store import MemoryHistory, WorkflowEnd, WorkflowHistory, WorkflowRun
from fitcast.scheduler.session.client import Client
from fitcast.scheduler.session.learning import Learner
from fitcast.sizing.learning.model import SizingModel
from fitcast.trainer.sweep.prepared import Sweep
from tests.sizing.sizing_making import cost_s, record, request

ASKED = [request(params={"n_estimators": 100, "max_depth": 7})]


def told(count=20, factor=4.0, start=0):
    asked = [
        request(params={"n_estimators": 100, "max_depth": 2 + (start + n) % 10})
        for n in range(count)
    ]
    return [record(one, factor * cost_s(one)) for one in asked]


def saved(store, records, name):
    at = records[-1].ended_at
    run = WorkflowRun(workflow_id=name, name=name, started_at=at)
    end = WorkflowEnd(state="succeeded", ended_at=at)
    store.save(WorkflowHistory(run=run, records=tuple(records), end=end))


class Kept(MemoryHistory):
    """A store in memory that is cached as one that outlives its process."""

    def __init__(self, source):
        super().__init__()
        self._source = source

    @property
    def source(self):
        return self._source


@pytest.fixture
def store():
    return MemoryHistory()


@pytest.fixture
def registry():
    return MemoryModels()


@pytest.fixture
def learner(store, registry, tmp_path):
    def made():
        return Learner(store, tmp_path, lambda said: None, registry)

    return made


def median_s(learner):
    (estimate,) = learner.model().estimate(ASKED)
    return estimate.runtime_s_p50


def test_a_better_model_takes_over_and_is_kept_with_how_it_was_judged(learner, store, registry):
    saved(store, told(), "a")
    one = learner()
    verdict = one.load()
    assert verdict.promoted
    assert verdict.challenger.total < verdict.champion.total
    (law,) = SizingModel.prior().estimate(ASKED)
    assert median_s(one) > 2 * law.runtime_s_p50  # this machine is slower than the laws say
    version, files = registry.champion()
    assert version.metrics["loss_runtime"] == verdict.challenger.runtime
    assert set(files) == {"evidence.parquet", "about.json", "report.md"}
    assert "XGBClassifier" in files["report.md"].decode()
    assert "better" in str(verdict)


def test_the_next_session_starts_with_the_model_in_use(learner, store, registry):
    saved(store, told(), "a")
    first = learner()
    first.load()
    second = learner()
    verdict = second.load()
    assert not verdict.new_records
    assert median_s(second) == median_s(first)
    assert len(registry.versions()) == 1


def test_a_worse_model_does_not_take_over(learner, registry):
    one = learner()
    one.load()
    one.add(told())
    assert one.train().promoted
    before = one.model()
    steady = told(count=30, start=3)
    # The older new records lie, the newest tell the truth: what learned from the lies is worse.
    lies = [replace(r, runtime_s=r.runtime_s * 50) for r in steady[:21]]
    one.add([*lies, *steady[21:]])
    verdict = one.train()
    assert not verdict.promoted
    assert one.model() is before
    assert "stays" in str(verdict)
    assert len(registry.versions()) == 1


def test_rolling_back_is_what_the_next_session_sees(learner, registry):
    one = learner()
    one.load()
    one.add(told(factor=4.0))
    one.train()
    one.add(told(factor=8.0, count=60))
    assert one.train().promoted
    newest = median_s(one)
    rollback(registry)
    two = learner()
    two.load()
    assert median_s(two) < newest


def test_an_unreadable_model_falls_back_to_the_laws_with_a_warning(learner, registry):
    number = registry.register({"about.json": b"rot"}, metrics={}, tags={})
    registry.promote(number)
    one = learner()
    with pytest.warns(UserWarning, match="stored sizing model isn't used"):
        one.load()
    assert one.model().estimate(ASKED) == SizingModel.prior().estimate(ASKED)


def test_a_registry_that_is_away_costs_the_version_not_the_model(store, tmp_path):
    class Away(MemoryModels):
        def register(self, files, *, metrics, tags):
            raise HistoryError("the disk is full")

    said = []
    one = Learner(store, tmp_path, said.append, Away())
    one.load()
    one.add(told())
    verdict = one.train()
    assert verdict.promoted
    assert verdict.version is None
    assert "disk is full" in said[0]


def test_late_records_of_old_fits_are_learned_with_the_next(learner, store):
    saved(store, told(), "a")
    one = learner()
    one.load()
    two = learner()
    old = [replace(r, ended_at=r.ended_at - timedelta(days=9)) for r in told(count=3)]
    saved(store, old, "late")
    assert two.load().new_records == 0
    two.add(told(count=60, factor=8.0))
    assert two.train().new_records == 60
    assert two.model().record_count == 83


def cached(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


def test_a_store_that_ends_with_its_process_leaves_no_cache(learner, store, tmp_path):
    saved(store, told(), "a")
    learner().load()
    assert cached(tmp_path) == []


def test_each_store_has_its_own_cache(tmp_path):
    stores = Kept("first"), Kept("second")
    for store, count in zip(stores, (12, 15), strict=True):
        saved(store, told(count=count), "a")
        Learner(store, tmp_path, pytest.fail).load()
    assert len(cached(tmp_path)) == 4
    for store, count in zip(stores, (12, 15), strict=True):
        again = Learner(store, tmp_path, pytest.fail)
        assert again.load().new_records == count
        _, cursor = store.read()
        assert store.read(cursor)[0] == []


@pytest.mark.parametrize("kept", ['{"cursor": "one of MLflow\'s"}', '{"cursor": 1}', "{", "[]"])
def test_a_cursor_that_cannot_be_read_means_reading_anew(tmp_path, kept):
    store = Kept("first")
    saved(store, told(), "a")
    Learner(store, tmp_path, pytest.fail).load()
    (cursor_file,) = tmp_path.glob("*.json")
    good = cursor_file.read_text()
    cursor_file.write_text(kept)
    one = Learner(store, tmp_path, pytest.fail)
    with pytest.warns(UserWarning, match="read anew"):
        assert one.load().new_records == 20
    assert cursor_file.read_text() == good  # mended


def test_a_store_that_is_away_leaves_what_is_kept(tmp_path):
    class Away(Kept):
        def read(self, cursor=None, limit=None):
            raise HistoryError("nobody answers")

    store = Kept("first")
    saved(store, told(), "a")
    Learner(store, tmp_path, pytest.fail).load()
    said = []
    one = Learner(Away("first"), tmp_path, said.append)
    assert one.load().new_records == 20
    assert "nobody answers" in said[0]


@pytest.mark.slow
def test_a_client_with_its_own_history_leaves_the_default_stores_cache_alone(tmp_path):
    """Two clients on one history in memory: its cursor got into the cache of the MLflow store."""
    history = MemoryHistory()
    sweep = Sweep({"lr": LogisticRegression()}, *load_iris(return_X_y=True), cv=2, refit=False)
    with Client(home=tmp_path, history=history) as client:
        client.submit(sweep).wait()
        assert client.flush()
    for _ in range(2):
        with Client(home=tmp_path, history=history) as client:
            client.estimate(sweep)  # waits for the history
            assert client.learn() == 2
            assert client.troubles == ()
    assert not (tmp_path / "records").exists()
    assert not (tmp_path / "outbox").exists()
