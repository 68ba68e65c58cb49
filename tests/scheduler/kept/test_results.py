"""What every place for results has to do, on a folder of this machine and in an object store."""

import os
import stat
from dataclasses import fields, replace
from uuid import uuid4

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from fitcast.errors import InvalidSweepError, SealError, StoreError
from fitcast.history.records import SCHEMA_VERSION
from fitcast.scheduler.kept import layout
from fitcast.scheduler.kept.results import ResultStore
from fitcast.trainer.attempt.spec import Measured
from fitcast.trainer.sealing import new_key
from tests.scheduler.kept.keeping import (
    any_ended,
    as_stored,
    ended,
    numbers_of,
    same_array,
    without_parts,
)

KEY = new_key()


@pytest.fixture(params=["local", "file", "memory"])
def uri(request, tmp_path):
    folder = {
        "local": str(tmp_path / "w1"),
        "file": f"file://{tmp_path}/w1",
        "memory": f"memory://fitcast-{uuid4().hex}/w1",
    }
    yield folder[request.param]
    filesystem, path = fsspec.core.url_to_fs(folder[request.param])
    if filesystem.exists(path):
        filesystem.rm(path, recursive=True)


def store_at(uri, workflow_id="w1", key=KEY):
    return ResultStore(uri, key, workflow_id)


def files_of(store):
    """Return what lies in a store's folder, by name."""
    filesystem, path = fsspec.core.url_to_fs(store.uri)
    paths = filesystem.ls(path, detail=False) if filesystem.exists(path) else []
    return {each.rpartition("/")[2]: filesystem.cat_file(each) for each in sorted(paths)}


def write(store, name, data):
    filesystem, path = fsspec.core.url_to_fs(store.uri)
    filesystem.pipe_file(f"{path}/{name}", data)


def test_nothing_is_there_before_the_first_commit(uri):
    store = store_at(uri)
    assert store.load() == ([], [])
    assert store.commit([]) == []
    assert files_of(store) == {}
    store.remove()


def test_what_was_committed_is_there_in_its_order(uri):
    store = store_at(uri)
    kept = store.commit([ended(3), ended(1)]) + store.commit([ended(2, rows=0, model=b"m" * 9)])
    assert numbers_of(kept) == [3, 1, 2]
    found, messages = store_at(uri).load()
    assert (found, messages) == (kept, [])
    assert store.predictions(found[1].predictions).tolist() == [1.0] * 10
    assert found[2].predictions is None
    assert store.model(found[2].model) == b"m" * 9
    assert found[0].measured.predictions is None
    assert len(files_of(store)) == 2


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(any_ended)
def test_whatever_an_attempt_gave_comes_back_exactly(uri, attempts):
    store = store_at(uri)
    try:
        store.commit(attempts)
        kept, messages = store_at(uri).load()
        assert messages == []
        assert [one.fit_id for one in kept] == [one.fit_id for one in attempts]
        for one, back in zip(attempts, kept, strict=True):
            assert back.record == as_stored(one.record)
            assert repr(back.measured) == repr(without_parts(one.measured))  # NaN too
            array = None if back.predictions is None else store.predictions(back.predictions)
            assert same_array(array, one.measured.predictions)
            model = None if back.model is None else store.model(back.model)
            assert model == one.measured.model
    finally:
        store.remove()


def test_every_field_of_what_was_measured_is_kept():
    assert {*layout._READERS, "predictions", "model"} == {field.name for field in fields(Measured)}


def test_predictions_may_be_written_to(uri):
    store = store_at(uri)
    (kept,) = store.commit([ended(1)])
    store.predictions(kept.predictions)[:] = 7.0
    assert store.predictions(kept.predictions).tolist() == [1.0] * 10


def test_predictions_that_are_not_plain_keep_nothing(uri):
    store = store_at(uri)
    odd = np.zeros(3, dtype=[("a", float)])
    with pytest.raises(InvalidSweepError, match="columns of a record"):
        store.commit([ended(1), ended(2, predictions=odd)])
    assert files_of(store) == {}


