"""The serving half of a box in a folder: the agent's real endpoints, the real gateway as a process, real engines.

What is left out is how models get there (TPM, dm-crypt, systemd): model files simply lie where they would be mounted.

    run/sealwright/{agent.sock, documents.sock, parser.sock, boot.json, tls/, engine/, payloads/}
    var/lib/sealwright/{api-keys.json, documents/}
    gateway.log
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx
import openai
import uvicorn

from sealwright_appliance.agent import listen
from sealwright_appliance.agent_by_file import ByFile
from sealwright_appliance.agent_endpoints import create_agent_app
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.boot import BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.conversation_endpoints import add_conversations
from sealwright_appliance.conversations import Conversations
from sealwright_appliance.engine_orders import EngineOrders, add_engines
from sealwright_appliance.engines import Engines, open_models, placed, prepare_engines
from sealwright_appliance.files import write_durably
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.gateway import run_box_gateway
from sealwright_appliance.lease_keeper import Actions, LeaseKeeper
from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.metering.meter_store import MeterStore
from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.paths import Paths
from sealwright_appliance.recent_lines import RecentLines
from sealwright_appliance.results import lay_out_adapters
from sealwright_appliance.serve.connections import LIMITS, Limits
from sealwright_appliance.status import BootResult, PayloadState, PayloadStatus
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.support import BoxSupport, add_support
from sealwright_appliance.tls import CERTIFICATE_FILE, give_to_gateway, make_tls_identity
from sealwright_image.engine_memory import engine_need, layer_shapes
from sealwright_image.gguf import read_gguf
from sealwright_policies.engines import DocumentVectors, ReleaseEngines
from sealwright_policies.errors import OperationError
from sealwright_policies.metering.receipt import Point
from sealwright_policies.outflow import OutflowPolicy, ReleaseOutflow
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.adapters import AdapterProcess, own_adapter_plans
from sealwright_testing.document_service import document_service
from sealwright_testing.engine_process import EngineProcess
from sealwright_testing.host_engines import HostEngines
from sealwright_testing.metering import ALL_TOLD
from sealwright_testing.ports import free_port
from sealwright_testing.vector_extension import vector_extension

START_TIMEOUT_S = 60.0
ROOM_MIB = 16 * 1024
"""Enough for all models of a test, unless it is about that."""
STOP_TIMEOUT_S = 20.0
_POLL_S = 0.05
LONG_REPLIES = OutflowPolicy(answer_tokens=1_000_000, budgets=())
"""For tests of other things."""
BRIEF_REPLIES = OutflowPolicy(answer_tokens=40, budgets=())


@dataclass
class ServingBox:
    """A gateway that runs, and what stands around it."""

    paths: Paths
    port: int
    board: StatusBoard
    engines: Mapping[str, EngineProcess]
    api_key: str
    admin_key: str
    gateway: subprocess.Popen[bytes]
    meter: BoxMeter
    reports_ordered: list[bool]
    """One for each report that somebody has ordered; the agent here has no service."""
    outflow: BoxOutflow
    conversations: Conversations
    loader: HostEngines
    adapters: AdapterProcess
    _start_gateway: Callable[[], subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        """Root of everything that the gateway serves."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def trust(self) -> ssl.SSLContext:
        """Trust in the box's certificate and no other."""
        return ssl.create_default_context(cafile=str(self.paths.tls / CERTIFICATE_FILE))

    @property
    def gateway_log(self) -> str:
        """Everything that the gateway has printed."""
        return (self.paths.root / "gateway.log").read_text(errors="replace")

    def restart_gateway(self) -> None:
        """Kill it, and start it anew, as systemd would."""
        self.gateway.kill()
        self.gateway.wait(STOP_TIMEOUT_S)
        self.gateway = self._start_gateway()

    def http(self) -> httpx.Client:
        """A plain client that shows the key."""
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.Client(base_url=self.url, verify=self.trust, headers=headers, timeout=120, trust_env=False)

    def openai(self) -> openai.OpenAI:
        """OpenAI's client, which does not try again by itself."""
        session = openai.DefaultHttpxClient(verify=self.trust, timeout=120, trust_env=False)
        return openai.OpenAI(api_key=self.api_key, base_url=f"{self.url}/v1", http_client=session, max_retries=0)


