"""Sealed datasets: encrypted for one workflow, in segments, wherever fsspec can write.

In: sealing, verifying, unsealing, removing. Nothing else in fitcast imports ``cryptography``.
Not in: the layout of the plaintext (:mod:`fitcast.trainer.shared_memory`), who holds keys.

File: magic · length of the header · header (JSON) · header's tag · segments, each AES-256-GCM with
its tag. Every file has its own key, derived from the workflow's key and a random salt. A segment's
nonce is its number and whether it is the last; the whole header is authenticated with each, so
segments can't be cut off, added, reordered or moved between files.
"""

import hashlib
import json
import os
import secrets
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import fsspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fsspec.implementations.local import LocalFileSystem

from fitcast.errors import SealError
from fitcast.trainer.shared_memory import Packed, pack

_MAGIC = b"FITCSEAL"
_FORMAT = 1
_TAG_BYTES = 16
_LENGTH = struct.Struct("<I")
_MAX_HEADER_BYTES = 65_536
_HEADER_COUNTER = 2**32 - 1  # the nonce that only the header's own tag uses
_TELLING_TRIES = 4096  # how many other places are tried to tell a moved segment from a changed one


class Sink(Protocol):
    """Takes the plaintext, in order; an open binary file is one."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedDataset:
    """Where a sealed dataset lies and how to recognise it. Holds no key."""

    uri: str
    dataset_id: str
    workflow_id: str
    plaintext_bytes: int
    sealed_bytes: int
    sealed_sha256: str  # of the encrypted file


@dataclass(frozen=True, slots=True)
class _Header:
    workflow_id: str
    dataset_id: str
    plaintext_bytes: int
    segment_bytes: int
    salt: str
    key_id: str
    format: int = _FORMAT

    @property
    def segments(self) -> int:
        return max(1, -(-self.plaintext_bytes // self.segment_bytes))


_KINDS = dict.fromkeys(("workflow_id", "dataset_id", "salt", "key_id"), str) | dict.fromkeys(
    ("plaintext_bytes", "segment_bytes", "format"), int
)


def new_key() -> bytes:
    """Return a new workflow key of 32 bytes."""
    return secrets.token_bytes(32)


def seal(
    content: object,
    uri: str,
    key: bytes,
    *,
    workflow_id: str,
    attachments: Sequence[bytes] = (),
    segment_bytes: int = 2**20,
) -> SealedDataset:
    """Serialise, encrypt and write an object.

    Parameters
    ----------
    content
        Anything that cloudpickle takes; large buffers are streamed, not copied.
    uri
        Path or fsspec URI of the file to write.
    key
        The workflow's key, 32 bytes.
    workflow_id
        Whose dataset it is.
    attachments
        Bytes that go with it, to be read one by one.
    segment_bytes
        Bytes of plaintext per segment.

    Raises
    ------
    SealError
        It can't be serialised, or not be written there. Nothing is left behind.
    """
    packed = _packed(content, attachments)
    header = _Header(
        workflow_id=workflow_id,
        dataset_id=secrets.token_hex(16),
        plaintext_bytes=packed.total_bytes,
        segment_bytes=segment_bytes,
        salt=secrets.token_hex(16),
        key_id=_key_id(key),
    )
    if header.segments >= _HEADER_COUNTER:
        raise SealError(f"the dataset is too large for segments of {segment_bytes} bytes: use more")
    head = _head_bytes(header)
    cipher = _cipher(key, header)
    digest = hashlib.sha256()
    size = 0
    try:
        with fsspec.open(_plain_path(uri), "wb", compression=None) as file:
            first = head + cipher.encrypt(_nonce(_HEADER_COUNTER, last=True), b"", head)
            file.write(first)
            digest.update(first)
            size += len(first)
            for number, segment in enumerate(_segments(packed.chunks(), segment_bytes)):
                nonce = _nonce(number, last=number == header.segments - 1)
                sealed = cipher.encrypt(nonce, segment, head)
                file.write(sealed)
                digest.update(sealed)
                size += len(sealed)
    except BaseException as error:
        with suppress(SealError):
            remove(uri)
        if not isinstance(error, Exception):  # Ctrl-C and the like
            raise
        raise SealError(
            f"the sealed dataset can't be written to {uri!r} ({_said(error)}): check the address, "
            "the permissions and the free space"
        ) from error
    return SealedDataset(
        uri=uri,
        dataset_id=header.dataset_id,
        workflow_id=workflow_id,
        plaintext_bytes=packed.total_bytes,
        sealed_bytes=size,
        sealed_sha256=digest.hexdigest(),
    )


def verify(uri: str, key: bytes, *, dataset_id: str) -> None:
    """Check a whole sealed dataset, keeping nothing of it.

    Raises
    ------
    SealError
        It is not what was sealed; says what is wrong.
    """
    for _ in _unseal(uri, key, dataset_id):
        pass


def unseal_into(uri: str, key: bytes, *, dataset_id: str, sink: Sink) -> int:
    """Decrypt a sealed dataset into a sink; return its bytes.

    Each segment is verified before it is handed over, but only when this returns is it certain
    that nothing is missing: use nothing of the sink before.

    Raises
    ------
    SealError
        It is not what was sealed; says what is wrong. The sink then holds a useless part.
    """
    total = 0
    for segment in _unseal(uri, key, dataset_id):
        sink.write(segment)
        total += len(segment)
    return total


def remove(uri: str) -> None:
    """Remove a sealed dataset; one that is gone already is no error."""
    try:
        filesystem, path = fsspec.core.url_to_fs(_plain_path(uri))
        with suppress(FileNotFoundError):
            filesystem.rm_file(path)
    except Exception as error:
        raise SealError(f"the sealed dataset {uri!r} can't be removed ({error})") from error


def _packed(content: object, attachments: Sequence[bytes]) -> Packed:
    try:
        return pack(content, attachments)
    except MemoryError as error:
        raise SealError(
            "there isn't enough memory to serialise the dataset: objects in it, unlike arrays, "
            "are copied for that. Turn them into numbers or text, or give fewer rows"
        ) from error
    except Exception as error:
        raise SealError(
            f"{_unserialisable(content)} can't be serialised ({_said(error)}): no worker can have "
            "it. Turn it into numbers or text, or leave it out"
        ) from error


def _unserialisable(content: object) -> str:
    """Say what of a dataset can't be serialised."""
    for name, part in getattr(content, "__dict__", {}).items():
        if _serialises(part):
            continue
        for column in getattr(part, "columns", ()):
            if not _serialises(part[column]):
                return f"column {column!r} of the dataset's {name}"
        return f"the dataset's {name}"
    return "the dataset"


