"""The client: forecasts sweeps, submits them, gives handles on them, and cleans up."""

import atexit
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar

from fitcast.errors import FitcastError, InvalidInputError
from fitcast.history.store import HistoryStore
from fitcast.scheduler.backends.protocol import Backend
from fitcast.scheduler.forecast.sweep_estimate import SweepEstimate
from fitcast.scheduler.plan.pools import Pool
from fitcast.scheduler.session.own_platform import OwnPlatform
from fitcast.scheduler.session.platform import Platform
from fitcast.scheduler.session.remote.platform import RemotePlatform
from fitcast.scheduler.session.workflow import Workflow
from fitcast.settings import Settings

if TYPE_CHECKING:
    from fitcast.trainer.sweep.prepared import Sweep


class Client:
    """Runs sweeps on this machine, wherever its backend has workers, or on a shared platform.

    Use it as a context manager, or `close` it: no process, port or shared memory stays behind.
    It is a handle: a copy is the same client, and a pickle of what holds it holds None instead.

    Parameters
    ----------
    backend : LocalBackend, KubernetesBackend or str, optional
        Where fits run; by default all that this process may use of this machine, or pods if
        ``FITCAST_KUBERNETES_IMAGE`` is set. The address of a shared platform (``"https://…"``)
        in its place lets that run them.
    token : str, optional
        What opens a shared platform; by default ``FITCAST_TOKEN``, else what `fitcast login` kept.
    home : path, optional
        Where state lives; by default ``FITCAST_HOME``, else ``~/.fitcast``.
    tracking_uri : str, optional
        The MLflow store; by default ``MLFLOW_TRACKING_URI``, else SQLite under `home`.
    history : HistoryStore, optional
        Another store in its place, for example ``MemoryHistory()`` to leave nothing behind.
    start_workers : bool
        Whether workers of this machine are started at once, to be there when they are needed; if
        not, with the first workflow that runs here.

    Raises
    ------
    InvalidPoolError
        The pools don't fit this machine.
    HistoryError
        The tracking URI can't be one.
    BrokerError
        The shared platform doesn't answer, or refuses the token.
    """

    _first_made_in: ClassVar[int | None] = None  # process, also of those that were forked from it

    def __init__(
        self,
        backend: Backend | str | None = None,
        *,
        token: str | None = None,
        home: str | Path | None = None,
        tracking_uri: str | None = None,
        history: HistoryStore | None = None,
        start_workers: bool = True,
    ) -> None:
        Client._first_made_in = Client._first_made_in or os.getpid()
        chosen = {"home": None if home is None else Path(home), "tracking_uri": tracking_uri}
        settings = Settings(**{name: value for name, value in chosen.items() if value})
        settings.ensure_home()
        self._settings = settings
        self._closed = False
        self._platform: Platform
        if isinstance(backend, str):
            if history is not None or tracking_uri is not None:
                raise InvalidInputError(
                    "the history of a shared platform is its own: leave history and tracking_uri "
                    "out"
                )
            self._platform = RemotePlatform(backend, token, settings.home)
        elif token is not None:
            raise InvalidInputError("a token opens a shared platform: give its address before it")
        else:
            self._platform = OwnPlatform(settings, backend, history, start_workers=start_workers)
        atexit.register(self.close)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # It is a handle: cloning or copying what holds it copies neither workers nor threads, and in a
    # pickle it is None, since another process can't use it.

    def __sklearn_clone__(self) -> "Client":
        return self

    def __copy__(self) -> "Client":
        return self

    def __deepcopy__(self, memo: object) -> "Client":
        return self

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()

    @property
    def is_closed(self) -> bool:
        """Whether it takes nothing any more."""
        return self._closed

    @property
    def home(self) -> Path:
        """Where state lies."""
        return self._settings.home

    @property
    def tracking_uri(self) -> str:
        """The MLflow store; empty if a shared platform has it."""
        return self._platform.tracking_uri

    @property
    def troubles(self) -> tuple[str, ...]:
        """What the user was told about the history: unreachable, disk full, sent later."""
        return self._platform.troubles

    def estimate(
        self, sweep: "Sweep", *, pools: Sequence[Pool] | None = None, probe: bool = False
    ) -> SweepEstimate:
        """Forecast a sweep; nothing is run unless it is probed.

        Parameters
        ----------
        sweep : Sweep
            What would be submitted.
        pools : sequence of Pool, optional
            Other workers than this client's, to see what they would change; they need not exist.
        probe : bool
            Whether a few fits may be tried on a sample of the rows first, where the forecast is
            unsure and the sweep long enough: it takes about 3 % of what the sweep does.

        Raises
        ------
        InvalidInputError
            The sweep can't be run as it is; `InvalidPoolError` if the pools contradict themselves,
            `FitTooLargeError` if no worker could hold a fit.
        """
        return self._platform.estimate(sweep, pools, probe=probe)

    def submit(self, sweep: "Sweep", *, probe: bool = False, detach: bool = False) -> Workflow:
        """Start a sweep and return a handle on it.

        It returns once the dataset is encrypted: the data, and whatever else the sweep was made of,
        may be changed from then on. That takes about a second per gigabyte; the first fits start
        meanwhile. scikit-learn's configuration and the filters of warnings that are in force here
        are in force in the fits.

        Parameters
        ----------
        sweep : Sweep
            What to run.
        probe : bool
            As in `estimate`; it then returns once the probes are done.
        detach : bool
            Whether the background process of this home runs it, which outlives this one.

        Raises
        ------
        InvalidInputError
            The sweep can't be run as it is; nothing was started.
        BackgroundError
            The background process can't be started, or was started with other settings.
        """
        if self._closed:
            raise FitcastError("this client was closed: make a new one")
        return self._platform.submit(sweep, probe=probe, detach=detach)

    def resume(self, workflow_id: str, sweep: "Sweep | None" = None) -> Workflow:
        """Go on with a workflow whose client ended before it did, and return a handle on it.

        Only fits without a kept result run again. Its data is what it was at submission.

        Parameters
        ----------
        workflow_id : str
            Its id; `workflows` lists those there are.
        sweep : Sweep, optional
            What it was made of, in case its dataset is gone; it must be the same.

        Raises
        ------
        SubmissionError
            There is none, it has ended, it runs in another process, or what is kept of it is gone,
            damaged or of a newer fitcast. Nothing was started.
        SealError
            What is sealed of it was altered.
        """
        if self._closed:
            raise FitcastError("this client was closed: make a new one")
        return self._platform.resume(workflow_id, sweep)

    def workflow(self, workflow_id: str) -> Workflow:
        """Return the handle of a workflow of this client, or of another process.

        It is live if the background process of this home, or another client, runs it.

        Raises
        ------
        SubmissionError
            There is none, or what is kept of it can't be read.
        """
        return self._platform.workflow(workflow_id)

    def workflows(self) -> list[Workflow]:
        """Return the workflows of this client and those of other processes, oldest first.

        Those of which what is kept can't be read are left out.
        """
        return self._platform.workflows()

    def remove(self, workflow_id: str) -> None:
        """Remove all that is kept of a workflow that has ended, or that nobody runs.

        Raises
        ------
        SubmissionError
            There is none, or a process runs it.
        StoreError
            It can't be removed.
        """
        self._platform.remove(workflow_id)

    def forget(self, workflow: Workflow) -> None:
        """Let go of a workflow and its data once it is over: handles alone hold it then.

        A client that goes on for long would otherwise keep the data of all that it ran.
        """
        self._platform.forget(workflow.id)

    def learn(self) -> int:
        """Train on all that is known now; return how many records that is."""
        return self._platform.learn()

    def flush(self, timeout_s: float = 60.0) -> bool:
        """Wait until the history has everything; False if it hasn't after `timeout_s`."""
        return self._platform.flush(timeout_s)

    def close(self) -> None:
        """Interrupt what runs, end every process, send the history what it lacks, clean up.

        `resume` goes on with what was interrupted, unless `forget` has let go of it; what the
        background process runs goes on meanwhile.
        """
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            self._platform.close()


def is_forked_from_clients() -> bool:
    """Tell whether this process was forked from one that had made a client."""
    return Client._first_made_in not in (None, os.getpid())
