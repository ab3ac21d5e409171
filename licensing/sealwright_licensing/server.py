"""The process: uvicorn with TLS 1.3 only, limits on connections (connections.py), a graceful stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from functools import partial

import uvicorn
from fastapi import FastAPI

from sealwright_custody.keeper import Keeper
from sealwright_licensing import keys, schema
from sealwright_licensing.app import create_app
from sealwright_licensing.config import Limits, ServiceConfig, ServiceFolder
from sealwright_licensing.connections import Listener, TlsLoop, deadline_protocol
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.database import open_engine
from sealwright_licensing.logs import configure_logging
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.store_sql import SqlStore
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
    store = SqlStore(engine, ManifestKeys(folder.manifest_keys).admit)
    keeper = Keeper(folder.keys)
    app = create_app(store, keys.load_signing_keys(folder.keys, keeper), load_custodians(folder.keys, keeper), config)
    run_application(app, folder, config.limits, host=host, port=port)


def run_application(app: FastAPI, folder: ServiceFolder, limits: Limits, *, host: str, port: int) -> None:
    """Run an application of this service until the process is told to stop.

    Raises:
        OperationError: TLS key or certificate missing, port taken.
    """
    keys.tls_server_files(folder.keys)
    listener = _listen(host, port, limits)
    configure_logging()
    server = _AnnouncingServer(server_config(app, folder, limits))
    server.announcement = f"https://{host}:{listener.getsockname()[1]}"
    # uvicorn raises the signal that stopped it once more when it is done; a graceful stop is an exit with 0.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=partial(TlsLoop, limits.headers_s)) as runner:
        runner.run(server.serve(sockets=[listener]))


def server_config(app: FastAPI, folder: ServiceFolder, limits: Limits) -> uvicorn.Config:
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
    listener = Listener(family, limits.connections_per_address)
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
