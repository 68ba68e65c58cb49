"""The format of sealed files: encrypted for one workflow, in segments, each verified by itself.

In: how such a file is put together, its header and its segments, reading it from end to end or a
part of it. The only module of the trainer that imports ``cryptography``. Not in: what is in the
plaintext, and where files lie (:mod:`fitcast.trainer.sealing` for datasets,
:mod:`fitcast.scheduler.kept.results` for results).

File: magic · length of the header · header (JSON) · header's tag · segments, each AES-256-GCM with
its tag. Every file has its own key, derived from the workflow's key, a random salt and the kind of
file. A segment's nonce is its number and whether it is the last; the whole header (kind, workflow,
name of the content, sizes) is authenticated with each, so segments can't be cut off, added,
reordered or moved between files, and no file stands in for another.
"""

import hashlib
import json
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fitcast.errors import SealError

_MAGIC = b"FITCSEAL"
_FORMAT = 2
_TAG_BYTES = 16
_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 65_536
_HEADER_COUNTER = 2**32 - 1  # the nonce that only the header's own tag uses
_TELLING_TRIES = 4096  # how many other places are tried to tell a moved segment from a changed one

Read: TypeAlias = Callable[[int], bytes]
"""Returns the next bytes of a file, as many as asked for; fewer only at its end."""

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""Returns bytes of a file from a place on, as many as asked for; fewer only at its end."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sealed file; one never stands in for another."""

    name: str  # in the header, and in how the file's key is derived
    called: str  # in messages: "dataset"
    advice: str  # what is to be done when one can't be used

    def damaged(self, uri: str, what: str) -> SealError:
        """Return the error that says what is wrong with a file."""
        return SealError(f"the sealed {self.called} {uri!r} can't be used: {what}. {self.advice}")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself, authenticated."""

    kind: str
    workflow_id: str
    content_id: str
    plaintext_bytes: int
    segment_bytes: int
    salt: str
    key_id: str
    format: int = _FORMAT

    @property
    def segments(self) -> int:
        """How many segments the file has: one at least."""
        return max(1, -(-self.plaintext_bytes // self.segment_bytes))


_TYPES = {field.name: int if field.type is int else str for field in fields(Header)}


def new_key() -> bytes:
    """Return a new workflow key of 32 bytes."""
    return secrets.token_bytes(32)


def new_header(
    kind: Kind,
    key: bytes,
    *,
    workflow_id: str,
    content_id: str,
    plaintext_bytes: int,
    segment_bytes: int,
) -> Header:
    """Return the header of a new file.

    Raises
    ------
    SealError
        The key is none, or there would be too many segments.
    """
    header = Header(
        kind=kind.name,
        workflow_id=workflow_id,
        content_id=content_id,
        plaintext_bytes=plaintext_bytes,
        segment_bytes=segment_bytes,
        salt=secrets.token_hex(16),
        key_id=_key_id(key),
    )
    if header.segments >= _HEADER_COUNTER:
        raise SealError(
            f"the {kind.called} is too large for segments of {segment_bytes} bytes: use more"
        )
    return header


def sealed(
    header: Header, key: bytes, chunks: Iterable[bytes | memoryview]
) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file in order; `chunks` are its plaintext."""
    head = _head_bytes(header)
    cipher = _cipher(key, header)
    yield head + cipher.encrypt(_nonce(_HEADER_COUNTER, last=True), b"", head)
    number = -1
    for number, segment in enumerate(_segments(chunks, header.segment_bytes)):
        yield cipher.encrypt(_nonce(number, last=number == header.segments - 1), segment, head)
    if number < 0:  # nothing to be sealed: still a last segment, so that it can't be cut off
        yield cipher.encrypt(_nonce(0, last=True), b"", head)


