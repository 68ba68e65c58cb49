import io
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fitcast.errors import SealError
from fitcast.trainer.sealing import new_key, remove, seal, unseal_into, verify
from fitcast.trainer.shared_memory import map_object, new_block, write_all
from fitcast.trainer.sweep.datasets import DatasetContent

pytestmark = pytest.mark.security

SEGMENT = 1024
TAG = 16
CONTENT = {"X": np.arange(1000.0), "y": np.arange(1000) % 3, "note": "x" * 300}


@pytest.fixture
def key():
    return new_key()


@pytest.fixture
def sealed(tmp_path, key):
    uri = str(tmp_path / "data.sealed")
    return seal(CONTENT, uri, key, workflow_id="w1", segment_bytes=SEGMENT)


def opened(sealed, key):
    plain = io.BytesIO()
    unseal_into(sealed.uri, key, dataset_id=sealed.dataset_id, sink=plain)
    fd = new_block("test")
    write_all(fd, plain.getvalue())
    return map_object(fd)


def head_bytes(data):
    (length,) = struct.unpack("<I", data[8:12])
    return 12 + length + TAG


def parts(sealed):
    """The file as head and segments."""
    data = Path(sealed.uri).read_bytes()
    at = head_bytes(data)
    step = SEGMENT + TAG
    return data[:at], [data[i : i + step] for i in range(at, len(data), step)]


def rewrite(sealed, head, segments):
    Path(sealed.uri).write_bytes(head + b"".join(segments))


def refused(sealed, key, match, dataset_id=None):
    with pytest.raises(SealError, match=match):
        verify(sealed.uri, key, dataset_id=dataset_id or sealed.dataset_id)
    with pytest.raises(SealError, match=match):
        unseal_into(sealed.uri, key, dataset_id=dataset_id or sealed.dataset_id, sink=io.BytesIO())


def test_it_opens_what_it_sealed(sealed, key):
    verify(sealed.uri, key, dataset_id=sealed.dataset_id)
    back = opened(sealed, key)
    assert back["note"] == CONTENT["note"]
    assert np.array_equal(back["X"], CONTENT["X"])
    assert sealed.sealed_bytes == Path(sealed.uri).stat().st_size
    assert sealed.plaintext_bytes < sealed.sealed_bytes


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 4000), max_size=5), st.sampled_from([64, 1000, 4096, 2**20]))
def test_any_sizes_of_arrays_and_segments(tmp_path, sizes, segment_bytes):
    key = new_key()
    content = [np.arange(n, dtype=np.uint8) for n in sizes]
    uri = str(tmp_path / "any")
    sealed = seal(content, uri, key, workflow_id="w", segment_bytes=segment_bytes)
    back = opened(sealed, key)
    assert all(np.array_equal(a, b) for a, b in zip(content, back, strict=True))


def test_no_plaintext_in_the_file(tmp_path, key):
    secret = b"a most recognisable secret"
    uri = str(tmp_path / "s")
    seal({"a": secret, "b": np.frombuffer(secret * 1000, np.uint8)}, uri, key, workflow_id="w")
    data = Path(uri).read_bytes()
    assert secret not in data
    assert key not in data
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_the_same_content_twice_shares_no_bytes(tmp_path, key):
    files = [seal(CONTENT, str(tmp_path / n), key, workflow_id="w") for n in "ab"]
    bodies = [Path(f.uri).read_bytes() for f in files]
    bodies = [b[head_bytes(b) :] for b in bodies]
    assert len(bodies[0]) == len(bodies[1])
    assert bodies[0][:64] != bodies[1][:64]
    assert files[0].dataset_id != files[1].dataset_id


def test_wrong_key(sealed):
    refused(sealed, new_key(), "another key")


def test_short_key(tmp_path):
    with pytest.raises(SealError, match="32 bytes"):
        seal(CONTENT, str(tmp_path / "x"), b"short", workflow_id="w")


def test_truncated_at_a_segment(sealed, key):
    head, segments = parts(sealed)
    assert len(segments) > 5
    rewrite(sealed, head, segments[:-1])
    refused(sealed, key, "truncated")


