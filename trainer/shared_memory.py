"""Blocks of memory that many processes share: anonymous files that never have a name.

In: the layout of an object in a block (pickle protocol 5, large buffers out of band and aligned)
and of bytes attached to it, writing, freezing and mapping blocks. Not in: encryption
(:mod:`fitcast.trainer.sealing`), who holds which block
(:mod:`fitcast.trainer.attempt.split_blocks`, :mod:`fitcast.trainer.attempt.runner`).

A block is mapped privately: a process may write to what it mapped, which copies the pages it
writes and reaches nobody else. Linux only.
"""

import fcntl
import io
import mmap
import os
import pickle
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np

from fitcast.errors import SealError

_MAGIC = b"FITCMEM2"
_HEAD = struct.Struct("<8sQQQ")  # magic, bytes of the pickle, numbers of buffers and attachments
_PLACE = struct.Struct("<QQ")  # offset and bytes of a buffer
_ALIGN = 64  # a cache line; what vectorised code likes
_IN_BAND_BYTES = 1024  # smaller buffers stay in the pickle
_F_ADD_SEALS = getattr(fcntl, "F_ADD_SEALS", 1033)
_ALL_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # no more seals, no shrinking, growing, writing


@dataclass(frozen=True, slots=True)
class Packed:
    """An object ready to be written: a small head and pickle, its buffers, the attachments."""

    total_bytes: int
    _parts: tuple[bytes | memoryview, ...]

    def chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the bytes of the block in order; large buffers without a copy."""
        yield from self._parts


def pack(content: object, attachments: Sequence[bytes] = ()) -> Packed:
    """Prepare an object to be written as a block.

    Parameters
    ----------
    content
        Anything that cloudpickle takes. Buffers are referred to, not copied: don't change them
        before the chunks are written.
    attachments
        Bytes that lie beside it and are read one by one.
    """
    buffers: list[memoryview] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if raw.nbytes < _IN_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=keep_in_band).dump(content)
    body = file.getbuffer()
    beside = [*buffers, *(memoryview(attachment) for attachment in attachments)]
    offset = _aligned(_HEAD.size + _PLACE.size * len(beside) + len(body))
    places = []
    for raw in beside:
        places.append((offset, raw.nbytes))
        offset = _aligned(offset + raw.nbytes)
    head = _HEAD.pack(_MAGIC, len(body), len(buffers), len(attachments))
    head += b"".join(_PLACE.pack(*place) for place in places) + body
    parts: list[bytes | memoryview] = [_padded(head)]
    for raw in beside:
        parts.append(raw)
        parts.append(bytes(_aligned(raw.nbytes) - raw.nbytes))
    return Packed(offset, tuple(part for part in parts if len(part)))


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Leaves the values of masked arrays and other kinds of arrays out of band, too.

    NumPy does so for its plain arrays only; a copy of the others would be made by each fit.
    """

    def reducer_override(self, obj: Any) -> Any:
        kind: Any = type(obj)
        if isinstance(obj, np.ndarray) and kind is not np.ndarray and not obj.dtype.hasobject:
            if kind is np.ma.MaskedArray:
                masked: Any = obj
                parts = np.asarray(masked.data), masked.mask, masked.fill_value, masked.hardmask
                return _masked, parts
            if all(getattr(kind, way) is getattr(np.ndarray, way) for way in _WAYS):
                return _of_kind, (kind, np.asarray(obj), getattr(obj, "__dict__", None))
        return super().reducer_override(obj)


_WAYS = ("__reduce__", "__reduce_ex__", "__setstate__")


def _masked(data: Any, mask: Any, fill_value: Any, hardmask: bool) -> Any:
    return np.ma.MaskedArray(data, mask=mask, fill_value=fill_value, hard_mask=hardmask)


def _of_kind(kind: type, array: Any, attributes: dict[str, Any] | None) -> Any:
    made = array.view(kind)
    if attributes:
        made.__dict__.update(attributes)
    return made


def new_block(name: str) -> int:
    """Return the descriptor of a new, empty block; it goes when its last holder closes it."""
    return os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of the data at the descriptor's position."""
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view[: 1 << 30]) :]


def write_object(fd: int, content: object) -> int:
    """Write an object to a block; return the bytes it takes."""
    packed = pack(content)
    for chunk in packed.chunks():
        write_all(fd, chunk)
    return packed.total_bytes


def freeze(fd: int) -> None:
    """Forbid for good that anyone writes to, shrinks or grows the block."""
    fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)


def map_object(fd: int) -> object:
    """Map a block and rebuild its object; arrays lie in the mapping and may be written to.

    Raises
    ------
    SealError
        The block doesn't hold a whole object.
    """
    body, buffers, _ = _mapped(fd)
    return pickle.loads(body, buffers=buffers)  # noqa: S301


def map_attachment(fd: int, number: int) -> memoryview:
    """Map a block and return what was attached to its object, without rebuilding that.

    Raises
    ------
    SealError
        The block has no such attachment.
    """
    _, _, attachments = _mapped(fd)
    if not 0 <= number < len(attachments):
        raise SealError(
            f"a shared block has {len(attachments)} attachments, no number {number}: open the "
            "dataset again"
        )
    return attachments[number]


def map_attachments(fd: int) -> list[memoryview]:
    """Map a block and return all that was attached to its object, without rebuilding that.

    Raises
    ------
    SealError
        The block doesn't hold a whole object.
    """
    return _mapped(fd)[2]


def _mapped(fd: int) -> tuple[memoryview, list[memoryview], list[memoryview]]:
    """Map a block; return its pickle, the buffers for it, and the attachments."""
    size = os.fstat(fd).st_size
    if size < _HEAD.size:
        raise SealError(f"a shared block of {size} bytes holds no object: open the dataset again")
    mapped = mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    with suppress(OSError, ValueError, AttributeError):
        mapped.madvise(mmap.MADV_DONTDUMP)  # a core dump would put the data on a disk
    view = memoryview(mapped)
    magic, body_bytes, buffers, attachments = _HEAD.unpack_from(view)
    count = buffers + attachments
    body_at = _HEAD.size + _PLACE.size * count
    if magic != _MAGIC or body_at + body_bytes > size:
        raise SealError("a shared block is damaged or holds something else: open the dataset again")
    places = [_PLACE.unpack_from(view, _HEAD.size + _PLACE.size * i) for i in range(count)]
    if any(at + length > size for at, length in places):
        raise SealError("a shared block is shorter than its contents: open the dataset again")
    beside = [view[at : at + length] for at, length in places]
    return view[body_at : body_at + body_bytes], beside[:buffers], beside[buffers:]


def _aligned(n: int) -> int:
    return -(-n // _ALIGN) * _ALIGN


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data)), b"\0")
