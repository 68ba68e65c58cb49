"""A workflow's folder: all of it that outlives the process that runs it.

In: its submission and key, who runs it, how it ended. Not in: the results of its fits
(:mod:`fitcast.scheduler.kept.results`), which folder is removed when
(:mod:`fitcast.scheduler.session.keeping`).

    <home>/workflows/<workflow_id>/
        lock               held by the process that runs it, and given back however that ends
        key                the workflow's key; without it nothing that is sealed can be read
        submission.json    plain data; written last, so a folder with it is whole
                           (….staged while what is sealed of it is still to arrive)
        sweep.sealed       jobs, settings and rule of the user's
        dataset.sealed     unless the backend wants it elsewhere; removed at the workflow's end
        results/           what ended fits gave
        passing            nobody will ask for it once its process has ended
        forecast.json      when it was to be done, as forecast at submission
        played.json        the same before it was corrected, as a broker keeps it
        opened             how many processes have had it
        wanted             a replica that may have it waits for it, by the number of its claim
        end.json           how it ended

What is whole is written beside its place and renamed.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fitcast.errors import StoreError, SubmissionError, UnknownWorkflowError, WorkflowHeldError
from fitcast.history.file_locks import LOOKERS_S, is_locked, locked
from fitcast.scheduler.kept.accepted import (
    Accepted,
    DamagedError,
    accepted_from_json,
    accepted_to_json,
)
from fitcast.trainer.sealing import new_key
from fitcast.trainer.shared_memory import write_all

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = "lock"
_PASSING: Final = "passing"
_KEY: Final = "key"
_SUBMISSION: Final = "submission.json"
_STAGED: Final = "submission.json.staged"
_OPENED: Final = "opened"
_WANTED: Final = "wanted"
_FORECAST: Final = "forecast.json"
_BEST: Final = "best.json"
_END: Final = "end.json"


@dataclass(frozen=True, slots=True)
class End:
    """How a workflow ended, or was left."""

    state: str  # succeeded | failed | cancelled | interrupted
    ended_at: datetime
    error_type: str = ""
    error: str = ""
    can_resume: bool = False


class WorkflowFolder:
    """The folder of one workflow.

    Parameters
    ----------
    root : Path
        The folder of all workflows.
    workflow_id : str
        Which.

    Raises
    ------
    SubmissionError
        That can't be a workflow's id.
    """

    def __init__(self, root: Path, workflow_id: str) -> None:
        if not _NAME.fullmatch(workflow_id):  # it is to be no way out of the folder
            raise SubmissionError(
                f"there is no workflow {workflow_id!r:.50}: that can be no id of one"
            )
        self.workflow_id = workflow_id
        self.path = root / workflow_id
        self._lock: int | None = None

    @property
    def results_uri(self) -> str:
        """Where results of its fits are kept."""
        return str(self.path)

    @property
    def sweep_uri(self) -> str:
        """Where what it was made of is sealed."""
        return str(self.path / "sweep.sealed")

    @property
    def dataset_uri(self) -> str:
        """Where its dataset is sealed, unless that lies elsewhere."""
        return str(self.path / "dataset.sealed")

    # -- by the process that runs it -----------------------------------------------------------

    def make(self) -> bytes:
        """Make it, held by this process; return the new key of the workflow.

        Raises
        ------
        StoreError
            It can't be made there.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True)
            self.hold()
            key = new_key()
            _write(self.path / _KEY, key)
        except OSError as error:
            raise self._unwritable(error) from error
        return key

    def hold(self) -> None:
        """Say that this process runs it.

        Raises
        ------
        SubmissionError
            Another one does, or there is no such workflow.
        """
        try:
            lock = locked(self.path / _LOCK, LOOKERS_S)
        except FileNotFoundError:
            raise self._unknown() from None
        except OSError as error:
            raise self._unwritable(error) from error
        if lock is None:
            raise WorkflowHeldError(
                f"workflow {self.workflow_id} runs in another process: wait for it, or cancel it "
                "there"
            )
        self._lock = lock

    def release(self) -> None:
        """Say that this process runs it no more."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def accept(self, accepted: Accepted) -> None:
        """Write down what was taken in; from then on it can be gone on with by others.

        Raises
        ------
        StoreError
            It can't be written.
        """
        self._write_json(_SUBMISSION, accepted_to_json(accepted))

    def stage(self, accepted: Accepted) -> None:
        """Write down what is to be taken in, once what is sealed of it has arrived.

        Raises
        ------
        StoreError
            It can't be written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path / _LOCK).touch(mode=0o600)
        except OSError as error:
            raise self._unwritable(error) from error
        self._write_json(_STAGED, accepted_to_json(accepted))

    def staged(self) -> Accepted | None:
        """Return what is to be taken in; None if that was done, or there is nothing.

        Raises
        ------
        SubmissionError
            It is damaged.
        """
        told = self._read_json(_STAGED)
        return None if told is None else self._accepted(told)

    def publish(self) -> None:
        """Take in what was to be: it can be gone on with from now on.

        Raises
        ------
        StoreError
            It can't be written.
        """
        try:
            (self.path / _STAGED).rename(self.path / _SUBMISSION)
            sync_folder(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def note_opened(self) -> int:
        """Count this process in; return how many had it before."""
        before = 0
        with suppress(OSError, ValueError):
            before = int((self.path / _OPENED).read_text(encoding="ascii"))
        try:
            _write(self.path / _OPENED, str(before + 1).encode())
        except OSError as error:
            raise self._unwritable(error) from error
        return before

    def note_end(self, end: End) -> None:
        """Write down how it ended.

        Raises
        ------
        StoreError
            It can't be written.
        """
        self._write_json(_END, asdict(end) | {"ended_at": end.ended_at.isoformat()})

    def note_forecast(self, forecast_s: tuple[float, float, float]) -> None:
        """Write down P10, P50 and P90 of its end, in seconds from submission on."""
        with suppress(OSError):  # not worth failing for
            (self.path / _FORECAST).write_text(json.dumps(forecast_s), encoding="ascii")

    def forecast_s(self) -> tuple[float, float, float] | None:
        """Return what :meth:`note_forecast` wrote down, if anything."""
        try:
            p10_s, p50_s, p90_s = json.loads((self.path / _FORECAST).read_bytes())
            return float(p10_s), float(p50_s), float(p90_s)
        except (OSError, ValueError, TypeError):
            return None

    def note_best(self, index: int) -> None:
        """Write down which candidate was chosen as the best."""
        with suppress(OSError):  # else it is chosen once more
            _write(self.path / _BEST, json.dumps(index).encode())

    def best_index(self) -> int | None:
        """Return which candidate was chosen as the best; None if none was yet."""
        try:
            return int(json.loads((self.path / _BEST).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def note_passing(self) -> None:
        """Write down that nobody will ask for it any more once its process has ended."""
        with suppress(OSError):
            (self.path / _PASSING).touch(mode=0o600)

    @property
    def is_passing(self) -> bool:
        """Whether it may be removed once no process runs it."""
        return (self.path / _PASSING).exists()

    def note_wanted(self, fence: int) -> None:
        """Write down that somebody waits for it who has the right to run it, by a claim's number.

        Raises
        ------
        StoreError
            It can't be written.
        """
        try:
            _write(self.path / _WANTED, str(fence).encode())
        except OSError as error:
            raise self._unwritable(error) from error

    def wanted(self) -> int:
        """Return the number of the claim by which it is waited for; 0 if by none."""
        try:
            return int((self.path / _WANTED).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def go_on(self) -> None:
        """Forget that it had ended."""
        (self.path / _END).unlink(missing_ok=True)

    # -- by anyone who may ---------------------------------------------------------------------

    def is_held(self) -> bool:
        """Tell whether a process runs it."""
        return is_locked(self.path / _LOCK)

    @property
    def has_key(self) -> bool:
        """Whether its key lies in it; else somebody keeps it who will remove the folder, too."""
        return (self.path / _KEY).exists()

    @property
    def is_whole(self) -> bool:
        """Whether it was taken in, so that it can be gone on with."""
        return (self.path / _SUBMISSION).is_file()

    def key(self) -> bytes:
        """Return its key.

        Raises
        ------
        SubmissionError
            It is gone.
        """
        try:
            return (self.path / _KEY).read_bytes()
        except OSError as error:
            raise SubmissionError(
                f"the key of workflow {self.workflow_id} can't be read ({error.strerror}): what is "
                "sealed of it is lost; submit the sweep again"
            ) from error

    def accepted(self) -> Accepted:
        """Return what was taken in.

        Raises
        ------
        SubmissionError
            There is no such workflow, it is damaged, or of a newer fitcast.
        """
        told = self._read_json(_SUBMISSION)
        if told is None:
            raise self._unknown()
        return self._accepted(told)

    def _accepted(self, told: Any) -> Accepted:
        try:
            return accepted_from_json(told)
        except DamagedError as error:
            raise SubmissionError(
                f"what is kept of workflow {self.workflow_id} is damaged ({error}): submit the "
                "sweep again"
            ) from error

    def end(self) -> End | None:
        """Return how it ended; None if it didn't, or what ran it had no time to say."""
        told = self._read_json(_END)
        if told is None:
            return None
        try:
            told["ended_at"] = datetime.fromisoformat(told["ended_at"])
            known = {field.name for field in fields(End)}  # a newer fitcast may say more
            return End(**{name: value for name, value in told.items() if name in known})
        except (KeyError, TypeError, ValueError):
            return None

    def final_end(self) -> End | None:
        """Return how it ended for good; None if it didn't end, or can be gone on with."""
        end = self.end()
        return None if end is None or end.can_resume else end

    def kept_bytes(self) -> int:
        """Return how much of the disk it takes."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(OSError):
                    total += Path(folder, name).lstat().st_size
        return total

    def remove(self) -> None:
        """Remove all of it.

        Raises
        ------
        StoreError
            It can't be removed.
        """
        try:
            shutil.rmtree(self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreError(f"{self.path} can't be removed ({error.strerror or error})") from error
        finally:
            self.release()

    # --------------------------------------------------------------------------------------------

    def _write_json(self, name: str, told: Mapping[str, Any]) -> None:
        try:
            _write(self.path / name, json.dumps(told, separators=(",", ":")).encode("ascii"))
        except OSError as error:
            raise self._unwritable(error) from error

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise SubmissionError(
                f"{name} of workflow {self.workflow_id} can't be read ({type(error).__name__})"
            ) from error

    def _unknown(self) -> SubmissionError:
        return UnknownWorkflowError(
            f"there is no workflow {self.workflow_id!r} here; `fitcast workflows` lists those "
            "there are"
        )

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.path} can't be written ({error.strerror or error}): free some space there, or "
            "give another home (FITCAST_HOME)"
        )


def folders(root: Path) -> Iterator[WorkflowFolder]:
    """Yield the workflows that are kept, oldest first."""
    with suppress(OSError):
        for path in sorted(root.iterdir()):
            if _NAME.fullmatch(path.name) and (path / _SUBMISSION).is_file():
                yield WorkflowFolder(root, path.name)


def _write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, onto the disk itself."""
    beside = path.with_name(f"{path.name}.new")
    fd = os.open(beside, _NEW_FILE, 0o600)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    beside.rename(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Bring a folder's names onto the disk itself."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