def test_two_stores_of_one_workflow_see_each_others_commits(uri):
    one, other = store_at(uri), store_at(uri)
    one.commit([ended(0)])
    other.load()
    for number in range(1, 7):
        (one if number % 2 else other).commit([ended(number)])
    found, messages = one.load()
    assert sorted(numbers_of(found)) == list(range(7))
    assert messages == []
    one.commit([ended(7)])
    assert numbers_of(store_at(uri).load()[0])[-1] == 7


def test_a_commit_that_was_repeated_counts_once(uri):
    store = store_at(uri)
    store.commit([ended(0), ended(1)])
    store.commit([ended(1), ended(2)])
    assert numbers_of(store.load()[0]) == [0, 1, 2]


def test_removed_results_are_gone_and_new_ones_can_be_kept(uri):
    store = store_at(uri)
    (kept,) = store.commit([ended(0)])
    store.remove()
    assert store.load() == ([], [])
    with pytest.raises(StoreError, match="can't be read any more"):
        store.predictions(kept.predictions)
    store.commit([ended(1)])
    assert numbers_of(store.load()[0]) == [1]


def test_only_what_is_asked_for_is_read(uri):
    store = store_at(uri)
    store.commit([ended(number, rows=100_000) for number in range(4)])
    kept, _ = store.load()
    ((name, data),) = files_of(store).items()
    middle = len(data) // 2 + 150_000  # the segments of the third fit
    write(store, name, data[:middle] + b"\0" * 1000 + data[middle + 1000 :])
    assert store.predictions(kept[1].predictions)[-1] == 1.0
    assert store.predictions(kept[3].predictions)[-1] == 3.0
    with pytest.raises(SealError, match="was altered"):
        store.predictions(kept[2].predictions)


def test_many_heads_and_long_texts_are_read(uri):
    store = store_at(uri)
    attempts = [ended(number, stdout="line\n" * 20_000) for number in range(20)]
    store.commit(attempts)
    found, _ = store.load()
    assert [one.measured.stdout for one in found] == [one.measured.stdout for one in attempts]
    assert store.predictions(found[19].predictions).tolist() == [19.0] * 10


def test_files_of_newer_versions_are_set_aside_and_named(uri, monkeypatch):
    store = store_at(uri)
    store.commit([ended(0)])
    monkeypatch.setattr(layout, "LAYOUT_VERSION", layout.LAYOUT_VERSION + 1)
    store.commit([ended(1)])
    monkeypatch.undo()
    of_later = ended(2)
    newer = replace(of_later.record, schema_version=SCHEMA_VERSION + 1)
    store.commit([replace(of_later, record=newer)])
    store.commit([ended(3)])
    found, messages = store.load()
    assert numbers_of(found) == [0, 3]
    assert len(messages) == 2
    assert all("a newer fitcast wrote" in text and "upgrade" in text for text in messages)
    assert sum(name.endswith(".sealed.damaged") for name in files_of(store)) == 2
    assert store.load() == (found, [])  # told once


def test_what_was_set_aside_is_read_again_by_its_name(uri):
    store = store_at(uri)
    store.commit([ended(0)])
    assert store_at(uri, key=new_key()).load()[0] == []
    ((name, data),) = files_of(store).items()
    write(store, name.removesuffix(".damaged"), data)
    assert numbers_of(store.load()[0]) == [0]


def test_who_only_looks_changes_nothing(uri):
    store = store_at(uri)
    store.commit([ended(1)])
    (name,) = files_of(store)
    write(store, f"00000002-{'0' * 16}.sealed", files_of(store)[name][:-1])
    if not uri.startswith("memory"):
        write(store, f"00000003-{'0' * 16}.sealed.partial", b"just being written")
    before = files_of(store)
    attempts, messages = store_at(uri).load(tidy=False)
    assert numbers_of(attempts) == [1]
    assert len(messages) == 1
    assert files_of(store) == before


def test_foreign_files_are_left_alone(uri):
    store = store_at(uri)
    store.commit([ended(0)])
    write(store, "notes.txt", b"mine")
    assert numbers_of(store.load()[0]) == [0]
    assert files_of(store)["notes.txt"] == b"mine"


