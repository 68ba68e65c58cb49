"""The broker's process: from its start to its orderly end.

In: what is opened in which order, signals, what workers are not to inherit. Not in: what is
answered (:mod:`fitcast.scheduler.broker.api`), which workflows run
(:mod:`fitcast.scheduler.broker.serving.claims`).
"""

import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

import uvicorn
from fastapi import FastAPI

from fitcast.errors import InvalidInputError
from fitcast.scheduler.backends.chosen import backend_of_settings
from fitcast.scheduler.broker.announcement import Caps
from fitcast.scheduler.broker.api.app import broker_app
from fitcast.scheduler.broker.api.metrics import Metrics
from fitcast.scheduler.broker.describing import Allowed, Descriptions
from fitcast.scheduler.broker.files import WorkflowFiles
from fitcast.scheduler.broker.identity_provider import AnyTokens, IdentityProvider
from fitcast.scheduler.broker.keys import KeyEncryptionKeys, KeyFile, VaultTransitKeys
from fitcast.scheduler.broker.service import Service
from fitcast.scheduler.broker.serving.claims import Claims
from fitcast.scheduler.broker.serving.queue_etas import QueueEtas
from fitcast.scheduler.broker.serving.upkeep import BrokerUpkeep
from fitcast.scheduler.broker.settings import PREFIX, BrokerSettings
from fitcast.scheduler.broker.sharers import Limits
from fitcast.scheduler.broker.store import BrokerStore
from fitcast.scheduler.session.api_thread import ApiThread, api_config
from fitcast.scheduler.session.engine import Engine
from fitcast.scheduler.session.opening import engine_of
from fitcast.settings import Settings

log = logging.getLogger(__name__)

_GRACE_S: Final = 10
_OPEN_FILES: Final = 65_536
_SECRET: Final = ("DATABASE", "VAULT_TOKEN", "KEY_FILE")
"""Variables that fits, which inherit this process's, are not to see."""


def opened_store(settings: Settings, broker: BrokerSettings) -> BrokerStore:
    """Return the broker's database, made or migrated if need be.

    Raises
    ------
    BrokerStoreError
        It can't be reached, or is of a newer fitcast.
    """
    _broker_folder(settings.home)
    return BrokerStore(broker.database_url(settings.home))


def opened_keys(settings: Settings, broker: BrokerSettings) -> KeyEncryptionKeys:
    """Return the key-encryption keys: Vault's if there is one, else those of a file."""
    if broker.vault_address is None:
        return KeyFile(broker.key_file or _broker_folder(settings.home) / "keys.json")
    if broker.vault_key is None or broker.vault_token is None:
        raise InvalidInputError(
            f"{PREFIX}VAULT_ADDRESS goes with {PREFIX}VAULT_KEY, the name of a transit key, and "
            f"{PREFIX}VAULT_TOKEN: set all three, or none"
        )
    return VaultTransitKeys(
        broker.vault_address, broker.vault_key, broker.vault_token.get_secret_value
    )


