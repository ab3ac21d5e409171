"""Runs the gateway in the box: one uvicorn server, TLS 1.3, the key from the state volume."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from sealwright_appliance.engine_llama_server import LlamaServer
from sealwright_appliance.engines import PARALLEL_REQUESTS
from sealwright_appliance.log_lines import write_allowed_lines_only
from sealwright_appliance.recent_lines import RecentLines
from sealwright_appliance.serve.adapters import Adapters
from sealwright_appliance.serve.admission import Admission
from sealwright_appliance.serve.app import create_app
from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.connections import LIMITS, GuardedServer, Limits, listen
from sealwright_appliance.serve.document_vectors import VectorModel
from sealwright_appliance.serve.documents import Documents
from sealwright_appliance.serve.engine_room import EngineRoom
from sealwright_appliance.serve.gateway_tls import PEER_PORT, GatewayTls
from sealwright_appliance.serve.queued_engine import QueuedEngine
from sealwright_appliance.serve.quota import Quota
from sealwright_policies.outflow import NOTHING_SAID, ReleaseOutflow

WAITING_REQUESTS = 256
"""For each engine; as many as it has slots run."""
KEEP_ALIVE_S = 30


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """Where the gateway finds its neighbours."""

    agent_socket: Path
    engine_sockets: Mapping[str, Path]
    """By model id."""
    documents_socket: Path
    adapters_socket: Path
    own_adapters: Mapping[str, str]
    """By model, the engine of the adapters that the customer has trained."""
    needs: Mapping[str, int]
    """What their engines take of the memory, MiB."""
    room_mib: int
    """Memory of all engines together."""
    too_large: Mapping[str, str]
    """Models that the machine has not the memory for; in a sentence each."""
    certificate: Path
    private_key: Path
    host: str = ""
    """Empty: every address, IPv4 and IPv6."""
    port: int = 8443
    peer_port: int = PEER_PORT
    """For frames of flows from other boxes; 0: any that is free."""
    limits: Limits = LIMITS
    outflow: ReleaseOutflow = NOTHING_SAID
    vectors: VectorModel | None = None
    """By which documents are searched; one of the engines."""


def run_gateway(config: GatewayConfig) -> None:
    """Serve until told to stop; running replies are finished first, each within its own time."""
    write_allowed_lines_only()
    recent = RecentLines()
    recent.listen()
    box = Box(config.agent_socket)
    quota = Quota(box.allowance)
    room = EngineRoom(config.room_mib, config.needs, box)
    engines = {name: _engine(name, socket, quota, room) for name, socket in config.engine_sockets.items()}
    tls = GatewayTls(config.certificate, config.private_key, config.host, config.peer_port)
    documents = Documents(config.documents_socket)
    adapters = Adapters(config.adapters_socket, config.own_adapters)
    app = create_app(
        box,
        engines,
        room,
        config.outflow,
        documents=documents,
        adapters=adapters,
        vectors=config.vectors,
        tls=tls,
        recent=recent,
        too_large=config.too_large,
    )
    settings = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        ssl_certfile=config.certificate,
        ssl_keyfile=str(config.private_key),
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
        # The limit on claim attempts counts addresses: nobody may name another one.
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    settings.load()
    if settings.ssl is not None:
        settings.ssl.minimum_version = ssl.TLSVersion.TLSv1_3
    GuardedServer(settings, listen(config.host, config.port), config.limits).run()


def _engine(name: str, socket: Path, quota: Quota, room: EngineRoom) -> QueuedEngine:
    server = LlamaServer(name, socket)
    return QueuedEngine(server, Admission(active=PARALLEL_REQUESTS, waiting=WAITING_REQUESTS), quota, room)
