"""Ways to alter a sealed file, drawn from a seed."""

import json
import random
import struct
from collections.abc import Callable

_MAGIC_AND_LENGTH = 12
_TAG = 16
_VALUES = (0, -1, 1, 2**31, 2**63, 1.5, True, None, "", "x", [], {}, [[[]]], "00" * 16, 1e308)


def altered(data: bytes, segment: int, seed: int) -> bytes:
    """Return the file `data` in another state; `segment` is its segments' size, tag included."""
    rng = random.Random(seed)
    way = _WAYS[seed % len(_WAYS)]
    changed = way(data, segment, rng)
    return changed if changed != data else _flip(data, segment, rng)


def _flip(data: bytes, segment: int, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _overwrite(data: bytes, segment: int, rng: random.Random) -> bytes:
    at, n = rng.randrange(len(data)), rng.randint(1, 64)
    return data[:at] + rng.randbytes(n) + data[at + n :]


def _truncate(data: bytes, segment: int, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _append(data: bytes, segment: int, rng: random.Random) -> bytes:
    return data + rng.randbytes(rng.choice((1, _TAG, segment)))


def _cut_out(data: bytes, segment: int, rng: random.Random) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, _TAG, segment)) :]


def _swap_segments(data: bytes, segment: int, rng: random.Random) -> bytes:
    head, rest = data[: _body_at(data)], data[_body_at(data) :]
    parts = [rest[i : i + segment] for i in range(0, len(rest), segment)]
    one, other = rng.sample(range(len(parts)), 2)
    parts[one], parts[other] = parts[other], parts[one]
    return head + b"".join(parts)


def _repeat_segment(data: bytes, segment: int, rng: random.Random) -> bytes:
    at = _body_at(data) + segment * rng.randrange(3)
    return data[: at + segment] + data[at:]


def _other_header(data: bytes, segment: int, rng: random.Random) -> bytes:
    header = _header(data)
    header[rng.choice(sorted(header))] = rng.choice(_VALUES)
    return _with_header(data, json.dumps(header).encode())


def _header_without(data: bytes, segment: int, rng: random.Random) -> bytes:
    header = _header(data)
    if rng.random() < 0.5:
        del header[rng.choice(sorted(header))]
    else:
        header["more"] = rng.choice(_VALUES)
    return _with_header(data, json.dumps(header).encode())


def _header_no_json(data: bytes, segment: int, rng: random.Random) -> bytes:
    choices = (b"", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", rng.randbytes(200))
    return _with_header(data, rng.choice(choices))


def _header_written_otherwise(data: bytes, segment: int, rng: random.Random) -> bytes:
    return _with_header(data, json.dumps(_header(data), indent=rng.randint(1, 4)).encode())


def _other_length(data: bytes, segment: int, rng: random.Random) -> bytes:
    length = struct.pack("<I", rng.choice((0, 1, 2**16, 2**31, 2**32 - 1)))
    return data[:8] + length + data[12:]


_WAYS: tuple[Callable[[bytes, int, random.Random], bytes], ...] = (
    _flip,
    _overwrite,
    _truncate,
    _append,
    _cut_out,
    _swap_segments,
    _repeat_segment,
    _other_header,
    _header_without,
    _header_no_json,
    _header_written_otherwise,
    _other_length,
)


def _header_bytes(data: bytes) -> int:
    (length,) = struct.unpack("<I", data[8:_MAGIC_AND_LENGTH])
    return int(length)


def _body_at(data: bytes) -> int:
    return _MAGIC_AND_LENGTH + _header_bytes(data) + _TAG


def _header(data: bytes) -> dict[str, object]:
    body = data[_MAGIC_AND_LENGTH : _MAGIC_AND_LENGTH + _header_bytes(data)]
    header: dict[str, object] = json.loads(body)
    return header


def _with_header(data: bytes, header: bytes) -> bytes:
    rest = data[_MAGIC_AND_LENGTH + _header_bytes(data) :]
    return data[:8] + struct.pack("<I", len(header)) + header + rest