@contextmanager
def serving_box(
    models: Mapping[str, Path | None],
    limits: Limits = LIMITS,
    policy: OutflowPolicy = LONG_REPLIES,
    brief: frozenset[str] = frozenset(),
    options: tuple[str, ...] = (),
    kept_days: Mapping[str, int] = MappingProxyType({}),
    room_mib: int = ROOM_MIB,
    own_adapters: Mapping[str, str] = MappingProxyType({}),
    documents: DocumentVectors | None = None,
) -> Iterator[ServingBox]:
    """Serve model files under their payload ids until the block ends.

    Args:
        models: by payload id; None where the caller listens on the engine's socket itself.
        limits: on connections.
        policy: what may leave each model.
        brief: models that end their replies soon.
        options: of the engines, behind those of the unit.
        kept_days: for how long the domains of models let prompts be kept; the others not at all.
        room_mib: memory that engines may have together.
        own_adapters: by model, the member of a domain in which its customer's adapters lie.
        documents: by which of them documents are searched.
    """
    with ExitStack() as stack:
        # Of its own, not a test's: a socket's path must not be longer than 107 bytes.
        root = Path(tempfile.mkdtemp(prefix="sw-serving-"))
        stack.callback(shutil.rmtree, root)
        paths = Paths(root=root, gateway_group=None, agent_user=None)
        write_durably(paths.engines, document_bytes(_engines(models, own_adapters, documents)))
        paths.vector_extension.parent.mkdir(parents=True)
        paths.vector_extension.symlink_to(vector_extension())
        plans = own_adapter_plans(own_adapters)
        write_durably(paths.workload_plans, document_bytes(plans))
        mounted = [_mounted(paths, name, model) for name, model in models.items()]
        adapters = lay_out_adapters(paths, DomainFiles.none(paths), mounted, plans, print)
        payloads = placed(paths, [*mounted, *adapters], plans, room_mib)
        prepare_engines(paths, open_models(payloads), plans, room_mib)
        policies = dict.fromkeys([*models, *own_adapters.values()], policy) | dict.fromkeys(brief, BRIEF_REPLIES)
        bases = {member: model for model, member in own_adapters.items()}
        release = ReleaseOutflow(version=1, models=policies, bases=bases)
        write_durably(paths.outflow, document_bytes(release))
        meter = _meter(paths, payloads)
        outflow = BoxOutflow(paths.outflow_used, release, frozenset(policies))
        ordered: list[bool] = []
        conversations = _conversations(paths, dict.fromkeys(models, 0) | dict(kept_days))
        keeper = _Keeper(meter, ordered)
        engines = {
            one.payload_id: EngineProcess(paths, one, options)
            for one in payloads
            if models[one.base or one.payload_id] is not None
        }
        loader = HostEngines(engines)
        boot = _unlocked(payloads, room_mib)
        board = _agent(stack, paths, boot, meter=keeper, outflow=outflow, conversations=conversations, loader=loader)
        outflow.alarm, outflow.alarms = board.extraction_alarm, board.set_extraction_alarms
        keys = ApiKeys(paths.api_keys)
        api_key, admin_key = keys.create("ward", admin=False), keys.create("administrator", admin=True)
        stack.enter_context(document_service(paths))
        adapters_kept = AdapterProcess(paths, list(own_adapters.values()))
        stack.callback(adapters_kept.close)
        for member in own_adapters.values():
            # As the unit of the engine binds it.
            (paths.payloads / member).rmdir()
            (paths.payloads / member).symlink_to(paths.served_adapters(member))
        for name, engine in engines.items():
            if (paths.engine_starts / name).exists():
                engine.start()
            stack.callback(engine.stop)
        give_to_gateway(make_tls_identity("d" * 52), paths.tls, None)
        port = free_port()
        gateway = _gateway(stack, paths, port, limits)

        def again() -> subprocess.Popen[bytes]:
            return _gateway(stack, paths, port, limits)

        around = (api_key, admin_key, gateway, meter, ordered, outflow, conversations, loader, adapters_kept)
        yield ServingBox(paths, port, board, engines, *around, again)


def _engines(
    models: Mapping[str, Path | None], own_adapters: Mapping[str, str], documents: DocumentVectors | None
) -> ReleaseEngines:
    """What the build would say of these models."""
    files = {name: read_gguf(path) for name, path in models.items() if path is not None}
    needs = {name: engine_need(file, embeddings=False) for name, file in files.items()}
    layers = {name: layer_shapes(name, files[name]) for name in own_adapters}
    return ReleaseEngines(version=1, models=needs, layers=layers, documents=documents)


