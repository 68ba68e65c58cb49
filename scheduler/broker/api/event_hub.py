"""Hands events of the database to all who follow them: one poll a second, however many follow.

A follower has a place in the sequence and a short line of events that it hasn't taken yet. One that
is slow holds no more than that: what would be too much is dropped, and read from the database again
once it goes on. Of how far a workflow is the database has the latest event alone, so a follower is
told of that once a second at most, and after a pause only how it stands now.

Everything here is on one event loop but for reading the database. Not in: the form in which events
are sent (:mod:`fitcast.scheduler.broker.api.event_routes`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Final

from starlette.concurrency import run_in_threadpool

from fitcast.errors import BrokerStoreError, LimitError
from fitcast.scheduler.broker.store import BrokerStore, StoredEvent

log = logging.getLogger(__name__)

POLL_S: Final = 1.0
HEARTBEAT_S: Final = 15.0
LINE: Final = 64
"""So many events wait for a follower at most."""

PAGE: Final = 100
"""So many are read at once for a follower that has something to catch up with."""

BATCH: Final = 1000
STREAMS: Final = 8192
STREAMS_OF_ONE: Final = 256

_Topic = tuple[int | None, str | None]


class _Follower:
    """One who follows: which events, and those that wait."""

    __slots__ = ("lags", "line", "topic", "user_id", "wakes", "workflow_id")

    def __init__(self, user_id: int | None, workflow_id: str | None) -> None:
        self.user_id = user_id
        self.workflow_id = workflow_id
        self.topic = _topic(user_id, workflow_id)
        self.line: deque[StoredEvent] = deque()
        self.lags = True  # what came before is in the database alone
        self.wakes = asyncio.Event()

    def take(self, event: StoredEvent) -> None:
        if len(self.line) >= LINE:
            self.lags = True
            self.line.clear()
        if not self.lags:
            self.line.append(event)
        self.wakes.set()


class EventHub:
    """Follows the database's events for all streams of a process.

    Parameters
    ----------
    store : BrokerStore
        Where events are.
    is_ending : callable
        Whether the process is ending: every stream ends then.
    poll_s : float
        How often the database is asked.
    """

    def __init__(
        self, store: BrokerStore, is_ending: Callable[[], bool], poll_s: float = POLL_S
    ) -> None:
        self._store = store
        self._is_ending = is_ending
        self._poll_s = poll_s
        self._followers: dict[_Topic, set[_Follower]] = {}
        self._streams: dict[int, int] = {}  # how many each user has open
        self._poller: asyncio.Task[None] | None = None
        self._began = asyncio.Event()
        self.polls = 0

    @property
    def streams(self) -> int:
        """How many follow."""
        return sum(self._streams.values())

    def check_room(self, owner: int) -> None:
        """Check that a user may open another stream.

        Raises
        ------
        LimitError
            Too many are open.
        """
        if self._streams.get(owner, 0) >= STREAMS_OF_ONE or self.streams >= STREAMS:
            raise LimitError(
                f"too many streams of events are open ({STREAMS_OF_ONE} of one user, {STREAMS} in "
                "all): close some, or try again later"
            )

    async def last_seq(self) -> int:
        """Return the number of the latest event."""
        return await run_in_threadpool(self._store.last_seq)

    async def follow(
        self, owner: int, after: int, user_id: int | None, workflow_id: str | None
    ) -> AsyncGenerator[StoredEvent | None]:
        """Yield events after one, in order, none twice; None whenever long nothing came.

        It ends when the process does.

        Parameters
        ----------
        owner
            Whose stream it is.
        after
            The number of the last event that was seen.
        user_id, workflow_id
            Of that user, that workflow alone; neither is everybody's.
        """
        follower = _Follower(user_id, workflow_id)
        self._enter(owner, follower)
        try:
            await self._began.wait()
            seen = after
            while not self._is_ending():
                if follower.lags:
                    follower.lags = False  # what comes from here on waits in line again
                    follower.line.clear()
                    read = PAGE
                    while read == PAGE and not self._is_ending():
                        page = await self._read(seen, follower)
                        read = len(page)
                        for event in page:
                            seen = event.seq
                            yield event
                while follower.line and not follower.lags:
                    event = follower.line.popleft()
                    if event.seq > seen:
                        seen = event.seq
                        yield event
                follower.wakes.clear()
                if follower.lags or follower.line:
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await follower.wakes.wait()
                except TimeoutError:
                    yield None
        finally:
            self._leave(owner, follower)

    def _enter(self, owner: int, follower: _Follower) -> None:
        self._streams[owner] = self._streams.get(owner, 0) + 1
        self._followers.setdefault(follower.topic, set()).add(follower)
        if self._poller is None or self._poller.done():
            self._began.clear()
            self._poller = asyncio.create_task(self._poll(), name="fitcast-events")

    def _leave(self, owner: int, follower: _Follower) -> None:
        self._streams[owner] -= 1
        if not self._streams[owner]:
            del self._streams[owner]
        others = self._followers[follower.topic]
        others.discard(follower)
        if not others:
            del self._followers[follower.topic]

    async def _read(self, seen: int, follower: _Follower) -> list[StoredEvent]:
        return await run_in_threadpool(
            self._store.events_after, seen, follower.user_id, follower.workflow_id, PAGE
        )

    async def _poll(self) -> None:
        """Ask the database for what is new, as long as anybody follows."""
        seq: int | None = None
        while self._followers and not self._is_ending():
            try:
                self.polls += 1
                if seq is None:
                    # Whoever came until now reads for itself what came until now
                    seq = await self.last_seq()
                    self._began.set()
                events = await run_in_threadpool(self._store.events_after, seq, limit=BATCH)
            except BrokerStoreError as error:
                log.warning("events can't be read: %s", error)
                events = []
            for event in events:
                seq = event.seq
                self._hand_out(event)
            if len(events) < BATCH:
                await asyncio.sleep(self._poll_s)
        self._began.set()
        for followers in self._followers.values():
            for follower in followers:
                follower.wakes.set()

    def _hand_out(self, event: StoredEvent) -> None:
        for topic in {
            _topic(event.user_id, event.workflow_id),
            _topic(event.user_id, None),
            _topic(None, None),
        }:
            for follower in self._followers.get(topic, ()):
                follower.take(event)


def _topic(user_id: int | None, workflow_id: str | None) -> _Topic:
    """Return what a follower's events have in common: a workflow, a user, or nothing."""
    return (user_id, workflow_id)
