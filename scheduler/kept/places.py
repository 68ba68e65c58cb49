"""Where files of results lie: a folder of this machine, or one of an object store.

In: writing a file wholly or not at all, reading parts of it, setting one aside, removing. Not in:
what is in the files (:mod:`fitcast.scheduler.kept.results`).

On this machine a file is written under a temporary name, brought onto the disk itself, given its
name, and then the folder is brought there as well: whoever is told that a file is written finds it
after a power cut. An object store has a whole object or none.
"""

import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import fsspec
from fsspec.implementations.local import LocalFileSystem

from fitcast.errors import StoreError
from fitcast.trainer.shared_memory import write_all

_PARTIAL: Final = ".partial"
_ASIDE: Final = ".damaged"
_WRITTEN_AT_ONCE_BYTES: Final = 2**20
# Never through a link, never waiting for whoever writes into a pipe
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What stands there is no file that could be read, now or later; other errors may pass.
_NO_FILE: Final = frozenset(
    {errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO, errno.EISDIR, errno.EIO, errno.ENOENT}
)


class UnreadableFileError(Exception):
    """Something stands in a file's place that can't be read; says what."""


class ResultsSource(Protocol):
    """An open file."""

    size_bytes: int

    def read(self, at: int, wanted: int) -> bytes:
        """Return bytes from a place on; fewer only at the end."""


class Place(Protocol):
    """A folder for files of results. All of it raises StoreError if the place itself fails."""

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in it that match the pattern; none if there is no folder."""

    def opened(self, name: str) -> AbstractContextManager[ResultsSource]:
        """Give a file, in a context; UnreadableFileError if there is none to read."""

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Write a new file: it is wholly there for good, or nothing of it is (OSError …)."""

    def free_bytes(self) -> int | None:
        """Return the free space, None if nobody knows."""

    def set_aside(self, name: str) -> str:
        """Give a file another name, so that it isn't read again; return that."""

    def remove_unfinished(self) -> None:
        """Remove what processes that were killed left half-written."""

    def remove(self) -> None:
        """Remove the folder and all in it; one that is gone already is no error."""


