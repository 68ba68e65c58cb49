#!/usr/bin/env bash
# tornado 6.5.2 (what Dask's heartbeats run on): periodic callbacks go by the time of day, although the
# asyncio loop below them goes by the monotonic clock.
#
# Guess: since tornado's loop is asyncio's, `IOLoop.time()` is `loop.time()`, and a clock that is set back
# (NTP, a virtual machine that is resumed) does nothing to what is called every 50 ms.
# Seen: `IOLoop.time()` is `time.time()`. A PeriodicCallback takes its next turn from it, so after the clock
# went back by 3 s there is no call for 3 s; asyncio's own `call_later` on the same loop goes on. Dask's
# heartbeats are PeriodicCallbacks: a worker whose clock is set back by a minute is silent for a minute.
#
# The clock is only replaced inside the process, by a function that gives an earlier time.
#
# Output:
#   IOLoop.time() is the time of day: True; asyncio's is the monotonic clock: True
#   in 1 s before: tornado about 20, asyncio about 20
#   in 2 s after the clock went back by 3 s: tornado at most 1, asyncio about 40
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tornado==6.5.2
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import time

from tornado.ioloop import IOLoop, PeriodicCallback

CALLED = {"tornado": 0, "asyncio": 0}


def count(name):
    CALLED[name] += 1


async def main():
    tornado_loop, loop = IOLoop.current(), asyncio.get_running_loop()
    by_day = abs(tornado_loop.time() - time.time()) < 1
    monotonic = abs(loop.time() - time.monotonic()) < 1
    print(f"IOLoop.time() is the time of day: {by_day}; asyncio's is the monotonic clock: {monotonic}")
    assert by_day and monotonic

    def again():
        count("asyncio")
        loop.call_later(0.05, again)

    PeriodicCallback(lambda: count("tornado"), 50).start()
    again()
    await asyncio.sleep(1)
    before = dict(CALLED)
    print(f"in 1 s before: tornado {before['tornado']}, asyncio {before['asyncio']}")
    real = time.time
    time.time = lambda: real() - 3
    await asyncio.sleep(2)
    after = {name: CALLED[name] - before[name] for name in CALLED}
    print(f"in 2 s after the clock went back by 3 s: tornado {after['tornado']}, asyncio {after['asyncio']}")
    assert before["tornado"] >= 10 and after["tornado"] <= 1 and after["asyncio"] >= 20


asyncio.run(main())
PY
