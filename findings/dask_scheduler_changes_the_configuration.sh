#!/usr/bin/env bash
# distributed 2026.8.0: making a Scheduler changes dask.config, in place and for the whole process.
#
# Guess: a server reads its settings; `dask.config` is the same before and after.
# Seen: without bokeh, each Scheduler appends "distributed.http.scheduler.missing_bokeh" to the very list
# that lies under "distributed.scheduler.http.routes". The second one of a process finds it there already
# and appends it again, and so on: the list grows by one per scheduler, and a list handed to
# `dask.config.set` (also one shared between several configurations) grows just the same.
#
# Output:
#   at first: 6 routes
#   after 1 schedulers: 7 routes, 1 x missing_bokeh
#   after 2 schedulers: 8 routes, 2 x missing_bokeh
#   after 3 schedulers: 9 routes, 3 x missing_bokeh
#   a list of one's own: ['distributed.http.scheduler.missing_bokeh']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q distributed==2026.8.0 dask==2026.8.0
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import asyncio
import logging

import dask
from distributed import Scheduler

logging.disable(logging.CRITICAL)
KEY = "distributed.scheduler.http.routes"
EXTRA = "distributed.http.scheduler.missing_bokeh"


async def make_one():
    async with Scheduler(port=0, host="127.0.0.1", dashboard_address="127.0.0.1:0"):
        pass


first = len(dask.config.get(KEY))
print(f"at first: {first} routes")
for made in (1, 2, 3):
    asyncio.run(make_one())
    routes = dask.config.get(KEY)
    print(f"after {made} schedulers: {len(routes)} routes, {routes.count(EXTRA)} x missing_bokeh")
    assert (len(routes), routes.count(EXTRA)) == (first + made, made)
own = []
with dask.config.set({KEY: own}):
    asyncio.run(make_one())
print("a list of one's own:", own)
assert own == [EXTRA]
PY