def serve(
    settings: Settings,
    broker: BrokerSettings,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until the process is asked to end; what runs is then given back to the queue.

    Parameters
    ----------
    settings, broker
        What there is to know.
    on_ready
        Is told the address once requests are answered.

    Raises
    ------
    FitcastError
        It can't begin; says why.
    """
    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    with ExitStack() as stack:
        listening = stack.enter_context(listening_at(broker))
        store = stack.enter_context(opened_store(settings, broker))
        keys = opened_keys(settings, broker)
        stack.callback(keys.close)
        _forget_secrets()
        _allow_many_connections()
        engine = engine_of(settings, backend_of_settings())
        stack.callback(engine.close)
        url = stack.enter_context(
            running(listening, store, keys, engine, settings, broker, ending.is_set)
        )
        on_ready(url)
        ending.wait()
        log.info("the broker ends")


@contextmanager
def running(
    listening: socket.socket,
    store: BrokerStore,
    keys: KeyEncryptionKeys,
    engine: Engine,
    settings: Settings,
    broker: BrokerSettings,
    is_ending: Callable[[], bool] = lambda: False,
) -> Iterator[str]:
    """Answer requests and let workflows run, in a context that gives the address.

    Parameters
    ----------
    listening
        Where requests come; the caller's to close.
    store, keys, engine
        The caller's to close, too.
    settings, broker
        What there is to know.
    is_ending
        Whether nobody is to be kept waiting any more.
    """
    provider = None
    if broker.oidc_issuer is not None and broker.oidc_audience is not None:
        provider = IdentityProvider(
            broker.oidc_issuer, broker.oidc_audience, broker.oidc_algorithm, broker.oidc_user_claim
        )
    engine.model()  # nobody is to wait for the first forecast until this machine was measured
    service = Service(
        store,
        keys,
        WorkflowFiles(settings.home / "workflows"),
        engine,
        Caps(
            fits=broker.fits,
            upload_bytes=broker.upload_bytes,
            uploads=broker.uploads,
            stall_s=broker.stall_s,
            pickled=broker.pickled,
        ),
    )
    limits = Limits(
        half_life_s=broker.half_life_s,
        running_per_user=broker.running_per_user,
        running_workflows=broker.running,
    )
    replica = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
    metrics = Metrics(service)
    closing = threading.Event()
    app = broker_app(
        service,
        lambda: closing.is_set() or is_ending(),
        metrics,
        descriptions=Descriptions(service, _allowed(broker, listening)),
        authenticate=AnyTokens(store, provider, adds_users=broker.oidc_adds_users).authenticate,
        metrics_open=broker.metrics_open,
        has_mlflow=settings.tracking_uri.startswith("http"),
    )
    with ExitStack() as stack:
        if provider is not None:
            stack.callback(provider.close)
        server = ApiThread(_server(app, broker), listening, "fitcast-broker-api")
        stack.callback(server.close)
        claims = Claims(service, replica, limits, lease_s=broker.lease_s, on_end=metrics.note_end)
        claims.start()
        stack.callback(claims.close)
        etas = QueueEtas(service, limits)
        etas.start()
        stack.callback(etas.close)
        upkeep = BrokerUpkeep(service, replica, settings.keep_days)
        upkeep.start()
        stack.callback(upkeep.close)
        stack.callback(closing.set)  # before all else: nobody is kept waiting
        yield _url(broker, listening)


def _server(app: FastAPI, broker: BrokerSettings) -> uvicorn.Config:
    return api_config(
        app,
        grace_s=_GRACE_S,
        loop="auto",
        ssl_certfile=None if broker.certificate is None else str(broker.certificate),
        ssl_keyfile=None if broker.private_key is None else str(broker.private_key),
    )


def _url(broker: BrokerSettings, listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if broker.certificate is None else 'https'}://{shown}:{port}"


def _allowed(broker: BrokerSettings, listening: socket.socket) -> Allowed:
    address = broker.address or _url(broker, listening).replace("//0.0.0.0:", "//127.0.0.1:")
    return Allowed(packages=broker.packages, places=broker.data, address=address)


def listening_at(broker: BrokerSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises
    ------
    InvalidInputError
        Nothing can listen there.
    """
    try:
        found = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(found[0], found[1])
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # who takes nothing of an answer for so long is hung up on by the kernel
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * broker.stall_s)
        )
        listening.bind(found[4])
        listening.listen(2048)
    except OSError as error:
        raise InvalidInputError(
            f"nothing can listen at {broker.host}, port {broker.port} ({error.strerror or error}): "
            f"give another with --port, or {PREFIX}PORT"
        ) from error
    return listening


def _allow_many_connections() -> None:
    """Let as many files be open as this process may ask for: each stream of events is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _forget_secrets() -> None:
    """Take what opens the broker's own things out of the environment that fits inherit."""
    for name in _SECRET:
        os.environ.pop(f"{PREFIX}{name}", None)


def _broker_folder(home: Path) -> Path:
    folder = home / "broker"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(
            f"{folder} can't be made ({error.strerror or error}): give another home (FITCAST_HOME)"
        ) from error
    return folder
