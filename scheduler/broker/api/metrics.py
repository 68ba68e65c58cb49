"""What Prometheus is told: requests as they were answered, the queue, pools, how forecasts fared.

What is counted is this process's: add it up over replicas. What is told of the queue is everybody's
as the database has it, from whichever replica is asked: take one. No label holds the name of a
user or a workflow. Not in: who may read it all (`metrics_routes` asks
:mod:`fitcast.scheduler.broker.api.authentication`).
"""

import time
from collections.abc import Iterable, Iterator
from typing import Final

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fitcast.errors import ForbiddenError
from fitcast.history.records import Record
from fitcast.scheduler.broker.api.authentication import Bearer, checked_caller
from fitcast.scheduler.broker.api.described import Responses, refusals
from fitcast.scheduler.broker.api.pool_use import use_of_pools
from fitcast.scheduler.broker.lifecycle import State
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.store import StoredWorkflow
from fitcast.version import __version__

EVENT_STREAM: Final = "text/event-stream"
_UNKNOWN: Final = "unmatched"  # paths that are no route's: anybody may make up any number of them
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
_TEXT: Final[Responses] = {
    200: {"description": "Metrics", "content": {"text/plain": {"schema": {"type": "string"}}}}
}
_GB_HOURS: Final = 1e9 * 3600.0
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_RATIOS: Final = (0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)


