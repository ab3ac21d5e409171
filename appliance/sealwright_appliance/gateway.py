"""Starts the gateway in the box: finds out what it is to serve, and hands over to :mod:`.serve`."""

from __future__ import annotations

from collections.abc import Sequence

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.boot_result import load_boot_result
from sealwright_appliance.engines import open_models
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_engines, load_outflow
from sealwright_appliance.results import OWN_ADAPTERS
from sealwright_appliance.serve.connections import LIMITS, Limits
from sealwright_appliance.serve.document_vectors import VectorModel
from sealwright_appliance.serve.gateway_tls import PEER_PORT
from sealwright_appliance.serve.main import GatewayConfig, run_gateway
from sealwright_appliance.status import PayloadStatus
from sealwright_appliance.tls import CERTIFICATE_FILE, KEY_FILE
from sealwright_policies.engines import ReleaseEngines
from sealwright_policies.outflow import ReleaseOutflow

ALL_INTERFACES = ""
"""IPv4 and IPv6."""


def run_box_gateway(
    paths: Paths, *, host: str = ALL_INTERFACES, port: int = 8443, peer_port: int = PEER_PORT, limits: Limits = LIMITS
) -> None:
    """Serve the models that this boot has opened; without any, the status and activation pages."""
    run_gateway(gateway_config(paths, host=host, port=port, peer_port=peer_port, limits=limits))


def gateway_config(
    paths: Paths, *, host: str, port: int, peer_port: int = PEER_PORT, limits: Limits = LIMITS
) -> GatewayConfig:
    """The gateway's configuration, from the result of this boot's unlock."""
    boot = load_boot_result(paths)
    models = open_models(boot.payloads)
    outflow = load_outflow(paths)
    return GatewayConfig(
        agent_socket=paths.agent_socket,
        engine_sockets={model.payload_id: paths.engine_socket(model.payload_id) for model in models},
        documents_socket=paths.documents_socket,
        adapters_socket=paths.adapters_socket,
        own_adapters={str(one.base): one.payload_id for one in boot.payloads if one.kind == OWN_ADAPTERS},
        needs={model.payload_id: model.memory_mib for model in models},
        room_mib=boot.engine_room_mib,
        too_large={one.payload_id: one.sentence for one in boot.payloads if one.code == BoxCode.MODEL_TOO_LARGE},
        certificate=paths.tls / CERTIFICATE_FILE,
        private_key=paths.tls / KEY_FILE,
        host=host,
        port=port,
        peer_port=peer_port,
        limits=limits,
        outflow=outflow,
        vectors=vector_model(load_engines(paths), models, outflow),
    )


def vector_model(
    engines: ReleaseEngines, models: Sequence[PayloadStatus], outflow: ReleaseOutflow
) -> VectorModel | None:
    """The model by which documents are searched, if this boot has opened it and its domain lets vectors out."""
    if engines.documents is None or not outflow.of(engines.documents.model).embeddings:
        return None
    opened = {one.payload_id: one.partition_id for one in models}
    root_hash = opened.get(engines.documents.model)
    return VectorModel(engines.documents, root_hash) if root_hash is not None else None
