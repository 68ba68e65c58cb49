"""Key-encryption keys in a file of their owner's, all versions of them.

    {"format": 1, "current": "2", "keys": {"1": "base64 …", "2": "base64 …"}}

A key is wrapped by AES-256-GCM: a random nonce, then what GCM made of the key. Its additional data
are the version and the context, so neither can be exchanged. The file is read each time, so a
rotation by another process counts at once; it is replaced as a whole, and one that others may read,
or a link, is refused: what it holds would be no secret.

Whoever has this file and the database can read all datasets: keep copies of both apart.
"""

import base64
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fitcast.errors import KeyEncryptionError
from fitcast.trainer.shared_memory import write_all

_FORMAT: Final = 1
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_LARGEST_BYTES: Final = 2**20
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, repr=False)
class _Keys:
    current: str
    keys: Mapping[str, bytes]


class KeyFile:
    """Key-encryption keys in a file (0600), made if it isn't there.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    KeyEncryptionError
        It can't be made or read, or others may read it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._told():
            if not os.path.lexists(path):
                self._make()
        self._read()

    def wrap(self, key: bytes, context: bytes) -> tuple[bytes, str]:
        """Return a key as only these keys can open it, and the version that wrapped it."""
        return _wrapped(self._read(), key, context)

    def unwrap(self, wrapped: bytes, version: str, context: bytes) -> bytes:
        """Return the key that was wrapped in this context by this version."""
        return self._unwrapped(self._read(), wrapped, version, context)

    def rewrap(self, wrapped: bytes, version: str, context: bytes) -> tuple[bytes, str] | None:
        """Return it wrapped by the current version; None if it is already."""
        keys = self._read()
        if version == keys.current:
            return None
        return _wrapped(keys, self._unwrapped(keys, wrapped, version, context), context)

    def rotate(self) -> str:
        """Make a new version, by which keys are wrapped from now on; return its name."""
        with self._told(), self._locked():
            keys = self._read()
            version = str(max(map(int, keys.keys)) + 1)
            with self._beside(_new(version, keys.keys)) as beside:
                beside.rename(self._path)
        return version

    def drop(self, version: str) -> None:
        """Forget a version, once nothing is wrapped by it any more: what still is, is lost.

        Raises
        ------
        KeyEncryptionError
            It is the current one, or there is none of that name.
        """
        with self._told(), self._locked():
            keys = self._read()
            if version not in keys.keys or version == keys.current:
                raise KeyEncryptionError(
                    f"{self._path} has no version {version!r:.50} that could go: the current one "
                    f"is {keys.current}"
                )
            left = {name: key for name, key in keys.keys.items() if name != version}
            with self._beside(replace(keys, keys=left)) as beside:
                beside.rename(self._path)

    def close(self) -> None:
        """Give up what is held open: nothing."""

    def _unwrapped(self, keys: _Keys, wrapped: bytes, version: str, context: bytes) -> bytes:
        if version not in keys.keys:
            raise KeyEncryptionError(
                f"the key-encryption key {version!r:.50} isn't in {self._path}: put back a copy of "
                "the file that has it"
            )
        try:
            return AESGCM(keys.keys[version]).decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _bound(version, context)
            )
        except (InvalidTag, ValueError) as error:
            raise KeyEncryptionError(
                "a wrapped key was changed, or is of another user, workflow or dataset: the "
                "workflow can't be opened; submit its sweep again"
            ) from error

    def _make(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._beside(_new("1", {})) as beside, suppress(FileExistsError):
            os.link(beside, self._path)  # if another process was faster, its file counts
            _sync(self._path.parent)

    @contextmanager
    def _beside(self, keys: _Keys) -> Iterator[Path]:
        """Write the keys into a new file beside; what isn't renamed is removed."""
        told = {
            "format": _FORMAT,
            "current": keys.current,
            "keys": {name: base64.b64encode(key).decode() for name, key in keys.keys.items()},
        }
        beside = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600)
        try:
            try:
                write_all(fd, json.dumps(told, indent=1).encode("ascii"))
                os.fsync(fd)
            finally:
                os.close(fd)
            yield beside
            _sync(self._path.parent)
        finally:
            beside.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other process change the file meanwhile."""
        fd = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _read(self) -> _Keys:
        with self._told():
            fd = os.open(self._path, os.O_RDONLY | _SAFE)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                    raise KeyEncryptionError(
                        f"{self._path} is no file of this user's: give the broker one of its own"
                    )
                if stat.S_IMODE(found.st_mode) & 0o077:
                    raise KeyEncryptionError(
                        f"others may read {self._path}: chmod 600 it, and if someone may have, "
                        "`fitcast keys rotate`"
                    )
                with os.fdopen(fd, "rb", closefd=False) as file:
                    told = file.read(_LARGEST_BYTES)
            finally:
                os.close(fd)
        try:
            parsed = json.loads(told)
            keys = {
                str(int(name)): base64.b64decode(key, validate=True)
                for name, key in parsed["keys"].items()
            }
            current = str(parsed["current"])
            whole = current in keys and {len(key) for key in keys.values()} == {_KEY_BYTES}
            if parsed["format"] == _FORMAT and whole:
                return _Keys(current, keys)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass  # not chained: the error may tell of what the file holds
        raise KeyEncryptionError(
            f"{self._path} holds no key-encryption keys that this fitcast can read: put back a "
            "copy of it"
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise KeyEncryptionError(
                f"the key-encryption keys in {self._path} can't be used "
                f"({error.strerror or error}): it must be a file of this user's, no link to one"
            ) from error


def _new(version: str, others: Mapping[str, bytes]) -> _Keys:
    return _Keys(version, {**others, version: secrets.token_bytes(_KEY_BYTES)})


def _wrapped(keys: _Keys, key: bytes, context: bytes) -> tuple[bytes, str]:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = AESGCM(keys.keys[keys.current]).encrypt(nonce, key, _bound(keys.current, context))
    return nonce + sealed, keys.current


def _bound(version: str, context: bytes) -> bytes:
    return json.dumps(["fitcast wrapped key 1", version]).encode() + b"\n" + context


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
