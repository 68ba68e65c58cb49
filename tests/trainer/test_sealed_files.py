"""The format of sealed files; datasets in it are tested with sealing."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitcast.errors import SealError
from fitcast.trainer.sealed_files import Kind, SealedFile, new_header, new_key, sealed

pytestmark = pytest.mark.security

KEY = new_key()
ONE, OTHER = Kind("one", "one thing", "Ask again"), Kind("other", "other thing", "Ask again")


def written(content, segment_bytes=64, kind=ONE, **changes):
    header = new_header(
        kind,
        KEY,
        **{
            "workflow_id": "w",
            "content_id": "c",
            "plaintext_bytes": len(content),
            "segment_bytes": segment_bytes,
        }
        | changes,
    )
    return b"".join(sealed(header, KEY, [content]))


def opened(data, kind=ONE, content_id="c", workflow_id="w"):
    read = io.BytesIO(data).read
    file = SealedFile(read, KEY, kind=kind, content_id=content_id, workflow_id=workflow_id, uri="u")
    return file, read


def reader(data):
    return lambda at, wanted: data[at : at + wanted]


@settings(deadline=None)
@given(st.data(), st.binary(max_size=500), st.sampled_from([1, 7, 64, 1000]))
def test_any_part_is_what_was_sealed(data, content, segment_bytes):
    file, read = opened(raw := written(content, segment_bytes))
    assert b"".join(file.rest(read)) == content
    assert file.file_bytes == len(raw)
    at = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, len(content) - at))
    assert file.part(reader(raw), at, length) == content[at : at + length]


@pytest.mark.parametrize(("at", "length"), [(-1, 2), (0, 301), (301, 0), (299, 2), (5, -1)])
def test_a_part_that_is_not_there(at, length):
    file, _ = opened(raw := written(bytes(300)))
    with pytest.raises(SealError, match="has no"):
        file.part(reader(raw), at, length)


def test_a_part_reads_only_its_segments():
    file, _ = opened(raw := written(bytes(range(200))))
    body = len(raw) - 200 - 4 * 16
    assert file.file_bytes == len(raw)
    spoiled = bytearray(raw)
    spoiled[body] ^= 1  # in the first segment
    assert file.part(reader(bytes(spoiled)), 64, 100) == bytes(range(64, 164))
    with pytest.raises(SealError, match="segment 1 of 4 was altered"):
        file.part(reader(bytes(spoiled)), 63, 2)
    with pytest.raises(SealError, match="truncated"):
        file.part(reader(raw[:-1]), 199, 1)


def test_no_file_stands_in_for_another():
    raw = written(b"content")
    with pytest.raises(SealError, match="it holds 'one', not 'other'"):
        opened(raw, OTHER)
    with pytest.raises(SealError, match="'c' of workflow 'w', not 'd': it was swapped"):
        opened(raw, content_id="d")
    with pytest.raises(SealError, match="not 'c' of workflow 'v': it was swapped"):
        opened(raw, workflow_id="v")
    # Whoever says so in the header is found out by its tag, and by the key derived for the kind
    for old, new in ((b'"one"', b'"two"'), (b'"c"', b'"d"'), (b'"w"', b'"v"')):
        with pytest.raises(SealError, match="header was altered"):
            kind = Kind("two", "two", "") if new == b'"two"' else ONE
            opened(
                raw.replace(old, new, 1),
                kind,
                "d" if new == b'"d"' else "c",
                "v" if new == b'"v"' else "w",
            )


def test_other_formats_are_named():
    raw = written(b"content").replace(b'"format":2', b'"format":9')
    with pytest.raises(SealError, match="format 9 is not one this version reads"):
        opened(raw)


def test_too_many_segments():
    with pytest.raises(SealError, match="too large for segments of 1 bytes"):
        written(b"", 1, plaintext_bytes=2**33)
