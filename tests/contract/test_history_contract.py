"""What every history store must do: the same tests for the one in memory and for MLflow."""

import shutil
from dataclasses import replace

import pytest

from fitcast.errors import InvalidCursorError
from fitcast.history.mlflow_store import MlflowHistory
from fitcast.history.records import Outcome
from fitcast.history.store import HistoryStore, MemoryHistory
from tests.history import examples
from tests.marks import slow


@pytest.fixture(params=["memory", "mlflow", *slow("server")])
def store(request, tmp_path) -> HistoryStore:
    if request.param == "memory":
        return MemoryHistory()
    if request.param == "server":  # one for all: each test has an experiment of its own
        return MlflowHistory(request.getfixturevalue("mlflow_server"), f"{request.node.name[:60]}")
    shutil.copy(request.getfixturevalue("empty_database"), tmp_path / "mlflow.db")
    return MlflowHistory(f"sqlite:///{tmp_path}/mlflow.db")


def in_another_process(store):
    """Return the store as another process opens it."""
    if isinstance(store, MemoryHistory):
        return store
    return MlflowHistory(store.tracking_uri, store.experiment)


def by_id(records):
    assert len({r.record_id for r in records}) == len(records)
    return {r.record_id: r for r in records}


def in_portions(store, cursor=None):
    """Read save by save from a cursor on."""
    records = []
    while True:
        more, after = store.read(cursor, limit=1)
        if after == cursor:
            return records
        records += more
        cursor = after


def part_of(whole, stop, state=None):
    end = None if state is None else examples.end(state)
    return replace(whole, records=whole.records[:stop], end=end)


def test_it_is_a_history_store(store):
    assert isinstance(store, HistoryStore)
    store.prepare()
    store.prepare()


def test_its_identity_tells_stores_apart_and_outlives_the_object(store, tmp_path):
    if store.source is None:  # it ends with its process: nothing is kept on disk for it
        assert isinstance(store, MemoryHistory)
        return
    uri = store.tracking_uri
    before = store.source
    store.prepare()
    assert store.source == before == MlflowHistory(uri, store.experiment).source
    assert MlflowHistory(uri, experiment="another").source != before
    assert MlflowHistory(f"sqlite:///{tmp_path}/another.db").source != before


def test_an_empty_history(store):
    records, cursor = store.read()
    assert records == []
    assert store.read(cursor) == ([], cursor)
    assert store.url("nobody") is None


def test_what_was_saved_is_read(store):
    saved = examples.workflow()
    url = store.save(saved)
    assert url
    assert store.url("w1") == url
    records, _ = store.read()
    assert by_id(records) == by_id(saved.records)


def test_a_running_workflow_is_read_only_after_its_end(store):
    whole = examples.workflow()
    url = store.save(replace(whole, records=(), end=None))
    store.save(replace(whole, records=whole.records[:3], end=None))
    assert store.read()[0] == []
    assert store.save(whole) == url
    assert by_id(store.read()[0]) == by_id(whole.records)


def test_saving_again_changes_nothing(store):
    saved = examples.workflow()
    assert store.save(saved) == store.save(saved)
    records, _ = store.read()
    assert len(records) == len(saved.records)


def test_reading_goes_on_where_it_stopped(store):
    store.save(examples.workflow("w1"))
    _, first = store.read()
    store.save(examples.workflow("w2"))
    store.save(examples.workflow("w3"))
    records, second = store.read(first)
    assert [r.workflow_id for r in records if r.fold == 0 and r.candidate_index == 0] == [
        "w2",
        "w3",
    ]
    assert store.read(second) == ([], second)
    assert {r.workflow_id for r in store.read()[0]} == {"w1", "w2", "w3"}


def test_reading_in_portions(store):
    for n in range(5):
        store.save(examples.workflow(f"w{n}", records=[examples.record(f"w{n}")]))
    cursor, portions = None, []
    while True:
        records, after = store.read(cursor, limit=2)
        if after == cursor:
            break
        portions.append([r.workflow_id for r in records])
        cursor = after
    assert portions == [["w0", "w1"], ["w2", "w3"], ["w4"]]


