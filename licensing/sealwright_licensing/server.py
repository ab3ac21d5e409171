"""The process: uvicorn with TLS 1.3 only, limits on connections and on silent clients, a graceful stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from sealwright_licensing import keys, schema
from sealwright_licensing.app import create_app
from sealwright_licensing.config import Limits, ServiceConfig, ServiceFolder
from sealwright_licensing.custodian_file import load_file_custodians
from sealwright_licensing.logs import configure_logging
from sealwright_licensing.store_sql import SqlStore, open_engine
from sealwright_policies.errors import OperationError

KEEP_ALIVE_S = 15
BACKLOG = 128


def serve(folder: ServiceFolder, config: ServiceConfig, *, host: str, port: int) -> None:
    """Run the service until it is told to stop.

    Raises:
        OperationError: schema not current, keys missing, port taken.
    """
    engine = open_engine(folder.database_url(config))
    schema.require_newest(engine)
    app = create_app(SqlStore(engine), keys.load_signing_keys(folder.keys), load_file_custodians(folder.keys), config)
    for name in (keys.TLS_SERVER_KEY, keys.TLS_SERVER_CERTIFICATE):
        if not (folder.keys / name).exists():
            raise OperationError(f"{folder.keys / name} is missing.", cure="Restore it from the backup.")
    listener = _listen(host, port)
    configure_logging()
    server = _AnnouncingServer(server_config(app, folder, config.limits))
    server.announcement = f"https://{host}:{listener.getsockname()[1]}"
    # uvicorn raises the signal that stopped it once more when it is done; a graceful stop is an exit with 0.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    server.run(sockets=[listener])


def server_config(app: FastAPI, folder: ServiceFolder, limits: Limits) -> uvicorn.Config:
    """uvicorn's configuration, with TLS 1.3 as the only version."""
    config = uvicorn.Config(
        app,
        http=_deadline_protocol(limits.headers_s),
        ssl_keyfile=str(folder.keys / keys.TLS_SERVER_KEY),
        ssl_certfile=str(folder.keys / keys.TLS_SERVER_CERTIFICATE),
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


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
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


class _AnnouncingServer(uvicorn.Server):
    """Prints the address once connections are accepted, for humans and for scripts that wait for it."""

    announcement = ""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        print(f"sealwright-license: serving {self.announcement}", flush=True)


def _deadline_protocol(headers_s: float) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1, which also closes connections whose first request does not come in time."""

    class DeadlineProtocol(H11Protocol):
        """A connection with a deadline for its first request's headers."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._deadline = self.loop.call_later(headers_s, self._close_if_silent)

        def _close_if_silent(self) -> None:
            if self.cycle is None:
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._deadline.cancel()
            super().connection_lost(exc)

    return DeadlineProtocol
