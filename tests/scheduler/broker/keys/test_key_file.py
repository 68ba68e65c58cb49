"""The file of key-encryption keys: who may read it, how it is replaced, what is told of it."""

import json
import os
import threading

import pytest

from fitcast.errors import KeyEncryptionError
from fitcast.scheduler.broker.keys import KeyFile, key_context

CONTEXT = key_context(1, "w", "d" * 64)
KEY = bytes(range(32))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "keys.json"


def test_it_is_made_for_its_owner_alone(path):
    before = os.umask(0)
    try:
        KeyFile(path).rotate()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert json.loads(path.read_text())["current"] == "2"


def test_it_is_made_once(path):
    wrapped, version = KeyFile(path).wrap(KEY, CONTEXT)
    assert KeyFile(path).unwrap(wrapped, version, CONTEXT) == KEY


def test_many_who_make_it_at_once_have_the_same(path):
    made = []
    threads = [threading.Thread(target=lambda: made.append(KeyFile(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wrapped, version = made[0].wrap(KEY, CONTEXT)
    assert {keys.unwrap(wrapped, version, CONTEXT) for keys in made} == {KEY}
    assert list(path.parent.iterdir()) == [path]


def test_rotations_at_once_lose_no_version(path):
    keys = KeyFile(path)
    wrapped, version = keys.wrap(KEY, CONTEXT)
    threads = [threading.Thread(target=KeyFile(path).rotate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(json.loads(path.read_text())["keys"], key=int) == list("1234567")
    assert keys.unwrap(wrapped, version, CONTEXT) == KEY
    assert keys.wrap(KEY, CONTEXT)[1] == "7"  # by another's rotation


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o620])
def test_one_that_others_may_use_is_refused(path, mode):
    keys = KeyFile(path)
    path.chmod(mode)
    for use in (lambda: KeyFile(path), lambda: keys.wrap(KEY, CONTEXT), keys.rotate):
        with pytest.raises(KeyEncryptionError, match="chmod 600"):
            use()


def test_a_link_is_refused(path, tmp_path):
    KeyFile(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(KeyEncryptionError, match="no link"):
        KeyFile(link)
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nothing")
    with pytest.raises(KeyEncryptionError, match="no link"):
        KeyFile(dangling)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(KeyEncryptionError):
        KeyFile(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyEncryptionError, match="no file"):
        KeyFile(tmp_path / "pipe")


def test_anothers_file_is_refused(path):
    KeyFile(path)
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, 65534)
    with pytest.raises(KeyEncryptionError, match="no file of this user's"):
        KeyFile(path)


SECRET = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlYw=="


@pytest.mark.parametrize(
    "told",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"format": 2, "current": "1", "keys": {"1": "SECRET"}}',
        '{"format": 1, "current": "2", "keys": {"1": "SECRET"}}',
        '{"format": 1, "current": "1", "keys": {"1": "c2VjcmV0IHNlY3JldCBz"}}',
        '{"format": 1, "current": "x", "keys": {"x": "SECRET"}}',
        '{"format": 1, "current": "1", "keys": {"1": "SECRET"}',
    ],
)
def test_a_damaged_one_is_told_and_nothing_of_it(path, told):
    keys = KeyFile(path)
    path.write_text(told.replace("SECRET", SECRET))
    with pytest.raises(KeyEncryptionError, match="put back a copy of it") as caught:
        keys.wrap(KEY, CONTEXT)
    assert SECRET[:10] not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_version_that_is_gone_is_told(path):
    keys = KeyFile(path)
    wrapped, version = keys.wrap(KEY, CONTEXT)
    with pytest.raises(KeyEncryptionError, match="current one"):
        keys.drop("1")
    keys.rotate()
    keys.drop("1")
    with pytest.raises(KeyEncryptionError, match="put back a copy"):
        keys.unwrap(wrapped, version, CONTEXT)
    with pytest.raises(KeyEncryptionError):
        keys.drop("1")


def test_a_folder_that_cant_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(KeyEncryptionError, match="can't be used"):
        KeyFile(tmp_path / "file" / "keys.json")
    keys = KeyFile(tmp_path / "keys.json")
    (tmp_path / "keys.json").unlink()
    for use in (lambda: keys.wrap(KEY, CONTEXT), keys.rotate):
        with pytest.raises(KeyEncryptionError, match="can't be used"):
            use()
