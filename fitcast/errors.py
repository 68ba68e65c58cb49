"""Every error that fitcast raises on purpose.

Each message says what is wrong and what to do. Errors that stem from what the user handed in are
also ``ValueError``, so code written for scikit-learn catches them.

::

    FitcastError
    ├── InvalidInputError (ValueError)
    │   ├── InvalidSweepError       models, grids, cv, scoring
    │   ├── InvalidDataError        X, y, weights, groups, files
    │   └── InvalidPoolError        pools that contradict themselves
    │       └── FitTooLargeError    a fit that no pool can hold
    ├── SealError                   a sealed file that is damaged, swapped or not ours
    ├── StoreError                  results of a workflow can't be kept or read
    ├── SubmissionError             a workflow that is kept can't be opened or gone on with
    │   ├── UnknownWorkflowError    there is none of that name here
    │   └── WorkflowHeldError       another process runs it
    ├── BackgroundError             the background process can't be started, or used as it is
    ├── BrokerError                 a shared platform refuses something, or can't do it
    │   ├── BrokerUnreachableError  it doesn't answer
    │   ├── AuthenticationError     the token is missing, unknown, expired or revoked
    │   ├── ForbiddenError          the token may not do that
    │   ├── LimitError              a limit of the user, or of the platform, is reached
    │   │   └── TooLargeError       more than the platform ever takes at once
    │   ├── UnknownUserError        there is no such user
    │   ├── UserExistsError         there is one of that name already
    │   ├── IdempotencyError        an idempotency key was used for something else before
    │   ├── BusyError               it has too much to do at this moment
    │   ├── UploadError             a piece of an upload doesn't go on from what is there
    │   │   └── UploadStalledError  nothing more of it came for too long
    │   ├── WorkflowStateError      what was asked for doesn't go with the workflow's state
    │   ├── LostLeaseError          another replica has the workflow by now
    │   ├── KeyEncryptionError      a workflow's key can't be wrapped or unwrapped
    │   ├── IdentityProviderError   the keys of who vouches for users can't be had
    │   └── BrokerStoreError        its database can't be used, or is of a newer fitcast
    ├── HistoryError                the MLflow store can't be read or written
    │   └── InvalidCursorError      a position to read on from that isn't one of this store
    ├── ModelError                  a stored sizing model can't be used
    ├── BackendError                workers can't be started or were lost for good
    │   ├── WorkerBrokenError       a worker that can run no fit any more; it is replaced
    │   └── ClusterError            Kubernetes refuses something
    │       ├── ClusterUnreachableError  it isn't configured, or doesn't answer
    │       ├── ClusterAccessError       a right is missing
    │       ├── ClusterQuotaError        the namespace's quota is used up
    │       ├── ClusterRejectedError     what was asked for isn't valid
    │       └── OperatorMissingError     the Dask operator isn't installed
    ├── UnknownFitError             a workflow has no fit of that name
    ├── InternalError               a fault of fitcast itself
    └── WorkflowError
        ├── WorkflowCancelledError
        │   └── WorkflowInterruptedError  what ran it ended first; it can be resumed
        ├── WorkflowFailedError     no fit succeeded
        └── WaitTimeoutError (TimeoutError)
"""


class FitcastError(Exception):
    """Base of every error that fitcast raises on purpose."""


class InvalidInputError(FitcastError, ValueError):
    """What was handed in can't be used; nothing was started."""


class InvalidSweepError(InvalidInputError):
    """Models, grids, splits or scoring can't be used."""


class InvalidDataError(InvalidInputError):
    """X, y, weights, groups or the file they come from can't be used."""


class InvalidPoolError(InvalidInputError):
    """A pool contradicts itself or this machine."""


class FitTooLargeError(InvalidPoolError):
    """A fit needs more than any pool has."""


class SealError(FitcastError):
    """A sealed file is damaged, incomplete, swapped or encrypted with another key."""


class StoreError(FitcastError):
    """Results of a workflow can't be kept where they should be, or not be read there."""


class SubmissionError(FitcastError):
    """A stored submission is damaged, of a newer fitcast, gone, or in use elsewhere."""