@pytest.mark.parametrize("kept", [0, 5, 11, 40, 200, 2000, -1])
def test_truncated_anywhere(sealed, key, kept):
    data = Path(sealed.uri).read_bytes()
    Path(sealed.uri).write_bytes(data[:kept])
    refused(sealed, key, "truncated|no sealed dataset|header was altered")


def test_last_segment_missing_with_header_made_to_fit(sealed, key):
    head, segments = parts(sealed)
    body = json.loads(head[12:-TAG])
    body["plaintext_bytes"] = SEGMENT * (len(segments) - 1)
    text = json.dumps(body, separators=(",", ":")).encode()
    forged = head[:8] + struct.pack("<I", len(text)) + text + head[-TAG:]
    rewrite(sealed, forged, segments[:-1])
    refused(sealed, key, "header was altered")


def test_reordered(sealed, key):
    head, segments = parts(sealed)
    segments[1], segments[2] = segments[2], segments[1]
    rewrite(sealed, head, segments)
    refused(sealed, key, "reordered: segment 3 stands in the place of segment 2")


def test_segment_doubled(sealed, key):
    head, segments = parts(sealed)
    rewrite(sealed, head, [segments[0], segments[0], *segments[2:]])
    refused(sealed, key, "reordered: segment 1")


@pytest.mark.parametrize("more", [b"\0", b"x" * (SEGMENT + TAG)])
def test_appended(sealed, key, more):
    with open(sealed.uri, "ab") as file:
        file.write(more)
    refused(sealed, key, "appended")


def test_swapped_for_another_workflows_file(tmp_path, sealed, key):
    other_key = new_key()
    other = seal(CONTENT, str(tmp_path / "o"), other_key, workflow_id="w2", segment_bytes=SEGMENT)
    Path(sealed.uri).write_bytes(Path(other.uri).read_bytes())
    refused(sealed, key, "of workflow 'w2', not .* swapped")


def test_swapped_for_another_dataset_under_the_same_key(tmp_path, sealed, key):
    other = seal(CONTENT, str(tmp_path / "o"), key, workflow_id="w1", segment_bytes=SEGMENT)
    Path(sealed.uri).write_bytes(Path(other.uri).read_bytes())
    refused(sealed, key, "swapped")


def test_a_segment_of_another_dataset_under_the_same_key(tmp_path, sealed, key):
    other = seal(CONTENT, str(tmp_path / "o"), key, workflow_id="w1", segment_bytes=SEGMENT)
    head, segments = parts(sealed)
    segments[1] = parts(other)[1][1]
    rewrite(sealed, head, segments)
    refused(sealed, key, "segment 2 of .* altered")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_bit(sealed, key, data):
    good = Path(sealed.uri).read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    bit = data.draw(st.integers(0, 7))
    bad = bytearray(good)
    bad[at] ^= 1 << bit
    Path(sealed.uri).write_bytes(bad)
    try:
        with pytest.raises(SealError):
            verify(sealed.uri, key, dataset_id=sealed.dataset_id)
    finally:
        Path(sealed.uri).write_bytes(good)


def test_no_unverified_plaintext_is_handed_over(sealed, key):
    head, segments = parts(sealed)
    flipped = bytearray(segments[3])
    flipped[10] ^= 1
    rewrite(sealed, head, [*segments[:3], bytes(flipped), *segments[4:]])
    sink = io.BytesIO()
    with pytest.raises(SealError, match="segment 4 of"):
        unseal_into(sealed.uri, key, dataset_id=sealed.dataset_id, sink=sink)
    assert len(sink.getvalue()) == 3 * SEGMENT


def test_missing_file_and_folder(sealed, key):
    remove(sealed.uri)
    refused(sealed, key, "can't be read")
    remove(sealed.uri)  # gone already: fine
    with pytest.raises(SealError, match="can't be written"):
        seal(CONTENT, "/proc/nowhere/x", key, workflow_id="w")


def test_through_another_filesystem(key):
    uri = "memory://fitcast-test/data.sealed"
    sealed = seal(CONTENT, uri, key, workflow_id="w")
    assert np.array_equal(opened(sealed, key)["X"], CONTENT["X"])
    remove(uri)
    assert not fsspec.filesystem("memory").exists("/fitcast-test/data.sealed")


