"""What fitcast reads from the environment, with its defaults.

In here: where state lives, which MLflow store is used, and how much of this machine may be used.
Not in here: what a user passes to a sweep or a pool, and the checks of a tracking URI
(:mod:`fitcast.history.tracking_uri`).
"""

import logging
import os
import stat
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from fitcast.errors import InvalidInputError

log = logging.getLogger(__name__)


class Settings(BaseSettings):
    """Settings, from ``FITCAST_…`` environment variables where nothing is passed.

    Attributes
    ----------
    home : Path
        Folder of fitcast's state (``FITCAST_HOME``); ``~/.fitcast`` by default.
    tracking_uri : str
        The MLflow store that holds the history: ``FITCAST_TRACKING_URI``, else
        ``MLFLOW_TRACKING_URI``, else a SQLite file under ``home``.
    experiment : str
        Name of the MLflow experiment (``FITCAST_EXPERIMENT``).
    cpus : int or None
        CPUs that fits on this machine may use together (``FITCAST_CPUS``); None means all that
        this process may use.
    memory_bytes : int or None
        Memory in bytes that fits on this machine may use together (``FITCAST_MEMORY_BYTES``);
        None means what this process may use.
    check_plan : bool
        Whether the scheduler checks its own plan after every event (``FITCAST_CHECK_PLAN``): for
        tests and bug reports, as it takes time.
    keep_messages : bool
        Whether messages of errors, warnings and output of fits go into the history
        (``FITCAST_KEEP_MESSAGES``), where whoever may read it finds what values of data they hold.
        Without, types of errors and places in code stay.
    result_bytes : int
        Bytes that predictions and model of one fit may take (``FITCAST_RESULT_BYTES``); 1 GiB.
    keep_days : float
        Days for which what is kept of a workflow stays once nobody runs it
        (``FITCAST_KEEP_DAYS``); 30.
    background_idle_s : float
        Seconds after which the background process ends that has nothing to do
        (``FITCAST_BACKGROUND_IDLE_S``); 60.
    store_wait_s : float
        Seconds that a slow or locked store of the history is waited for
        (``FITCAST_STORE_WAIT_S``), each time; 30. Records wait in the outbox beyond that.

    Raises
    ------
    InvalidInputError
        A variable holds a value that can't be used; the message names it.
    """

    model_config = SettingsConfigDict(
        env_prefix="FITCAST_",
        env_ignore_empty=True,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
    )

    home: Path = Path("~/.fitcast")
    tracking_uri: str = Field(
        default="",
        validation_alias=AliasChoices("FITCAST_TRACKING_URI", "MLFLOW_TRACKING_URI"),
    )
    experiment: str = Field(default="fitcast", min_length=1)
    cpus: int | None = Field(default=None, ge=1)
    memory_bytes: int | None = Field(default=None, ge=1)
    check_plan: bool = False
    keep_messages: bool = True
    result_bytes: int = Field(default=2**30, ge=2**16)
    keep_days: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    background_idle_s: float = Field(default=60.0, ge=1, allow_inf_nan=False)
    store_wait_s: float = Field(default=30.0, gt=0, le=86_400, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidInputError(_reported(error)) from None
        except RuntimeError as error:  # "~" without a home folder
            raise InvalidInputError(
                f"fitcast can't tell your home folder ({error}). Set FITCAST_HOME to a folder "
                "that you may write to."
            ) from None

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        # absolute, so that a later change of folder doesn't move the state
        return Path(os.path.abspath(home.expanduser()))  # noqa: PTH100 - keeps symlinks as given

    @model_validator(mode="after")
    def _default_store(self) -> Self:
        if not self.tracking_uri:
            # three slashes start a SQLite URI; the absolute path brings the fourth. Quoted, as
            # a '?' or '%' in the path would be read as part of the URI.
            uri = f"sqlite:///{quote(str(self.home / 'mlflow.db'))}"
            object.__setattr__(self, "tracking_uri", uri)
        return self

    @property
    def artifact_dir(self) -> Path:
        """Folder of MLflow's artifacts when the store is the default one."""
        return self.home / "mlartifacts"

    def ensure_home(self) -> Path:
        """Make the home folder, or check the one that is there: this user's, and closed to others.

        Every entry calls it first: a client, and each command that reads or writes state. A folder
        of this user that others may enter is closed to them, with a warning in the log; a link to
        a folder of this user counts as that folder.

        Raises
        ------
        InvalidInputError
            The folder can't be made, may not be written to, is another user's, or is a common one
            such as ``/tmp``.
        """
        todo = "Set FITCAST_HOME to a folder that you may write to."
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.home.stat()  # of what a link leads to
        except (FileExistsError, NotADirectoryError):
            raise InvalidInputError(
                f"FITCAST_HOME is {self.home}, but that, or a part of it, is a file. {todo}"
            ) from None
        except OSError as error:
            raise InvalidInputError(
                f"fitcast can't make its folder {self.home} ({error.strerror or error}). {todo}"
            ) from None
        if status.st_uid != os.geteuid():
            raise InvalidInputError(
                f"fitcast's folder {self.home} belongs to another user (number {status.st_uid}), "
                "who could read your history and change it. Set FITCAST_HOME to a folder of your "
                "own."
            )
        if status.st_mode & stat.S_ISVTX:  # closing /tmp itself would lock others out
            raise InvalidInputError(
                f"FITCAST_HOME is {self.home}, a folder that all users share. Set it to a folder "
                "of your own, for example one below it."
            )
        if not os.access(self.home, os.R_OK | os.W_OK | os.X_OK):
            raise InvalidInputError(f"You may not write to fitcast's folder {self.home}. {todo}")
        if status.st_mode & 0o077:
            self._close_home(stat.S_IMODE(status.st_mode))
        return self.home

    def _close_home(self, mode: int) -> None:
        """Leave the home to its owner alone; say so, as it may have been open on purpose."""
        try:
            self.home.chmod(0o700)
        except OSError as error:
            raise InvalidInputError(
                f"fitcast's folder {self.home} is open to other users (mode {mode:04o}) and can't "
                f"be closed to them ({error.strerror or error}). Run `chmod 700` on it, or set "
                "FITCAST_HOME to a folder on a file system that knows owners."
            ) from None
        log.warning(
            "fitcast's folder %s was open to other users (mode %04o); it is closed to them now "
            "(mode 0700)",
            self.home,
            mode,
        )


class KubernetesSettings(BaseSettings):
    """Where fits run if not on this machine, from ``FITCAST_KUBERNETES_…`` variables.

    Attributes
    ----------
    image : str or None
        Image of the pods (``FITCAST_KUBERNETES_IMAGE``). If it is set, `Client()` uses Kubernetes.
    namespace, kubeconfig, context, dataset_root : str or None
        As `KubernetesBackend` takes them.
    pools : list of dict or None
        As JSON, each with what `KubernetesPool` takes; ``memory_bytes`` may be ``"4Gi"``.

    Raises
    ------
    InvalidInputError
        A variable holds a value that can't be used; the message names it.
    """

    model_config = SettingsConfigDict(
        env_prefix="FITCAST_KUBERNETES_", env_ignore_empty=True, extra="ignore", frozen=True
    )

    image: str | None = None
    namespace: str | None = None
    kubeconfig: str | None = None
    context: str | None = None
    dataset_root: str | None = None
    pools: list[dict[str, Any]] | None = None

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidInputError(_reported(error, "FITCAST_KUBERNETES_")) from None


def _reported(error: ValidationError, prefix: str = "FITCAST_") -> str:
    """Return what is wrong with which variable, without pydantic's own text around it."""
    parts = []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else "home"
        variable = name if name.isupper() else f"{prefix}{name.upper()}"
        parts.append(f"{variable}={problem['input']!r}: {problem['msg'].lower()}")
    return f"These settings can't be used: {'; '.join(parts)}. Change or unset what is named."
