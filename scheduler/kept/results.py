"""The result store of a workflow: what its fits gave, on disk, sealed, before it counts as done.

In: committing attempts that ended, finding them again, reading predictions and models one by one.
Not in: how they lie in a file (:mod:`fitcast.scheduler.kept.layout`), where files lie
(:mod:`fitcast.scheduler.kept.places`), when what is committed
(:mod:`fitcast.scheduler.kept.committer`).

A commit is one new file, ``results/<number of the commit>-<random>.sealed``, in the format of
sealed datasets (:mod:`fitcast.trainer.sealed_files`), bound to its workflow and its name. It is
never changed. A file that can't be used gets another name, ``….damaged``, and its fits run again;
its bytes stay for whoever wants to look, and once it has its name again it is read again.
"""

import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import numpy.typing as npt

from fitcast.errors import SealError, StoreError
from fitcast.scheduler.kept.layout import (
    PREAMBLE,
    Ended,
    KeptAttempt,
    NewerLayoutError,
    Part,
    array_of,
    decoded,
    encoded,
    heads_bytes,
)
from fitcast.scheduler.kept.places import Place, ResultsSource, UnreadableFileError, place_of
from fitcast.trainer.sealed_files import Kind, SealedFile, new_header, sealed

__all__ = ["Ended", "KeptAttempt", "KeptPredictions", "Part", "ResultStore"]

log = logging.getLogger(__name__)

FILE_NAME: Final = re.compile(r"([0-9]{8})-[0-9a-f]{16}\.sealed")
"""What files of results are called."""

_SEGMENT_BYTES: Final = 2**16  # so much is read and decrypted for the smallest part
_FIRST_BYTES: Final = _SEGMENT_BYTES + 1024  # read at once: header and first segment
_RESULTS: Final = Kind(
    "results",
    "results file",
    "The fits in it have to run again; if this comes back, someone or something changes files "
    "there",
)