class Metrics:
    """The metrics of one application, in a registry of their own.

    Parameters
    ----------
    service : Service
        What the queue and the pools are read from.
    """

    def __init__(self, service: Service) -> None:
        registry = self.registry = CollectorRegistry()
        Gauge(
            "fitcast_build",
            "Always 1; the label tells the version.",
            ["version"],
            registry=registry,
        ).labels(__version__).set(1)
        self.requests = Counter(
            "fitcast_http_requests",
            "Requests that were answered, by route, method and status.",
            ["route", "method", "status"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "fitcast_http_request_seconds",
            "Until a request was answered whole; of a stream of events, until it began.",
            ["route", "method"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.upload_bytes = Counter(
            "fitcast_upload_bytes", "Bytes of uploads that came in.", registry=registry
        )
        self.event_streams = Gauge(
            "fitcast_event_streams", "Streams of events that are open.", registry=registry
        )
        self.ended = Counter(
            "fitcast_workflows_ended", "Workflows that ended here.", ["state"], registry=registry
        )
        self.eta_ratio = Histogram(
            "fitcast_eta_ratio",
            "Of workflows that succeeded here: seconds to the end, by the P50 that was "
            "forecast at submission, wait included. 1 is a forecast that was right.",
            buckets=_RATIOS,
            registry=registry,
        )
        self.eta_within = Counter(
            "fitcast_eta_within",
            "Of workflows that succeeded here: whether they ended between the P10 and the P90 "
            "that were forecast at submission.",
            ["within"],
            registry=registry,
        )
        self.wasted = Counter(
            "fitcast_wasted_memory_gigabyte_hours",
            "Memory that attempts of workflows that ended here were given and did not use, in GB "
            "(10^9 bytes) times hours.",
            registry=registry,
        )
        for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED):
            self.ended.labels(state.value)  # told as 0 before the first
        for within in ("yes", "no"):
            self.eta_within.labels(within)
        registry.register(_Platform(service))
        self._service = service

    def note_end(self, row: StoredWorkflow, records: Iterable[Record]) -> None:
        """Take in how a workflow ended that ran here.

        Parameters
        ----------
        row
            As it is now that it has ended.
        records
            What its attempts took.
        """
        self.ended.labels(row.state.value).inc()
        self.wasted.inc(wasted_gb_hours(records))
        if row.state is not State.SUCCEEDED or row.ended_at is None:
            return
        since = row.created_at
        forecast_s = self._service.files.folder(row.workflow_id).forecast_s()
        if forecast_s is None:  # it began before the queue was forecast: its own runtime alone
            since, forecast_s = row.queued_at or row.created_at, row.forecast_s
        if forecast_s is not None and forecast_s[1] > 0.0:
            p10_s, p50_s, p90_s = forecast_s
            took_s = (row.ended_at - since).total_seconds()
            self.eta_ratio.observe(took_s / p50_s)
            self.eta_within.labels("yes" if p10_s <= took_s <= p90_s else "no").inc()

    def told(self) -> bytes:
        """Return all of it, as Prometheus reads it."""
        return generate_latest(self.registry)


def wasted_gb_hours(records: Iterable[Record]) -> float:
    """Return the memory that attempts were given and did not use; unmeasured ones don't count."""
    return sum(
        max(0, record.memory_limit_bytes - record.peak_memory_bytes) * record.runtime_s / _GB_HOURS
        for record in records
        if record.peak_memory_bytes is not None
    )


class _Platform(Collector):
    """What is read when it is asked for: the queue, the pools, the fits that run here."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        return []  # nothing is read before it is asked for

    def collect(self) -> Iterator[Metric]:
        load = self._service.store.load()
        queue = GaugeMetricFamily(
            "fitcast_workflows", "Workflows of everybody that have not ended.", labels=["state"]
        )
        queue.add_metric([State.UPLOADING.value], load.uploading)
        queue.add_metric([State.QUEUED.value], load.queued)
        queue.add_metric([State.RUNNING.value], load.running)
        yield queue
        yield _gauge(
            "fitcast_queue_longest_wait_seconds",
            "How long that has waited which has waited longest of all that is queued.",
            load.longest_wait_s,
        )
        yield _gauge(
            "fitcast_queue_mean_wait_seconds",
            "How long what is queued has waited, in the mean.",
            load.mean_wait_s,
        )
        yield _gauge(
            "fitcast_used_cpus", "CPUs that fits of all replicas use, as planned.", load.used.cpus
        )
        yield _gauge(
            "fitcast_used_memory_bytes",
            "Memory that fits of all replicas use, as planned.",
            load.used.memory_bytes,
        )
        yield from self._pools()

    def _pools(self) -> Iterator[Metric]:
        rows = self._service.rows_running_here()
        pools = use_of_pools(self._service.engine.workers(), rows)
        for name, told, field in (
            ("fitcast_pool_workers", "Workers that a pool has or may have.", "workers"),
            ("fitcast_pool_cpus", "CPUs of a pool.", "cpus"),
            ("fitcast_pool_memory_bytes", "Memory of a pool.", "memory_bytes"),
            ("fitcast_running_fits", "Fits of this replica that run in a pool.", "fits"),
            ("fitcast_pool_used_cpus", "CPUs that they use, as planned.", "used_cpus"),
            (
                "fitcast_pool_used_memory_bytes",
                "Memory that they use, as planned.",
                "used_memory_bytes",
            ),
        ):
            family = GaugeMetricFamily(name, told, labels=["pool"])
            for use in pools:
                family.add_metric([use.pool], float(getattr(use, field)))
            yield family


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=value)


def metrics_routes(metrics: Metrics, *, is_open: bool) -> APIRouter:
    """Return the route.

    Parameters
    ----------
    metrics
        What is told.
    is_open
        Whether anybody may read it.
    """
    router = APIRouter()

    @router.get("/metrics", response_class=Response, responses=_TEXT | refusals(401, 403, 503))
    def told(request: Request, _: Bearer = None) -> Response:
        """Tell Prometheus how the platform fares; for administrators, unless it is open."""
        if not is_open and not checked_caller(request, "read").user.is_admin:
            raise ForbiddenError(
                "this is for administrators of the platform; an operator may open it to all "
                "(FITCAST_BROKER_METRICS_OPEN)"
            )
        return Response(metrics.told(), media_type=CONTENT_TYPE_LATEST)

    return router


class RequestCounts:
    """Counts requests by route and status, their seconds, and bytes of uploads. Plain ASGI."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        status = 500  # if there is no answer
        is_told = False
        # small ones come with their announcement
        announces = scope["method"] == "POST" and scope["path"].endswith("/v1/workflows")
        uploads = scope["method"] == "PATCH" or announces

        def tell() -> None:
            nonlocal is_told
            if is_told:
                return
            is_told = True
            route = str(getattr(scope.get("route"), "path", _UNKNOWN)) or _UNKNOWN
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            taken_s = time.perf_counter() - began_s
            self._metrics.request_seconds.labels(route, method).observe(taken_s)

        async def received() -> Message:
            message = await receive()
            if uploads and message["type"] == "http.request":
                self._metrics.upload_bytes.inc(len(message.get("body", b"")))
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                kind = Headers(raw=message.get("headers", [])).get("content-type", "")
                if kind.startswith(EVENT_STREAM):
                    tell()
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            tell()