class SealedFile:
    """A file whose header was verified.

    Parameters
    ----------
    read
        Reads the file from its beginning.
    key
        The workflow's key.
    kind, content_id, workflow_id
        What it has to be; the workflow may be left open, since each has its key.
    uri
        How messages call the file.

    Raises
    ------
    SealError
        It is not that; says what is wrong.
    """

    def __init__(
        self,
        read: Read,
        key: bytes,
        *,
        kind: Kind,
        content_id: str,
        uri: str,
        workflow_id: str | None = None,
    ) -> None:
        self._kind = kind
        self._uri = uri
        self._head = _read_head(read, kind, uri)
        self.header = header = _header_of(self._head[_START:], kind, uri)
        if header.kind != kind.name:
            raise kind.damaged(uri, f"it holds {header.kind!r}, not {kind.name!r}: it was swapped")
        theirs = workflow_id is not None and header.workflow_id != workflow_id
        if header.content_id != content_id or theirs:
            of = f" of workflow {workflow_id!r}" if theirs else ""
            raise kind.damaged(
                uri,
                f"it is {kind.called} {header.content_id!r} of workflow {header.workflow_id!r}, "
                f"not {content_id!r}{of}: it was swapped",
            )
        if header.key_id != _key_id(key):
            raise kind.damaged(uri, "it was encrypted with another key, or its header was altered")
        self._cipher = _cipher(key, header)
        try:
            tag = read(_TAG_BYTES)
            self._cipher.decrypt(_nonce(_HEADER_COUNTER, last=True), tag, self._head)
        except InvalidTag:
            raise kind.damaged(uri, "its header was altered") from None

    @property
    def file_bytes(self) -> int:
        """Bytes that the whole file has."""
        header = self.header
        tags = _TAG_BYTES * header.segments
        return self._body_at + header.plaintext_bytes + tags

    @property
    def _body_at(self) -> int:
        return len(self._head) + _TAG_BYTES

    def rest(self, read: Read) -> Iterator[bytes]:
        """Yield the verified segments; `read` goes on behind the header.

        Only when it ends is it certain that nothing is missing.
        """
        for number in range(self.header.segments):
            segment = self._opened(number, read(self._wanted(number) + _TAG_BYTES))
            if number == self.header.segments - 1 and read(1):
                raise self._kind.damaged(self._uri, "data was appended after its last segment")
            yield segment

    def part(self, read_at: ReadAt, at: int, length: int) -> bytearray:
        """Return some bytes of the plaintext; only the segments that they lie in are read.

        Raises
        ------
        SealError
            There are no such bytes, or a segment was altered.
        """
        header = self.header
        if at < 0 or length < 0 or at + length > header.plaintext_bytes:
            raise self._kind.damaged(self._uri, f"it has no {length:,} bytes from {at:,} on")
        found = bytearray(length)
        if not length:
            return found
        size = header.segment_bytes
        done = 0
        for number in range(at // size, (at + length - 1) // size + 1):
            wanted = self._wanted(number) + _TAG_BYTES
            data = read_at(self._body_at + number * (size + _TAG_BYTES), wanted)
            segment = memoryview(self._opened(number, data))
            piece = segment[max(0, at - number * size) : at + length - number * size]
            found[done : done + len(piece)] = piece
            done += len(piece)
        return found

    def _wanted(self, number: int) -> int:
        header = self.header
        if number < header.segments - 1:
            return header.segment_bytes
        return header.plaintext_bytes - number * header.segment_bytes

    def _opened(self, number: int, data: bytes) -> bytes:
        header = self.header
        if len(data) < self._wanted(number) + _TAG_BYTES:
            where = f"segment {number + 1} of {header.segments}"
            raise self._kind.damaged(
                self._uri, f"it is truncated: it ends within or before {where}"
            )
        try:
            last = number == header.segments - 1
            return self._cipher.decrypt(_nonce(number, last=last), data, self._head)
        except InvalidTag:
            raise self._kind.damaged(self._uri, self._told(number, data)) from None

    def _told(self, number: int, data: bytes) -> str:
        """Say whether a segment that fails is another one of the same file."""
        header = self.header
        place = f"segment {number + 1} of {header.segments}"
        for other in range(min(header.segments, _TELLING_TRIES)):
            with suppress(InvalidTag):
                nonce = _nonce(other, last=other == header.segments - 1)
                self._cipher.decrypt(nonce, data, self._head)
                return f"it was reordered: segment {other + 1} stands in the place of {place}"
        return f"{place} was altered, or reordered"


_START = len(_MAGIC) + _LENGTH.size


def _read_head(read: Read, kind: Kind, uri: str) -> bytes:
    start = read(_START)
    if not start.startswith(_MAGIC):
        raise kind.damaged(uri, f"it is no sealed {kind.called}, or its beginning was altered")
    if len(start) < _START:
        raise kind.damaged(uri, "it is truncated: it ends within its header")
    (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
    if length > _MAX_HEADER_BYTES:
        raise kind.damaged(uri, "its header was altered")
    body = read(length)
    if len(body) < length:
        raise kind.damaged(uri, "it is truncated: it ends within its header")
    return start + body


def _header_of(body: bytes, kind: Kind, uri: str) -> Header:
    try:
        told: dict[str, Any] = json.loads(body)
        number = told["format"]
        if type(number) is int and number != _FORMAT:
            raise kind.damaged(uri, f"its format {number} is not one this version reads")
        header = Header(**told)
        if any(type(getattr(header, name)) is not wanted for name, wanted in _TYPES.items()):
            raise TypeError
        if header.segment_bytes <= 0 or header.plaintext_bytes < 0:
            raise ValueError
        bytes.fromhex(header.salt)
    except (ValueError, TypeError, KeyError, RecursionError):  # the latter: nested a thousandfold
        raise kind.damaged(uri, "its header was altered") from None
    return header


def _segments(chunks: Iterable[bytes | memoryview], size: int) -> Iterator[bytes | memoryview]:
    """Cut a stream into segments of one size; the last may be shorter, and none is empty."""
    rest = bytearray()
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        if rest:
            missing = size - len(rest)
            rest += view[:missing]
            view = view[missing:]
            if len(rest) < size:
                continue
            yield bytes(rest)
            rest = bytearray()
        while len(view) >= size:
            yield view[:size]
            view = view[size:]
        rest += view
    if rest:
        yield bytes(rest)


def _head_bytes(header: Header) -> bytes:
    told = {name: getattr(header, name) for name in Header.__dataclass_fields__}
    body = json.dumps(told, separators=(",", ":")).encode()
    return _MAGIC + _LENGTH.pack(len(body)) + body


def _nonce(counter: int, *, last: bool) -> bytes:
    return bytes(7) + counter.to_bytes(4, "big") + bytes([last])


def _cipher(key: bytes, header: Header) -> AESGCM:
    salt = bytes.fromhex(header.salt)
    info = f"fitcast sealed {header.kind} {header.format}".encode()
    return AESGCM(HKDF(SHA256(), 32, salt, info).derive(key))


def _key_id(key: bytes) -> str:
    if len(key) != 32:
        raise SealError(f"a key has 32 bytes, this one {len(key)}: use new_key()")
    return hashlib.blake2b(key, digest_size=8, person=b"fitcast-key-id").hexdigest()
