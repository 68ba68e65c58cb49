"""The broker's application: its routes, put together.

In: the order of things around a request. Not in: what answers
(:mod:`fitcast.scheduler.broker.service`), the process it is in
(:mod:`fitcast.scheduler.broker.serving`).
"""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fitcast.scheduler.broker.api.answers import PlainJson, answer_errors
from fitcast.scheduler.broker.api.authentication import Authenticate
from fitcast.scheduler.broker.api.event_hub import EventHub
from fitcast.scheduler.broker.api.event_routes import event_routes
from fitcast.scheduler.broker.api.metrics import Metrics, RequestCounts, metrics_routes
from fitcast.scheduler.broker.api.page_routes import CONTENT_POLICY, add_pages
from fitcast.scheduler.broker.api.platform_routes import health_routes, platform_routes
from fitcast.scheduler.broker.api.submission_routes import submission_routes
from fitcast.scheduler.broker.api.workflow_routes import workflow_routes
from fitcast.scheduler.broker.describing import Allowed, Descriptions
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.views import Views
from fitcast.version import __version__


def broker_app(
    service: Service,
    is_ending: Callable[[], bool] = lambda: False,
    metrics: Metrics | None = None,
    *,
    descriptions: Descriptions | None = None,
    authenticate: Authenticate | None = None,
    metrics_open: bool = False,
    has_mlflow: bool = False,
) -> FastAPI:
    """Return the application.

    Parameters
    ----------
    service : Service
        What users may ask for.
    is_ending : callable
        Whether the process is ending: nobody is kept waiting then.
    metrics : Metrics, optional
        What counts, if others count there, too.
    descriptions : Descriptions, optional
        Takes sweeps as plain JSON; by default none is taken.
    authenticate : callable, optional
        Says whose token one is and what it is good for; by default, of the platform's own alone.
    metrics_open : bool
        Whether anybody may read the metrics.
    has_mlflow : bool
        Whether an MLflow server shows workflows.
    """
    views = Views(service)
    descriptions = descriptions or Descriptions(
        service, Allowed(packages=(), places=(), address="")
    )
    metrics = metrics or Metrics(service)
    hub = EventHub(service.store, is_ending)
    app = FastAPI(
        title="fitcast",
        version=__version__,
        default_response_class=PlainJson,
        docs_url=None,
        redoc_url=None,
    )
    app.state.authenticate = authenticate or service.store.authenticate
    app.state.is_ending = is_ending
    app.state.event_hub = hub
    app.include_router(health_routes(service))
    app.include_router(platform_routes(service, views))
    app.include_router(submission_routes(service, views, descriptions))
    app.include_router(workflow_routes(service, views))
    app.include_router(event_routes(service, hub, metrics))
    app.include_router(metrics_routes(metrics, is_open=metrics_open))
    add_pages(app, service, views, has_mlflow=has_mlflow)
    answer_errors(app)
    app.add_middleware(SafeHeaders)
    app.add_middleware(RequestCounts, metrics=metrics)
    return app


class SafeHeaders:
    """Lets every answer say that it is for its caller alone, and what it is.

    Plain ASGI: uploads and files pass through as they are.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"  # with none, forms say no origin
                headers.setdefault("Content-Security-Policy", CONTENT_POLICY)
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)