def _serialises(part: object) -> bool:
    try:
        pack(part)
    except Exception:
        return False
    return True


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _unseal(uri: str, key: bytes, dataset_id: str) -> Iterator[bytes]:
    try:
        opened = _opened(uri)
    except SealError:
        raise
    except Exception as error:
        raise SealError(
            f"the sealed dataset {uri!r} can't be read ({error}): it was removed, or this worker "
            "has no access to it; submit the sweep again, or give workers access"
        ) from error
    with opened as file:
        head, header = _read_header(file, uri, dataset_id, key)
        cipher = _cipher(key, header)
        try:
            tag = _read(file, _TAG_BYTES, uri)
            cipher.decrypt(_nonce(_HEADER_COUNTER, last=True), tag, head)
        except InvalidTag:
            raise _damaged(uri, "its header was altered") from None
        for number in range(header.segments):
            last = number == header.segments - 1
            wanted = header.segment_bytes
            if last:
                wanted = header.plaintext_bytes - number * header.segment_bytes
            sealed = _read(file, wanted + _TAG_BYTES, uri)
            if len(sealed) < wanted + _TAG_BYTES:
                where = f"segment {number + 1} of {header.segments}"
                raise _damaged(uri, f"it is truncated: it ends within or before {where}")
            try:
                segment = cipher.decrypt(_nonce(number, last=last), sealed, head)
            except InvalidTag:
                raise _damaged(uri, _tell(cipher, sealed, head, number, header)) from None
            if last and _read(file, 1, uri):
                raise _damaged(uri, "data was appended after its last segment")
            yield segment