def test_a_workflow_that_ended_late_is_not_missed(store):
    early = examples.workflow("early")
    store.save(replace(early, end=None))
    store.save(examples.workflow("late"))
    _, cursor = store.read()
    store.save(early)  # ended_at lies before the cursor was taken
    assert {r.workflow_id for r in store.read(cursor)[0]} == {"early"}


def test_a_straggler_after_the_end_joins_the_others(store):
    saved = examples.workflow()
    store.save(saved)
    _, cursor = store.read()
    straggler = examples.record(attempt=2, outcome=Outcome.CANCELLED, scores={})
    store.save(replace(saved, records=(straggler,)))
    assert store.read(cursor)[0] == [straggler]
    assert by_id(store.read()[0]) == by_id((*saved.records, straggler))


def test_a_workflow_without_records(store):
    store.save(examples.workflow(records=[]))
    assert store.read()[0] == []


@pytest.mark.parametrize("cursor", ["nonsense", "{}", '{"experiment": 3}'])
def test_a_bad_cursor_is_refused(store, cursor):
    with pytest.raises(InvalidCursorError, match="None to read everything"):
        store.read(cursor)


def test_odd_names_and_values(store):
    odd = replace(
        examples.record(),
        candidate="xgb " + "ü/\\'\"\n" * 200,
        request=replace(
            examples.record().request,
            params={"a//b": 1, "../x": "y" * 9000, "": None, "näme!": float("nan"), "q" * 400: 1}
            | {f"p{i}": i for i in range(250)},
        ),
        scores={"roc auc (ovr)": 0.5, "bad": float("inf"), "score": float("nan")},
    )
    store.save(examples.workflow(records=[odd]))
    (found,) = store.read()[0]
    assert found.candidate == odd.candidate
    assert list(found.request.params) == list(odd.request.params)
    assert found.scores["roc auc (ovr)"] == 0.5


def test_of_a_resumed_workflow_a_reader_gets_what_is_new(store):
    whole = examples.workflow()
    url = store.save(part_of(whole, 3, "interrupted"))
    first, cursor = store.read()
    assert by_id(first) == by_id(whole.records[:3])
    resumed = in_another_process(store)
    assert resumed.save(part_of(whole, 3)) == url  # what is kept is given again
    resumed.save(part_of(whole, 5))
    assert store.read(cursor) == ([], cursor)
    assert by_id(in_another_process(store).read()[0]) == by_id(first)
    assert resumed.save(whole) == url
    second, last = store.read(cursor)
    assert by_id(second) == by_id(whole.records[3:])
    assert store.read(last) == ([], last)
    everything = by_id(whole.records)
    assert by_id(store.read()[0]) == everything
    assert by_id(in_portions(store)) == everything


def test_a_workflow_that_is_interrupted_again_and_again(store):
    whole = examples.workflow()
    other = examples.workflow("w2")
    stages = [
        part_of(whole, 2),  # killed
        part_of(whole, 3, "interrupted"),
        part_of(whole, 3, "interrupted"),  # nothing new
        part_of(whole, 5),  # killed
        part_of(whole, 6, "interrupted"),
        whole,
    ]
    cursor, read, cursors = None, [], [(None, 0)]
    for stage in stages:
        in_another_process(store).save(stage)
        records, cursor = store.read(cursor)
        read += records
        cursors.append((cursor, len(read)))
        if stage is stages[2]:
            store.save(other)
            cursor = store.read(cursor)[1]
    assert by_id(read) == by_id(whole.records)
    for earlier, known in cursors:  # a reader that stopped there, and reads on only now
        found = [r for r in in_portions(store, earlier) if r.workflow_id == "w1"]
        assert by_id(found) == by_id(read[known:])


def test_a_workflow_that_ended_is_not_interrupted_by_who_finds_what_was_left(store):
    whole = examples.workflow()
    unseen = examples.failed(candidate=1, fold=2, attempt=2)
    store.save(whole)
    _, cursor = store.read()
    left = replace(
        part_of(whole, 3, "interrupted"),
        records=(*whole.records[:3], unseen),
        end=replace(examples.end("interrupted"), ended_at=whole.records[2].ended_at),
    )
    in_another_process(store).save(left)
    assert store.read(cursor)[0] == [unseen]
    assert by_id(store.read()[0]) == by_id((*whole.records, unseen))
    if isinstance(store, MemoryHistory):
        assert store.workflow("w1").end == whole.end
