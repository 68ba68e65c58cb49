"""Sealed datasets: encrypted for one workflow, in segments, wherever fsspec can write.

In: sealing, verifying, unsealing, removing. Not in: the format of sealed files
(:mod:`fitcast.trainer.sealed_files`), the layout of the plaintext
(:mod:`fitcast.trainer.shared_memory`), who holds keys.
"""

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fitcast.errors import SealError
from fitcast.trainer.sealed_files import Kind, SealedFile, new_header, new_key, sealed
from fitcast.trainer.shared_memory import Packed, pack

__all__ = [
    "SealedDataset",
    "Sink",
    "new_key",
    "remove",
    "seal",
    "unseal_into",
    "verify",
]

_DATASET = Kind(
    "dataset",
    "dataset",
    "Nothing was run on it. Submit the sweep again; if this comes back, someone or something "
    "changes files there",
)


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
    header = new_header(
        _DATASET,
        key,
        workflow_id=workflow_id,
        content_id=secrets.token_hex(16),
        plaintext_bytes=packed.total_bytes,
        segment_bytes=segment_bytes,
    )
    digest = hashlib.sha256()
    size = 0
    try:
        with fsspec.open(_plain_path(uri), "wb", compression=None) as file:
            for part in sealed(header, key, packed.chunks()):
                file.write(part)
                digest.update(part)
                size += len(part)
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
        dataset_id=header.content_id,
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

        def read(wanted: int) -> bytes:
            return _read(file, wanted, uri)

        found = SealedFile(read, key, kind=_DATASET, content_id=dataset_id, uri=uri)
        yield from found.rest(read)


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
        raise _DATASET.damaged(uri, "something that is no file stands in its place")
    return os.fdopen(fd, "rb")


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


def _plain_path(uri: str) -> str:
    return os.fspath(uri)
