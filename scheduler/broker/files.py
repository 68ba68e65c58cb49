"""Where the broker keeps what users bring and what their fits gave: a folder per workflow.

All of it is sealed but for the submission, which is plain data. In: uploads, piece by piece; the
submission that counts once all is there; which files may be fetched. Not in: what is in the sealed
ones, which nothing here opens; whose they are (:mod:`fitcast.scheduler.broker.service`).
"""

import errno
import fcntl
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool

from fitcast.errors import (
    SealError,
    StoreError,
    SubmissionError,
    TooLargeError,
    UnknownWorkflowError,
    UploadError,
    WorkflowStateError,
)
from fitcast.scheduler.kept.accepted import Accepted
from fitcast.scheduler.kept.results import FILE_NAME
from fitcast.scheduler.kept.workflow_folder import WorkflowFolder
from fitcast.trainer.sealing import SealedDataset, verify

log = logging.getLogger(__name__)

UPLOADS: Final = {"dataset": "dataset.sealed", "sweep": "sweep.sealed"}
"""What is uploaded of a workflow, and the file that it becomes."""

_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_COMING: Final = "coming.lock"
_GATHERED_BYTES: Final = 4 * 2**20
"""So much is written at once, and held in memory at most, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class SeenFolder:
    """A folder of a workflow, as it was found."""

    workflow_id: str
    changed_s: float  # since 1970
    is_whole: bool


class WorkflowFiles:
    """The files of all workflows.

    Parameters
    ----------
    root : Path
        The folder of all workflows; an engine runs them from there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, workflow_id: str) -> WorkflowFolder:
        """Return the folder of a workflow.

        Raises
        ------
        SubmissionError
            That can't be a workflow's id.
        """
        return WorkflowFolder(self.root, workflow_id)

    def stage(self, accepted: Accepted) -> None:
        """Write a submission down that doesn't count yet.

        Raises
        ------
        StoreError
            It can't be written.
        """
        folder = self.folder(accepted.workflow_id)
        with _told_to_users():
            folder.stage(accepted)

    async def receive(
        self,
        workflow_id: str,
        upload: str,
        offset: int,
        total: int,
        data: AsyncIterator[bytes],
        note: Callable[[int], Awaitable[int]],
        gathered_bytes: Callable[[], int] = lambda: _GATHERED_BYTES,
    ) -> int:
        """Write bytes of an upload from an offset on; return how far it reaches now.

        What came before the connection broke is kept.

        Parameters
        ----------
        workflow_id, upload
            Which upload of which workflow.
        offset
            Where the bytes begin: all before is there.
        total
            Bytes that the upload has in all.
        data
            The bytes.
        note
            Is told how far it reaches, once that is on the disk: however it ends.
        gathered_bytes
            How much may be held in memory at this moment.

        Raises
        ------
        TooLargeError
            More came than was announced; what was announced is kept.
        UploadError
            It is being uploaded by another request.
        StoreError
            The disk is full.
        """
        path = self.folder(workflow_id).path / UPLOADS[upload]
        descriptor = await run_in_threadpool(_opened, path, offset)
        at = offset
        gathered = bytearray()
        try:
            try:
                async for piece in data:
                    if at + len(gathered) + len(piece) > total:
                        gathered += piece[: total - at - len(gathered)]
                        raise TooLargeError(
                            f"upload {upload!r} was announced with {total:,} bytes, and more came: "
                            "submit the sweep anew"
                        )
                    gathered += piece
                    if len(gathered) >= gathered_bytes():
                        at += await run_in_threadpool(_write, descriptor, gathered, at)
                        gathered = bytearray()
            finally:
                at += await run_in_threadpool(_write, descriptor, gathered, at)
                await run_in_threadpool(os.fsync, descriptor)
                if at > offset:
                    await note(at)
        except OSError as error:
            raise _unwritable(error) from error
        finally:
            os.close(descriptor)
        return at

    def take_in(self, accepted: Accepted, key: bytes, contents: Mapping[str, bytes]) -> None:
        """Take a submission in whose sealed files came with it; again is no error.

        Raises
        ------
        SealError
            They aren't what was sealed.
        StoreError
            They can't be written.
        """
        workflow_id = accepted.workflow_id
        folder = self.folder(workflow_id)
        try:
            folder.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(folder.path / _COMING, "wb", opener=_private) as coming:
                fcntl.flock(coming, fcntl.LOCK_EX)  # the same request may have come twice
                if folder.is_whole:
                    return
                self.stage(accepted)
                for upload, content in contents.items():
                    _write_file(folder.path / UPLOADS[upload], content)
                self.complete(workflow_id, key)
        except OSError as error:
            raise _unwritable(error) from error

    def complete(self, workflow_id: str, key: bytes) -> None:
        """Check what was uploaded and let the submission count; again is no error.

        Raises
        ------
        SealError
            It isn't what was sealed.
        StoreError
            It can't be written.
        """
        folder = self.folder(workflow_id)
        accepted = folder.staged()
        if accepted is None:
            return
        for sealed in (accepted.dataset, accepted.sweep):
            _check_size(sealed)
            verify(sealed.uri, key, dataset_id=sealed.dataset_id)
        with _told_to_users():
            folder.publish()

    def names(self, workflow_id: str) -> dict[str, int]:
        """Return names and bytes of the files that its owner may fetch."""
        found: dict[str, int] = {}
        folder = self.folder(workflow_id).path
        with suppress(FileNotFoundError, NotADirectoryError):
            for entry in os.scandir(folder / "results"):
                if FILE_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    found[entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def path(self, workflow_id: str, name: str) -> Path:
        """Return where a file lies that its owner may fetch.

        Raises
        ------
        UnknownWorkflowError
            There is no such file.
        """
        folder = self.folder(workflow_id).path
        if name == UPLOADS["sweep"]:
            path = folder / name
        elif FILE_NAME.fullmatch(name):
            path = folder / "results" / name
        else:
            path = None
        if path is None or not _is_file(path):
            raise UnknownWorkflowError(f"workflow {workflow_id} has no file {name!r:.60}")
        return path

    def stored_bytes(self, workflow_id: str) -> int:
        """Return how much of the disk a workflow takes."""
        return self.folder(workflow_id).kept_bytes()

    def seen(self) -> list[SeenFolder]:
        """Return the folders of workflows that are a broker's: others have a key of their own."""
        found = []
        with suppress(OSError):
            for entry in os.scandir(self.root):
                with suppress(OSError, SubmissionError):
                    folder = self.folder(entry.name)
                    if entry.is_dir(follow_symlinks=False) and not folder.has_key:
                        changed_s = entry.stat(follow_symlinks=False).st_mtime
                        found.append(SeenFolder(entry.name, changed_s, folder.is_whole))
        return found

    def remove(self, workflow_id: str) -> None:
        """Remove all of a workflow; none being there is no error.

        Raises
        ------
        StoreError
            It can't be removed.
        """
        folder = self.folder(workflow_id)
        with _told_to_users():
            folder.remove()


@contextmanager
def _told_to_users() -> Iterator[None]:
    """Tell what can't be written without where: that is nobody's but who runs the platform."""
    try:
        yield
    except StoreError as error:
        log.warning("%s", error)
        cause = error.__cause__
        raise _unwritable(cause if isinstance(cause, OSError) else OSError()) from error


def _check_size(sealed: SealedDataset) -> None:
    path = Path(sealed.uri)
    found = path.stat().st_size if path.exists() else 0
    if found != sealed.sealed_bytes:
        raise SealError(
            f"{path.name} has {found:,} bytes here, and {sealed.sealed_bytes:,} were announced: "
            "submit the sweep anew"
        )


def _opened(path: Path, offset: int) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, _WRITE, 0o600)
    except OSError as error:
        raise _unwritable(error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UploadError(
                "this upload is under way in another request: wait for that, or ask how far it came"
            ) from None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size < offset:
            raise WorkflowStateError("what was uploaded before isn't there any more: submit anew")
        os.ftruncate(descriptor, offset)  # what a broken request left is sent again
    except OSError as error:
        os.close(descriptor)
        raise _unwritable(error) from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _write_file(path: Path, content: bytes) -> None:
    with open(path, "wb", opener=_private) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _write(descriptor: int, data: bytearray, at: int) -> int:
    view = memoryview(data)
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], at + done)
    return done


def _unwritable(error: OSError) -> StoreError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = error.strerror or type(error).__name__
    return StoreError(
        "the platform's disk is full: try again later, or remove workflows that are over"
        if full
        else f"the platform can't write there ({why}): tell who runs it"
    )


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