class Refuses:
    """Raises what it is told when it is pickled."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


def deep():
    nested = []
    for _ in range(100_000):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (threading.Lock(), "TypeError: cannot pickle '_thread.lock' object"),
        ((i for i in range(3)), "TypeError: cannot pickle 'generator' object"),
        (Refuses(ValueError("I stay here")), "ValueError: I stay here"),
        (Refuses(AssertionError()), r"\(AssertionError\)"),
        (deep(), "recursion"),
    ],
)
def test_what_cannot_be_pickled_leaves_no_file(tmp_path, key, odd, said):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": pd.Series([odd, None], dtype=object)})
    for content, what in (
        (odd, "the dataset can't"),
        (DatasetContent(frame, None), "column 'b' of the dataset's X can't"),
        (DatasetContent(frame["a"], frame["b"]), "the dataset's y can't"),
    ):
        with pytest.raises(SealError, match=f"^{what} be serialised .*{said}"):
            seal(content, str(tmp_path / "b"), key, workflow_id="w")
        assert list(tmp_path.iterdir()) == []


def test_too_little_memory_to_serialise(tmp_path, key):
    with pytest.raises(SealError, match="isn't enough memory"):
        seal([Refuses(MemoryError())], str(tmp_path / "b"), key, workflow_id="w")
    assert list(tmp_path.iterdir()) == []


def test_too_little_memory_for_real(tmp_path):
    # In a process that may have little more than it has, since a limit can't be lifted for all.
    script = tmp_path / "script.py"
    script.write_text(
        "import resource, sys\n"
        "from fitcast.errors import SealError\n"
        "from fitcast.trainer.sealing import new_key, seal\n"
        "content = ['x' * 2**20 + str(n) for n in range(64)]\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "most = pages * resource.getpagesize() + 32 * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "try:\n"
        "    seal(content, sys.argv[1], new_key(), workflow_id='w')\n"
        "except SealError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "isn't enough memory" in done.stdout
    assert list(tmp_path.iterdir()) == [script]


class Stopped(BaseException):
    """As Ctrl-C."""


def test_a_stop_while_writing_leaves_no_file(tmp_path, key):
    uri = str(tmp_path / "b")
    os.mkfifo(uri)  # whose reader stops reading: then the writer is in the middle
    writer = threading.get_ident()

    def read_a_little():
        fd = os.open(uri, os.O_RDONLY)
        os.read(fd, 1)
        signal.pthread_kill(writer, signal.SIGUSR1)
        stopped.wait(60)
        os.close(fd)

    def stop(*_):
        raise Stopped

    stopped = threading.Event()
    before = signal.signal(signal.SIGUSR1, stop)
    reader = threading.Thread(target=read_a_little)
    reader.start()
    try:
        with pytest.raises(Stopped):
            seal(np.zeros(2**20), uri, key, workflow_id="w")
    finally:
        stopped.set()
        reader.join()
        signal.signal(signal.SIGUSR1, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.security
@pytest.mark.parametrize("read", ["file", "link", "pipe", "folder"])
def test_only_a_regular_file_is_read(sealed, key, tmp_path, read):
    path = Path(sealed.uri)
    moved = path.rename(tmp_path / "moved")
    if read == "file":
        moved.rename(path)
        verify(sealed.uri, key, dataset_id=sealed.dataset_id)
        return
    make = {"link": lambda: path.symlink_to(moved), "pipe": lambda: os.mkfifo(path)}
    make.get(read, path.mkdir)()
    refused(sealed, key, "can't be read|no file stands")  # and isn't waited for


@pytest.mark.security
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"workflow_id":"w","dataset_id":"d","plaintext_bytes":1e999,"segment_bytes":1,"salt":"",'
        b'"key_id":""}',
        b"9" * 60_000,
    ],
    ids=["lists", "objects", "infinite", "digits"],
)
def test_a_header_of_any_json_is_refused(sealed, key, body):
    data = Path(sealed.uri).read_bytes()
    Path(sealed.uri).write_bytes(data[:8] + struct.pack("<I", len(body)) + body)
    refused(sealed, key, "header was altered")