def test_parts_of_elsewhere_are_refused(uri):
    store = store_at(uri)
    (kept,) = store.commit([ended(0)])
    for file in ("../secret", "0", "00000001-0000000000000000.sealed"):
        with pytest.raises(StoreError, match=r"no results file|can't be read any more"):
            store.predictions(replace(kept.predictions, file=file))
    with pytest.raises(SealError, match="has no"):
        store.predictions(replace(kept.predictions, length=10**9))
    with pytest.raises(SealError, match="another length"):
        store.predictions(replace(kept.predictions, length=kept.predictions.length - 8))


class Breaks:
    """A place that was lost when a file was to be read, and is there again later."""

    def __init__(self, place, at):
        self._place = place
        self._left = at

    def __getattr__(self, name):
        return getattr(self._place, name)

    def opened(self, name):
        self._left -= 1
        if self._left == 0:
            raise StoreError("lost")
        return self._place.opened(name)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_was_read_before_the_place_was_lost_is_not_forgotten(tmp_path, at):
    store = store_at(str(tmp_path / "w1"))
    for number in range(3):
        store.commit([ended(number)])
    broken = store_at(str(tmp_path / "w1"))
    broken._place = Breaks(broken._place, at)
    with pytest.raises(StoreError, match="lost"):
        broken.load_new()
    assert numbers_of(broken.load_new()[0]) == [0, 1, 2]
    assert broken.load_new() == ([], [])


def test_an_address_that_nothing_answers_to():
    with pytest.raises(StoreError, match="results can't be kept in 'nowhere://x/results'"):
        store_at("nowhere://x")


def test_a_key_of_another_length(tmp_path):
    with pytest.raises(SealError, match="32 bytes"):
        store_at(tmp_path, key=b"short").commit([ended(0)])


@pytest.mark.security
class TestOnThisMachine:
    """What a folder of this machine has to do beyond."""

    def test_files_and_folders_are_for_their_owner_alone(self, tmp_path):
        store = store_at(tmp_path / "home" / "w1")
        store.commit([ended(0)])
        (file,) = (tmp_path / "home" / "w1" / "results").iterdir()
        for path, mode in ((file, 0o600), (file.parent, 0o700), (file.parents[1], 0o700)):
            assert stat.S_IMODE(path.stat().st_mode) == mode

    def test_no_link_is_followed(self, tmp_path):
        store = store_at(tmp_path / "w1")
        store.commit([ended(0)])
        folder = tmp_path / "w1" / "results"
        (file,) = folder.iterdir()
        moved = file.rename(tmp_path / file.name)
        file.symlink_to(moved)
        found, (message,) = store.load()
        assert found == []
        assert "set aside" in message
        assert moved.exists()
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StoreError, match="can't be read"):
            store.load()
        with pytest.raises(StoreError, match="can't be kept"):
            store.commit([ended(1)])

    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
    def test_what_is_no_file_is_set_aside_and_not_waited_for(self, tmp_path, make):
        store = store_at(tmp_path / "w1")
        store.commit([ended(0)])
        make(tmp_path / "w1" / "results" / f"00000002-{'0' * 16}.sealed")
        found, messages = store.load()
        assert numbers_of(found) == [0]
        assert len(messages) == 1
        assert store.load() == (found, [])

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "w1").write_bytes(b"in the way")
        store = store_at(tmp_path / "w1")
        with pytest.raises(StoreError, match=r"results can't be kept: .*Not a directory"):
            store.commit([ended(0)])
        (tmp_path / "w1").unlink()
        store.commit([ended(0)])
        assert numbers_of(store.load()[0]) == [0]

    def test_what_is_being_written_is_left_alone(self, tmp_path):
        store, other = store_at(tmp_path / "w1"), store_at(tmp_path / "w1")
        store.commit([ended(0)])
        left = tmp_path / "w1" / "results" / f"00000009-{'0' * 16}.sealed.partial"
        left.write_bytes(b"half")
        seen = []

        def chunks():
            yield b"some"
            other.load()
            seen.extend(path.name for path in left.parent.iterdir())
            yield b"more"

        store._place.write("being-written", chunks())
        assert "being-written.partial" in seen
        assert left.name not in seen
        assert (left.parent / "being-written").read_bytes() == b"somemore"
