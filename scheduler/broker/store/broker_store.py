"""The store as the rest of the broker has it: one object, several rooms of methods."""

from types import TracebackType

from fitcast.scheduler.broker.store.database import Database, now_s
from fitcast.scheduler.broker.store.descriptions import DescriptionPart
from fitcast.scheduler.broker.store.events import EventPart
from fitcast.scheduler.broker.store.forecasts import ForecastPart
from fitcast.scheduler.broker.store.load import LoadPart
from fitcast.scheduler.broker.store.queue import QueuePart
from fitcast.scheduler.broker.store.tokens import TokenPart
from fitcast.scheduler.broker.store.uploads import UploadPart
from fitcast.scheduler.broker.store.users import UserPart
from fitcast.scheduler.broker.store.workflows import WorkflowPart


class BrokerStore(
    UserPart,
    TokenPart,
    WorkflowPart,
    DescriptionPart,
    UploadPart,
    QueuePart,
    LoadPart,
    ForecastPart,
    EventPart,
):
    """The broker's database; threads may share it.

    All of it raises `BrokerStoreError` where the database can't be used.

    Parameters
    ----------
    url : str
        ``sqlite:///path/to/file`` or ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    BrokerStoreError
        That is no address of a database for the broker.
    """

    def __init__(self, url: str) -> None:
        super().__init__(Database(url))

    def open(self) -> "BrokerStore":
        """Make the database, or bring it up to date; return this store.

        Raises
        ------
        BrokerStoreError
            It can't be reached or made, or is of a newer fitcast.
        """
        self._database.open()
        return self

    def check(self) -> None:
        """Ask the database for next to nothing.

        Raises
        ------
        BrokerStoreError
            It doesn't answer.
        """
        self._database.read(now_s)

    def now_s(self) -> float:
        """Return the time by the database's clock, in seconds since 1970."""
        return self._database.read(now_s)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> "BrokerStore":
        return self.open()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
