"""Files of results that were altered, moved or exchanged are refused; the others are still read."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from fitcast.errors import SealError
from fitcast.scheduler.kept.results import ResultStore
from fitcast.trainer.sealing import new_key, seal, verify
from tests.scheduler.kept.keeping import ended
from tests.security.alterations import altered

pytestmark = pytest.mark.security

KEY = new_key()
SEGMENT = 2**16 + 16
ROWS = 30_000


def results(folder):
    return Path(folder) / "results"


def store_at(folder, workflow_id="w", key=KEY):
    return ResultStore(str(folder), key, workflow_id)


@pytest.fixture
def kept(tmp_path):
    """A store with three files, and their names in order."""
    store = store_at(tmp_path / "w")
    for number in range(3):
        model = b"a model" if number == 1 else None
        store.commit([ended(number, rows=ROWS if number == 1 else 10, model=model)])
    return store, sorted(path.name for path in results(tmp_path / "w").iterdir())


def read_all(store, kept):
    """Read all that belongs to attempts."""
    for one in kept:
        array = store.predictions(one.predictions)
        assert set(array) == {float(one.record.candidate_index)}
        if one.model is not None:
            assert store.model(one.model) == b"a model"


def refused(store, expected):
    """Check that exactly the expected ones can be read, in whole, and the others not at all."""
    found, messages = store.load()
    good = []
    for one in found:
        try:
            read_all(store, [one])
        except SealError:
            continue
        good.append(one.record.candidate_index)
    assert sorted(good) == expected
    for text in messages:
        assert "can't be used" in text
        assert "have to run again" in text
        assert "set aside as" in text
    return found, messages


def test_hundreds_of_altered_files_are_refused(kept, tmp_path):
    store, names = kept
    path = results(tmp_path / "w") / names[1]
    good = path.read_bytes()
    assert len(good) > 3 * SEGMENT
    noticed_at_once = 0
    for seed in range(400):
        path.write_bytes(altered(good, SEGMENT, seed))
        found, messages = refused(store, [0, 2])
        noticed_at_once += len(messages)
        assert len(found) + len(messages) == 3
        path.with_name(path.name + ".damaged").unlink(missing_ok=True)
    assert noticed_at_once > 200
    path.write_bytes(good)
    refused(store, [0, 1, 2])


def test_every_byte_of_a_small_file_counts(kept, tmp_path):
    store, names = kept
    path = results(tmp_path / "w") / names[0]
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        _, messages = refused(store, [1, 2])
        assert len(messages) == 1
        path.with_name(path.name + ".damaged").unlink()


@pytest.mark.parametrize("size", [0, 1, 11, 12, 300, 1000, -1])
def test_a_file_that_was_cut_is_refused_at_once(kept, tmp_path, size):
    store, names = kept
    path = results(tmp_path / "w") / names[1]
    path.write_bytes(path.read_bytes()[:size])
    _, messages = refused(store, [0, 2])
    assert len(messages) == 1
    assert not path.exists()
    assert path.with_name(path.name + ".damaged").exists()


def test_files_that_were_exchanged(kept, tmp_path):
    store, names = kept
    one, two = (results(tmp_path / "w") / name for name in names[:2])
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    _, messages = refused(store, [2])
    assert all("swapped" in text for text in messages)


@pytest.mark.parametrize("name", ["00000009-{rest}", "00000001-0000000000000000.sealed"])
def test_a_file_under_another_name(kept, tmp_path, name):
    store, names = kept
    path = results(tmp_path / "w") / names[0]
    shutil.copy(path, path.with_name(name.format(rest=names[0][9:])))
    _, (message,) = refused(store, [0, 1, 2])
    assert "swapped" in message
    path.rename(path.with_name(name.format(rest=names[0][9:])))
    refused(store, [1, 2])


@pytest.mark.parametrize("key", [KEY, new_key()], ids=["same key", "own key"])
def test_a_file_of_another_workflow(kept, tmp_path, key):
    store, names = kept
    other = store_at(tmp_path / "v", "v", key)
    other.commit([ended(7)])
    (path,) = results(tmp_path / "v").iterdir()
    shutil.copy(path, results(tmp_path / "w") / path.name)
    shutil.copy(path, results(tmp_path / "w") / names[0])
    _, messages = refused(store, [1, 2])
    assert all("of workflow 'v'" in text for text in messages)
    refused(other, [7])


def test_another_key(kept, tmp_path):
    _, messages = refused(store_at(tmp_path / "w", key=new_key()), [])
    assert len(messages) == 3
    assert all("another key" in text for text in messages)


def test_no_dataset_stands_in_for_results_nor_results_for_a_dataset(kept, tmp_path):
    store, names = kept
    path = results(tmp_path / "w") / names[0]
    with pytest.raises(SealError, match="it holds 'results', not 'dataset'"):
        verify(str(path), KEY, dataset_id=names[0])
    seal({"X": np.arange(3)}, str(path), KEY, workflow_id="w")
    _, (message,) = refused(store, [1, 2])
    assert "it holds 'dataset', not 'results'" in message


def test_predictions_altered_since_are_refused(kept, tmp_path):
    store, names = kept
    found, _ = store.load()
    path = results(tmp_path / "w") / names[1]
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)
    with pytest.raises(SealError, match="was altered"):
        store.model(found[1].model)
    data[SEGMENT + 2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(SealError, match="was altered"):
        store.predictions(found[1].predictions)


def test_nothing_of_results_and_key_can_be_seen_in_the_files(tmp_path):
    store = store_at(tmp_path / "w")
    secret = "canary-3141592653589793"
    number = np.float64(0.12345678901234567)
    one = ended(
        5,
        stdout=secret,
        scores={secret: float(number)},
        predictions=np.full(1000, number),
        model=secret.encode(),
        error_message=secret,
    )
    objects = ended(6, predictions=np.array([secret, None], dtype=object))
    store.commit([one, objects])
    (path,) = results(tmp_path / "w").iterdir()
    data = path.read_bytes()
    plain = (secret, repr(float(number)), "score", "max_depth", "xgboost", one.fit_id)
    for seen in (*(text.encode() for text in plain), number.tobytes(), KEY, KEY.hex().encode()):
        assert seen not in data
    assert secret not in path.name