def _opened(uri: str) -> Any:
    """Open a sealed file for reading; on this machine only a regular file, through no link.

    A pipe in its place would be waited for, without end.
    """
    filesystem, path = fsspec.core.url_to_fs(_plain_path(uri))
    if not isinstance(filesystem, LocalFileSystem):
        return filesystem.open(path, "rb")
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _damaged(uri, "something that is no file stands in its place")
    return os.fdopen(fd, "rb")


def _read_header(file: Any, uri: str, dataset_id: str, key: bytes) -> tuple[bytes, _Header]:
    start = _read(file, len(_MAGIC) + _LENGTH.size, uri)
    if not start.startswith(_MAGIC):
        raise _damaged(uri, "it is no sealed dataset, or its beginning was altered")
    if len(start) < len(_MAGIC) + _LENGTH.size:
        raise _damaged(uri, "it is truncated: it ends within its header")
    (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
    if length > _MAX_HEADER_BYTES:
        raise _damaged(uri, "its header was altered")
    body = _read(file, length, uri)
    if len(body) < length:
        raise _damaged(uri, "it is truncated: it ends within its header")
    try:
        header = _Header(**json.loads(body))
        if any(type(getattr(header, name)) is not kind for name, kind in _KINDS.items()):
            raise TypeError
        sizes_ok = header.segment_bytes > 0 and header.plaintext_bytes >= 0
        bytes.fromhex(header.salt)
    except (ValueError, TypeError, RecursionError):  # the latter: nested a thousandfold
        raise _damaged(uri, "its header was altered") from None
    if not sizes_ok or header.format != _FORMAT:
        raise _damaged(uri, f"its format {header.format} is not one this version reads")
    if header.dataset_id != dataset_id:
        raise _damaged(
            uri,
            f"it is dataset {header.dataset_id!r} of workflow {header.workflow_id!r}, not "
            f"{dataset_id!r}: it was swapped",
        )
    if header.key_id != _key_id(key):
        raise _damaged(uri, "it was encrypted with another key, or its header was altered")
    return start + body, header


def _tell(cipher: AESGCM, sealed: bytes, head: bytes, number: int, header: _Header) -> str:
    """Say whether a segment that fails is another one of the same file."""
    place = f"segment {number + 1} of {header.segments}"
    for other in range(min(header.segments, _TELLING_TRIES)):
        with suppress(InvalidTag):
            cipher.decrypt(_nonce(other, last=other == header.segments - 1), sealed, head)
            return f"it was reordered: segment {other + 1} stands in the place of {place}"
    return f"{place} was altered, or reordered"


def _read(file: Any, wanted: int, uri: str) -> bytes:
    parts = []
    while wanted:
        try:
            part = file.read(wanted)
        except Exception as error:
            raise SealError(f"reading the sealed dataset {uri!r} failed ({error})") from error
        if not part:
            break
        parts.append(part)
        wanted -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


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


def _head_bytes(header: _Header) -> bytes:
    fields = {name: getattr(header, name) for name in _Header.__dataclass_fields__}
    body = json.dumps(fields, separators=(",", ":")).encode()
    return _MAGIC + _LENGTH.pack(len(body)) + body


def _nonce(counter: int, *, last: bool) -> bytes:
    return bytes(7) + counter.to_bytes(4, "big") + bytes([last])


def _cipher(key: bytes, header: _Header) -> AESGCM:
    salt = bytes.fromhex(header.salt)
    return AESGCM(HKDF(SHA256(), 32, salt, b"fitcast sealed dataset 1").derive(key))


def _key_id(key: bytes) -> str:
    if len(key) != 32:
        raise SealError(f"a key has 32 bytes, this one {len(key)}: use new_key()")
    return hashlib.blake2b(key, digest_size=8, person=b"fitcast-key-id").hexdigest()


def _plain_path(uri: str) -> str:
    return os.fspath(uri)


def _damaged(uri: str, what: str) -> SealError:
    return SealError(
        f"the sealed dataset {uri!r} can't be used: {what}. Nothing was run on it. Submit the "
        "sweep again; if this comes back, someone or something changes files there"
    )