def place_of(uri: str) -> Place:
    """Return the place that a path or an address of fsspec names.

    Raises
    ------
    StoreError
        No file system answers to that.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(os.fspath(uri))
    except Exception as error:
        raise StoreError(
            f"results can't be kept in {uri!r} ({error}): give a folder, or an address that fsspec "
            "knows, and install what it needs"
        ) from error
    if isinstance(filesystem, LocalFileSystem):
        return LocalFolder(Path(path))
    return ObjectFolder(filesystem, path)


class LocalFolder:
    """A folder (0700) of this machine with files (0600), opened through no link."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in it that match the pattern; none if there is no folder."""
        try:
            with self._folder() as folder:
                names = os.listdir(folder)  # noqa: PTH208 - by its descriptor: through no link
                return [name for name in names if pattern.fullmatch(name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unreadable(error) from error

    @contextmanager
    def opened(self, name: str) -> Iterator[ResultsSource]:
        """Give a file as a ResultsSource, in a context."""
        try:
            with self._folder() as folder:
                descriptor = os.open(name, os.O_RDONLY | _SAFE, dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_FILE:
                raise UnreadableFileError(_strerror(error)) from error
            raise self._unreadable(error) from error
        try:
            yield _LocalFile(descriptor, self._path)
        finally:
            os.close(descriptor)

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Write a new file: it is wholly there for good, or nothing of it is (OSError …)."""
        partial = name + _PARTIAL
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
        try:
            folder = self._open_folder()
        except FileNotFoundError:
            _make(self._path)
            folder = self._open_folder()
        try:
            descriptor = os.open(partial, flags, 0o600, dir_fd=folder)
            left = partial
            try:
                with suppress(OSError):  # where there are no locks, what a kill leaves stays
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for data in _gathered(chunks):
                    write_all(descriptor, data)
                os.fsync(descriptor)
                os.rename(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
                left = name
                os.fsync(folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(left, dir_fd=folder)
                raise
            finally:
                _close(descriptor)
        finally:
            _close(folder)

    def free_bytes(self) -> int | None:
        """Return the free space, None if nobody knows."""
        for path in (self._path, *self._path.parents):
            with suppress(OSError):
                return shutil.disk_usage(path).free
        return None

    def set_aside(self, name: str) -> str:
        """Give a file another name, so that it isn't read again; return that."""
        aside = name + _ASIDE
        try:
            with self._folder() as folder:
                os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError as error:
            raise self._unreadable(error) from error
        return aside

    def remove_unfinished(self) -> None:
        """Remove half-written files whose writer lives no more: nobody holds their lock."""
        with suppress(OSError), self._folder() as folder:
            for name in os.listdir(folder):  # noqa: PTH208 - as above
                if name.endswith(_PARTIAL):
                    with suppress(OSError):
                        _remove_if_left(name, folder)

    def remove(self) -> None:
        """Remove the folder and all in it; one that is gone already is no error."""
        try:
            shutil.rmtree(self._path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(
                f"results in {str(self._path)!r} can't be removed ({_strerror(error)}): check who "
                "may write there"
            ) from error

    @contextmanager
    def _folder(self) -> Iterator[int]:
        folder = self._open_folder()
        try:
            yield folder
        finally:
            os.close(folder)

    def _open_folder(self) -> int:
        return os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | _SAFE)

    def _unreadable(self, error: Exception) -> StoreError:
        return _unreadable(str(self._path), error)


class _LocalFile:
    """A regular file of this machine, by its descriptor."""

    def __init__(self, descriptor: int, folder: Path) -> None:
        self._descriptor = descriptor
        self._folder = folder
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableFileError("something that is no file stands in its place")
        self.size_bytes = found.st_size

    def read(self, at: int, wanted: int) -> bytes:
        parts = []
        while wanted:
            try:
                part = os.pread(self._descriptor, wanted, at)
            except OSError as error:
                if error.errno == errno.EIO:  # the disk itself has lost it
                    raise UnreadableFileError(_strerror(error)) from error
                raise _unreadable(str(self._folder), error) from error
            if not part:
                break
            parts.append(part)
            wanted -= len(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class ObjectFolder:
    """A folder in an object store, or whatever else fsspec reaches."""

    def __init__(self, filesystem: Any, path: str) -> None:
        self._files = filesystem
        self._path = path.rstrip("/")

    def names(self, pattern: re.Pattern[str]) -> list[str]:
        """Return the names in it that match the pattern; none if there is no folder."""
        try:
            self._files.invalidate_cache(self._path)
            paths = self._files.ls(self._path, detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise _unreadable(self._path, error) from error
        names = [path.rstrip("/").rpartition("/")[2] for path in paths]
        return [name for name in names if pattern.fullmatch(name)]

    @contextmanager
    def opened(self, name: str) -> Iterator[ResultsSource]:
        """Give a file as a ResultsSource, in a context."""
        yield _Object(self._files, self._at(name), self._path)

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Put a new object: it is wholly there, or nothing of it is."""
        data = b"".join(chunks)
        try:
            self._files.makedirs(self._path, exist_ok=True)
            self._files.pipe_file(self._at(name), data)
        except BaseException as error:
            with suppress(Exception):  # its answer may have been lost, not the object
                self._files.rm_file(self._at(name))
            if isinstance(error, OSError) or not isinstance(error, Exception):
                raise
            raise OSError(f"{type(error).__name__}: {error}") from error  # of the store's library

    def free_bytes(self) -> int | None:
        """Return None: nobody knows."""
        return None

    def set_aside(self, name: str) -> str:
        """Give an object another name, so that it isn't read again; return that."""
        aside = name + _ASIDE
        try:
            self._files.mv(self._at(name), self._at(aside))
        except Exception as error:
            raise _unreadable(self._path, error) from error
        return aside

    def remove_unfinished(self) -> None:
        """Do nothing: there are no half-written objects."""

    def remove(self) -> None:
        """Remove the folder and all in it; one that is gone already is no error."""
        try:
            self._files.invalidate_cache(self._path)
            with suppress(FileNotFoundError):
                self._files.rm(self._path, recursive=True)
        except Exception as error:
            raise StoreError(
                f"results in {self._path!r} can't be removed ({error}): check who may write there"
            ) from error

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


class _Object:
    """An object, read by ranges."""

    def __init__(self, filesystem: Any, path: str, folder: str) -> None:
        self._files = filesystem
        self._path = path
        self._folder = folder
        info = self._asked(filesystem.info, path)
        if info["type"] != "file":
            raise UnreadableFileError("something that is no file stands in its place")
        self.size_bytes = int(info["size"])

    def read(self, at: int, wanted: int) -> bytes:
        end = min(at + wanted, self.size_bytes)
        if end <= at:
            return b""
        return bytes(self._asked(self._files.cat_file, self._path, start=at, end=end))

    def _asked(self, call: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return call(*args, **kwargs)
        except FileNotFoundError as error:
            raise UnreadableFileError("it is gone") from error
        except Exception as error:
            raise _unreadable(self._folder, error) from error


def _unreadable(where: str, error: Exception) -> StoreError:
    said = _strerror(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
    return StoreError(
        f"results in {where!r} can't be read ({said}): see that this process may read and write "
        "there, and try again; nothing was changed"
    )


def _strerror(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _make(path: Path) -> None:
    """Make a folder, and those that it lies in, on the disk itself."""
    missing = []
    for folder in (path, *path.parents):
        if folder.is_dir() or folder.is_symlink():
            break
        missing.append(folder)
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        above = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)


def _gathered(chunks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Put small pieces together, so that they are written at once."""
    waiting: list[bytes | memoryview] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= _WRITTEN_AT_ONCE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _close(descriptor: int) -> None:
    with suppress(OSError):  # all of it is on the disk already, or was refused
        os.close(descriptor)


def _remove_if_left(name: str, folder: int) -> None:
    descriptor = os.open(name, os.O_RDONLY | _SAFE, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(name, dir_fd=folder)
    finally:
        os.close(descriptor)
