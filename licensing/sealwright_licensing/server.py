"""The processes: uvicorn with TLS 1.3 only, limits on connections (connections.py), a graceful stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial

import uvicorn
from starlette.types import ASGIApp

from sealwright_custody.keeper import Keeper
from sealwright_licensing import keys, metrics, schema
from sealwright_licensing.admission import admission
from sealwright_licensing.app import create_app
from sealwright_licensing.config import Limits, ServiceConfig, ServiceFolder
from sealwright_licensing.connections import Listener, TlsLoop, deadline_protocol
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.database import is_postgresql, opened_database, service_engine
from sealwright_licensing.logs import configure_logging
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.systemd import inherited_socket, tell_ready
from sealwright_licensing.tables_as_made import require_as_made
from sealwright_licensing.workers import supervise
from sealwright_policies.errors import OperationError, UsageError

KEEP_ALIVE_S = 15
BACKLOG = 128
DRAIN_PERIOD_S = 0.05


def serve(folder: ServiceFolder, config: ServiceConfig, *, host: str, port: int, workers: int = 1) -> None:
    """Run the service until it is told to stop.

    Raises:
        UsageError: several workers on SQLite.
        OperationError: schema not current, keys missing, port taken.
        VerificationError: AUDIT_MISMATCH: the tables are not what the migrations make.
    """
    with opened_database(folder, config) as engine:
        schema.require_newest(engine)
        require_as_made(engine)
        if workers > 1 and not is_postgresql(engine):
            raise UsageError("SQLite has one writer and serves one process; for several workers take PostgreSQL.")
    listener, announce = _opened(folder, config.limits, host=host, port=port)
    if workers == 1:
        _work(folder, config, listener, announce, None)
    else:
        supervise(workers, partial(_work, folder, config, listener), announce)


def _work(
    folder: ServiceFolder, config: ServiceConfig, listener: Listener, started: Callable[[], None], lifeline: int | None
) -> None:
    """One process that answers boxes; a ``lifeline`` that becomes readable stops it as SIGTERM does."""
    store = SqlStore(service_engine(folder, config), admission(folder))
    keeper = Keeper(folder.keys)
    app = create_app(store, keys.load_signing_keys(folder.keys, keeper), load_custodians(folder.keys, keeper), config)
    if config.metrics.port:
        metrics.listen(config.metrics.host, config.metrics.port)
    gc.freeze()  # the program itself; each full collection would go through it again
    _answer(server_config(app, folder, config.limits), config.limits, listener, started, lifeline)


def run_application(app: ASGIApp, folder: ServiceFolder, limits: Limits, *, host: str, port: int) -> None:
    """Run an application of this service until the process is told to stop.

    Raises:
        OperationError: TLS key or certificate missing, port taken.
    """
    listener, announce = _opened(folder, limits, host=host, port=port)
    _answer(server_config(app, folder, limits), limits, listener, announce, None)


def _opened(folder: ServiceFolder, limits: Limits, *, host: str, port: int) -> tuple[Listener, Callable[[], None]]:
    """The listening socket, systemd's or a new one, and what tells humans, scripts and systemd that it is in use."""
    keys.tls_server_files(folder.keys)
    inherited = inherited_socket()
    if inherited is None:
        listener = _listen(host, port, limits)
    else:
        listener = Listener(limits.connections_per_address, descriptor=inherited)
        host = listener.getsockname()[0]
    configure_logging()
    address = f"https://{host}:{listener.getsockname()[1]}"

    def announce() -> None:
        print(f"sealwright-license: serving {address}", flush=True)
        tell_ready()

    return listener, announce


def _answer(
    config: uvicorn.Config, limits: Limits, listener: Listener, started: Callable[[], None], lifeline: int | None
) -> None:
    server = _WorkingServer(config, listener, started, lifeline)
    # uvicorn raises the signal that stopped it once more when it is done; a graceful stop is an exit with 0.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=partial(TlsLoop, limits.headers_s)) as runner:
        runner.run(server.serve(sockets=[listener]))


def server_config(app: ASGIApp, folder: ServiceFolder, limits: Limits) -> uvicorn.Config:
    """uvicorn's configuration, with TLS 1.3 as the only version."""
    certificate, key = keys.tls_server_files(folder.keys)
    config = uvicorn.Config(
        app,
        http=deadline_protocol(limits),
        ws="none",
        ssl_keyfile=str(key),
        ssl_certfile=str(certificate),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=limits.shutdown_s,
    )
    config.load()
    if config.ssl is None:
        raise OperationError("TLS could not be set up.", cure="Check the server's key and certificate.")
    config.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    return config


def _listen(host: str, port: int, limits: Limits) -> Listener:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = Listener(limits.connections_per_address, family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise OperationError(
            f"{host}:{port} cannot be listened on: {error.strerror}.",
            cure="Stop what uses the port, or give another one with --port.",
        ) from error
    return listener


class _WorkingServer(uvicorn.Server):
    """Says when connections are accepted, and hears out those that it has accepted before it stops."""

    def __init__(
        self, config: uvicorn.Config, listener: Listener, started: Callable[[], None], lifeline: int | None
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._tell_started = started
        self._lifeline = lifeline

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self._lifeline is not None:
            asyncio.get_running_loop().add_reader(self._lifeline, self._orphaned)
        self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, answer whoever is connected already, then stop.

        Others may wait on the same socket, so whoever is not accepted here loses nothing. uvicorn alone would drop
        those that are still setting up TLS, and close on those whose first request is on its way.
        """
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener)
        ends = loop.time() + (self.config.timeout_graceful_shutdown or 0)
        while self._listener.has_connections() and loop.time() < ends:
            for connection in list(self.server_state.connections):
                connection.shutdown()
            await asyncio.sleep(DRAIN_PERIOD_S)
        await super().shutdown(sockets=sockets)

    def _orphaned(self) -> None:
        self.should_exit = True
