"""How Dask is configured where fits run, seen on servers of it."""

import asyncio
import urllib.error
import urllib.request

import dask
import pytest
from distributed import Scheduler, Worker

from fitcast.scheduler.backends.dask_config import dask_config

PATHS = ("/", "/health", "/metrics", "/info/main/workers.html", "/json/identity.json", "/status")


def answer_of(port, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize(("config", "expected"), [(dask_config(), {404}), ({}, {200, 404})])
def test_servers_show_nothing_over_plain_http(config, expected):
    async def look():
        common = {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0"}
        async with (
            Scheduler(port=0, **common) as scheduler,
            Worker(scheduler.address, nthreads=1, **common) as worker,
        ):
            return {
                await asyncio.to_thread(answer_of, server.http_server.port, path)
                for server in (scheduler, worker)
                for path in PATHS
            }

    with dask.config.set(config):
        assert asyncio.run(look()) == expected  # and Dask by itself does


def test_what_dask_adds_to_its_lists_stays_where_it_was_added():
    routes = "distributed.scheduler.http.routes"
    dask_config()[routes].append("distributed.http.scheduler.missing_bokeh")
    assert dask_config()[routes] == []