class UnknownWorkflowError(SubmissionError):
    """There is no workflow of that name in this home."""


class WorkflowHeldError(SubmissionError):
    """Another process runs the workflow."""


class UnknownFitError(FitcastError):
    """A workflow has no fit of that name."""


class BackgroundError(FitcastError):
    """The background process can't be started, or was started with other settings."""


class BrokerError(FitcastError):
    """A shared platform refuses something, or can't do it."""


class BrokerStoreError(BrokerError):
    """The broker's database can't be used as it is, or not be reached."""


class BrokerUnreachableError(BrokerError):
    """The shared platform doesn't answer, or something else does in its place."""


class ForbiddenError(BrokerError):
    """The token for a shared platform is good, but not for this."""


class LimitError(BrokerError):
    """A limit of the user, or of the shared platform, is reached."""


class TooLargeError(LimitError):
    """What was sent is more than the shared platform ever takes at once."""


class AuthenticationError(BrokerError):
    """A token is unknown, revoked or expired, or its user is disabled."""


class UnknownUserError(BrokerError):
    """The broker has no user of that name."""


class UserExistsError(BrokerError):
    """The broker has a user of that name already."""


class IdempotencyError(BrokerError):
    """The idempotency key was used for another request before."""


class BusyError(BrokerError):
    """The shared platform has too much to do at this moment."""


class UploadError(BrokerError):
    """A piece of an upload doesn't go on from what is there, or goes beyond what was announced."""


class UploadStalledError(UploadError):
    """Nothing more of an upload came for too long; it can be gone on with."""


class WorkflowStateError(BrokerError):
    """What was asked for doesn't go with the state the workflow is in."""


class LostLeaseError(BrokerError):
    """The workflow was taken from this replica: its lease lapsed and another may have it."""


class KeyEncryptionError(BrokerError):
    """A workflow's key can't be wrapped or unwrapped with the key-encryption key."""


class IdentityProviderError(BrokerError):
    """The identity provider, whose keys a token is checked with, doesn't answer as it should."""


class HistoryError(FitcastError):
    """The history can't be read or written."""


class InvalidCursorError(HistoryError):
    """A cursor isn't one of the store it was handed to; None reads everything."""


class ModelError(FitcastError):
    """A stored sizing model is damaged, or of a newer fitcast."""


class BackendError(FitcastError):
    """Workers can't be started, or were lost for good."""


class WorkerBrokenError(BackendError):
    """A worker can run no fit any more; another takes its place."""


class ClusterError(BackendError):
    """Kubernetes refuses something."""


class ClusterUnreachableError(ClusterError):
    """No Kubernetes cluster is configured, or it doesn't answer."""


class ClusterAccessError(ClusterError):
    """A right in the cluster is missing."""


class ClusterQuotaError(ClusterError):
    """The namespace's quota is used up."""


class ClusterRejectedError(ClusterError):
    """Kubernetes finds an object invalid; what was asked for a pool or its pods may be why."""


class OperatorMissingError(ClusterError):
    """The Dask operator, or its custom resources, aren't installed."""


class InternalError(FitcastError):
    """A fault of fitcast itself ended a workflow; please report it with what it says."""


class WorkflowError(FitcastError):
    """A workflow didn't come to a result."""


class WorkflowCancelledError(WorkflowError):
    """The workflow was cancelled before it had a result."""


class WorkflowInterruptedError(WorkflowCancelledError):
    """What ran the workflow ended before it was done; ``client.resume`` goes on with it."""


class WorkflowFailedError(WorkflowError):
    """No fit succeeded; ``workflow.fits`` and ``workflow.logs()`` say why."""


class WaitTimeoutError(WorkflowError, TimeoutError):
    """The workflow wasn't done within the time given to ``wait`` or ``result``; it goes on."""


def error_named(kind: str, message: str) -> FitcastError:
    """Return the error of a name as another process told it; of a kind unknown here, the base."""
    found = globals().get(kind)
    if not (isinstance(found, type) and issubclass(found, FitcastError)):
        found = FitcastError
    return found(message)