def _unlocked(payloads: list[PayloadStatus], room_mib: int) -> BootResult:
    """As if this boot had opened these."""
    return BootResult(
        state=BoxState.UNLOCKED,
        sentence="Unlocked.",
        at=0,
        device_id="d" * 52,
        payloads=payloads,
        engine_room_mib=room_mib,
    )


def _mounted(paths: Paths, name: str, model: Path | None) -> PayloadStatus:
    folder = paths.payloads / name
    folder.mkdir(parents=True)
    if model is not None:
        (folder / "model.gguf").symlink_to(model.resolve())
    return PayloadStatus(
        payload_id=name,
        kind="model",
        domain=name,
        file_name="model.gguf",
        partition_id=None if model is None else hashlib.sha256(str(model).encode()).hexdigest(),
        state=PayloadState.OPEN,
    )


@dataclass(frozen=True)
class _Keeper:
    """A meter that reports to nobody."""

    meter: BoxMeter
    ordered: list[bool]

    def report_soon(self) -> None:
        """Note it."""
        self.ordered.append(True)


def _conversations(paths: Paths, days: Mapping[str, int]) -> Conversations:
    calendar = paths.retention / "calendar.json"
    return Conversations(paths.conversations, ApiKeys(paths.api_keys), lambda: days, calendar, lambda: 0)


def _meter(paths: Paths, payloads: list[PayloadStatus]) -> BoxMeter:
    """The agent's meter, of a box whose TPM stands at its beginning."""
    paths.state.mkdir(parents=True)
    partitions = {payload.payload_id: "0" * 64 for payload in payloads}
    unknown = LicenseService.model_construct(**{})
    meter = BoxMeter(
        MeterStore(paths.metering), unknown, "d" * 52, "license-1", partitions, dict.fromkeys(partitions, ALL_TOLD)
    )
    meter.open(Point(reset_count=0, clock_ms=0, ticks=0))
    return meter


def _agent(
    stack: ExitStack,
    paths: Paths,
    boot: BootResult,
    *,
    meter: _Keeper,
    outflow: BoxOutflow,
    conversations: Conversations,
    loader: HostEngines,
) -> StatusBoard:
    """The agent's endpoints in a thread, saying that the box serves."""
    listener = listen(paths)
    write_durably(paths.boot_result, document_bytes(boot))
    board = StatusBoard(boot, Console(()), time.time)
    board.change(BoxState.SERVING, "The models answer.")
    keeper = LeaseKeeper(board, Actions(lambda _: None, lambda: None, lambda _: None), threading.Lock(), "", None)
    by_file = ByFile.of(keeper, None, paths.pending_requests)
    keys = ApiKeys(paths.api_keys)
    app = create_agent_app(board, None, keys, by_file, outflow, meter=meter)
    support = BoxSupport(
        paths, board, keys, outflow, RecentLines(), keeper.tpm_lock, lambda: int(time.time()), state_volume_open=True,
        domains_open=False,
        meter=meter.meter,
    )  # fmt: skip
    add_support(app, support)
    add_conversations(app, conversations)
    add_engines(app, EngineOrders(board, Engines(paths, loader.is_corrupted, loader.engine_of), loader))
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()

    def stop() -> None:
        server.should_exit = True
        thread.join(STOP_TIMEOUT_S)
        listener.close()

    stack.callback(stop)
    return board


def _gateway(stack: ExitStack, paths: Paths, port: int, limits: Limits) -> subprocess.Popen[bytes]:
    log = stack.enter_context((paths.root / "gateway.log").open("ab"))
    process = subprocess.Popen(
        [
            "setpriv",
            "--pdeathsig",
            "KILL",
            sys.executable,
            "-m",
            "sealwright_testing.serving",
            str(paths.root),
            str(port),
            json.dumps(dataclasses.asdict(limits)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
    )

    def stop() -> None:
        process.kill()
        process.wait(STOP_TIMEOUT_S)

    stack.callback(stop)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(_POLL_S)
        else:
            return process
    raise OperationError(f"The gateway did not start:\n{(paths.root / 'gateway.log').read_text()[-2000:]}")


if __name__ == "__main__":
    run_box_gateway(
        Paths(root=Path(sys.argv[1]), gateway_group=None, agent_user=None),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        limits=Limits(**json.loads(sys.argv[3])),
    )