class ResultStore:
    """What is kept of the fits of one workflow.

    Safe to use by several threads.

    Parameters
    ----------
    uri
        The workflow's folder: a path, or an address that fsspec knows. Files lie in ``results/``.
    key
        The workflow's key, 32 bytes.
    workflow_id
        Whose results they are.
    place
        What leads to that folder, if no path or address does.

    Raises
    ------
    StoreError
        No file system answers to the address.
    """

    def __init__(self, uri: str, key: bytes, workflow_id: str, place: Place | None = None) -> None:
        self.workflow_id = workflow_id
        self.uri = f"{str(uri).rstrip('/')}/results"
        self._key = key
        self._place = place or place_of(self.uri)
        self._lock = Lock()
        self._loaded: set[str] = set()
        self._next: int | None = None  # number of the next commit; None before the first look

    def load(self, *, tidy: bool = True) -> tuple[list[KeptAttempt], list[str]]:
        """Return all attempts that are kept, in the order of their commits, and what is damaged.

        Reads the heads only; predictions and models are verified when they are read.

        Parameters
        ----------
        tidy
            Whether files that a kill left unfinished are removed, and those that can't be used set
            aside: only by who runs the workflow, as another may be writing them just now.

        Returns
        -------
        attempts : list of KeptAttempt
            Each once, even if its commit was repeated.
        messages : list of str
            One for each file that can't be used.

        Raises
        ------
        StoreError
            The folder, or the disk, can't be read at all; nothing was changed.
        """
        if tidy:
            self._place.remove_unfinished()
        self._loaded.clear()
        return self.load_new(tidy=tidy)

    def load_new(self, *, tidy: bool = False) -> tuple[list[KeptAttempt], list[str]]:
        """Return what was committed since the last look; see `load`."""
        found: dict[str, KeptAttempt] = {}
        messages = []
        names = [name for name in self._names() if name not in self._loaded]
        for name in names:
            try:
                for kept in self._heads(name):
                    found.setdefault(kept.record.record_id, kept)
            except (SealError, UnreadableFileError) as error:
                told = str(error)
                if not isinstance(error, SealError):
                    told = str(_RESULTS.damaged(self._at(name), told))
                messages.append(f"{told}. {self._set_aside(name)}" if tidy else told)
                log.warning("%s", messages[-1])
        self._loaded.update(names)  # not before: where reading broke off, all are read again
        return list(found.values()), messages

    def commit(self, ended: Sequence[Ended]) -> list[KeptAttempt]:
        """Keep attempts: once this returns they are on the disk itself, all of them.

        Raises
        ------
        StoreError
            They can't be kept there; none of them is.
        InvalidSweepError
            Predictions aren't plain.
        """
        if not ended:
            return []
        name = f"{self._number():08d}-{secrets.token_hex(8)}.sealed"
        content = encoded(ended, name)
        header = new_header(
            _RESULTS,
            self._key,
            workflow_id=self.workflow_id,
            content_id=name,
            plaintext_bytes=content.plaintext_bytes,
            segment_bytes=_SEGMENT_BYTES,
        )
        try:
            self._place.write(name, sealed(header, self._key, content.chunks))
        except (OSError, MemoryError) as error:
            raise self._not_kept(error, content.plaintext_bytes) from error
        return content.kept

    def predictions(self, part: Part) -> npt.NDArray[Any]:
        """Return the predictions that lie there, verified.

        Raises
        ------
        SealError
            They were altered, or swapped.
        StoreError
            They can't be read, or are gone.
        """
        data = self._bytes(part)
        try:
            return array_of(part, data)
        except ValueError as error:
            raise _RESULTS.damaged(self._at(part.file), str(error)) from error

    def model(self, part: Part) -> bytes:
        """Return the model that lies there, verified; see `predictions`."""
        return bytes(self._bytes(part))

    def remove(self) -> None:
        """Remove all results of the workflow; none being there is no error.

        Raises
        ------
        StoreError
            They can't be removed.
        """
        self._place.remove()

    def _names(self) -> list[str]:
        names = sorted(self._place.names(FILE_NAME))
        with self._lock:
            last = int(names[-1][:8]) + 1 if names else 1
            self._next = max(last, self._next or 0)
        return names

    def _number(self) -> int:
        if self._next is None:
            try:
                self._names()
            except StoreError as error:
                raise StoreError(f"results can't be kept: {error}") from error
        with self._lock:
            number = self._next or 1
            self._next = number + 1
            return number

    def _heads(self, name: str) -> list[KeptAttempt]:
        with self._place.opened(name) as source:
            reader = _Reader(source)
            file = self._verified(name, reader)
            if source.size_bytes != file.file_bytes:
                how = "truncated" if source.size_bytes < file.file_bytes else "appended to"
                raise _RESULTS.damaged(self._at(name), f"it was {how}")
            total = file.header.plaintext_bytes
            start = file.part(reader.read_at, 0, min(total, file.header.segment_bytes))
            try:
                wanted = heads_bytes(start)
                end = PREAMBLE.size + wanted
                if end > total:
                    raise ValueError("its heads are longer than it is")
                if end > len(start):
                    start += file.part(reader.read_at, len(start), end - len(start))
                return decoded(start[PREAMBLE.size : end], name, total)
            except (SealError, StoreError, UnreadableFileError):
                raise
            except NewerLayoutError as error:
                raise _RESULTS.damaged(
                    self._at(name), f"{error}: upgrade fitcast to use it"
                ) from error
            except Exception as error:  # authentic, but of a fitcast that wrote something else
                raise _RESULTS.damaged(
                    self._at(name), f"this version can't read what is in it ({error!r})"
                ) from error

    def _bytes(self, part: Part) -> bytearray:
        if FILE_NAME.fullmatch(part.file) is None:
            raise StoreError(f"{part.file!r} is no results file: use parts of this store only")
        try:
            with self._place.opened(part.file) as source:
                reader = _Reader(source)
                file = self._verified(part.file, reader)
                return file.part(reader.read_at, part.offset, part.length)
        except UnreadableFileError as error:
            raise StoreError(
                f"the results file {self._at(part.file)!r} can't be read any more ({error}): the "
                "fits in it have to run again"
            ) from error

    def _verified(self, name: str, reader: "_Reader") -> SealedFile:
        return SealedFile(
            reader.read,
            self._key,
            kind=_RESULTS,
            content_id=name,
            workflow_id=self.workflow_id,
            uri=self._at(name),
        )

    def _set_aside(self, name: str) -> str:
        try:
            return f"It was set aside as {self._place.set_aside(name)}"
        except StoreError as error:
            return f"It can't be set aside ({error})"

    def _not_kept(self, error: Exception, needed_bytes: int) -> StoreError:
        said = f"{type(error).__name__}: {error}".removesuffix(": ")
        free_bytes = self._place.free_bytes()
        free = "" if free_bytes is None else f", {free_bytes:,} are free there"
        return StoreError(
            f"results can't be kept in {self.uri!r} ({said}): {needed_bytes:,} bytes are to be "
            f"written{free}. Free space there, and see that this process may write"
        )

    def _at(self, name: str) -> str:
        return f"{self.uri}/{name}"


@dataclass(frozen=True, slots=True)
class KeptPredictions:
    """A fit's predictions where they are kept."""

    store: ResultStore
    part: Part

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array, without opening it."""
        assert self.part.words is not None
        return tuple(self.part.words[1])

    def load(self) -> npt.NDArray[Any]:
        """Return the array.

        Raises
        ------
        StoreError, SealError
            It can't be read, or was altered.
        """
        return self.store.predictions(self.part)


class _Reader:
    """Reads the beginning of a file at once, and goes back for what lies behind."""

    def __init__(self, source: ResultsSource) -> None:
        self._source = source
        self._first = source.read(0, min(_FIRST_BYTES, source.size_bytes))
        self._at = 0

    def read(self, wanted: int) -> bytes:
        data = self.read_at(self._at, wanted)
        self._at += len(data)
        return data

    def read_at(self, at: int, wanted: int) -> bytes:
        if at + wanted <= len(self._first):
            return self._first[at : at + wanted]
        return self._source.read(at, wanted)
