"""The time of day is set back by an hour: Dask goes on as if nothing had happened."""

import asyncio
import time

import pytest
from distributed import Client, Scheduler, Worker
from tornado.ioloop import IOLoop, PeriodicCallback

from fitcast.scheduler.worker.steady_clock import SteadyClock, hold_steady
from tests.polling import LONGEST_S

pytestmark = pytest.mark.security
HOUR_S = 3600.0


@pytest.fixture
def set_back(monkeypatch):
    """Set the clock back, for this process alone."""
    real = time.time

    def begin():
        monkeypatch.setattr(time, "time", lambda: real() - HOUR_S)

    return begin


def test_a_steady_clock_tells_the_time_of_day_and_never_goes_back(set_back):
    clock = SteadyClock()
    assert abs(clock.time() - time.time()) < 60.0
    before_s = clock.time()
    set_back()
    assert clock.time() >= before_s


def test_signs_of_life_go_on(set_back):
    async def wait():
        loop, ticks, enough = IOLoop.current(), [], asyncio.Event()
        hold_steady(loop)

        def tick():
            ticks.append(loop.time())
            if len(ticks) == 2:
                set_back()
            if len(ticks) == 5:
                enough.set()

        periodic = PeriodicCallback(tick, 10)
        periodic.start()
        await asyncio.wait_for(enough.wait(), LONGEST_S)
        periodic.stop()
        assert ticks == sorted(ticks)

    asyncio.run(wait())


def test_messages_go_on(set_back):
    async def exchange():
        hold_steady(IOLoop.current())
        async with (
            Scheduler(port=0, dashboard=False, host="127.0.0.1") as scheduler,
            Worker(scheduler.address, dashboard=False) as worker,
            Client(scheduler.address, asynchronous=True) as client,
        ):
            heard_s = scheduler.workers[worker.address].last_seen
            for number in range(20):
                if number == 5:
                    set_back()
                future = client.submit(int, number, pure=False)
                assert await asyncio.wait_for(future, LONGEST_S) == number
            await worker.heartbeat()
            assert scheduler.workers[worker.address].last_seen > heard_s

    asyncio.run(exchange())
