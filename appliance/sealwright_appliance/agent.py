"""The agent: the box's long-running process, a user of its own with the TPM and the state volume.

It waits for the engines of what :mod:`.unlock` has opened, keeps the lease, activates, and answers the gateway on a
UNIX socket. It holds no plaintext of any payload: engines read their models themselves, as other users, and what takes
root is done by :mod:`.volume_service`.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import uvicorn

from sealwright_appliance.activation import Activation
from sealwright_appliance.agent_by_file import ByFile
from sealwright_appliance.agent_endpoints import create_agent_app
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.boot_result import keep_status, load_boot_result
from sealwright_appliance.claim import Claim
from sealwright_appliance.console import Console
from sealwright_appliance.conversation_endpoints import PromptsDays, add_conversations
from sealwright_appliance.conversations import Conversations
from sealwright_appliance.customer_evidence import CustomerEvidence, add_customer_evidence
from sealwright_appliance.customer_orders import CustomerOrders, add_customer_orders
from sealwright_appliance.engine_orders import EngineOrders, add_engines
from sealwright_appliance.engines import SERVED, Engines, open_models
from sealwright_appliance.flows.box_flows import BoxFlows
from sealwright_appliance.flows.endpoints import add_flows
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.flows.reporting import FlowReporting
from sealwright_appliance.handover import Handover
from sealwright_appliance.lease_calendar import CALENDAR_FILE, LeaseCalendar
from sealwright_appliance.lease_keeper import Actions, LeaseKeeper
from sealwright_appliance.lease_store import Identity, LeaseStore
from sealwright_appliance.license_client import LicenseClient
from sealwright_appliance.log_lines import write_end
from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.metering.meter_keeper import MeterKeeper
from sealwright_appliance.metering.meter_store import MeterStore
from sealwright_appliance.metering.metering_terms import load_terms
from sealwright_appliance.metering.reporting import Reporting
from sealwright_appliance.outflow.box_outflow import BoxOutflow
from sealwright_appliance.outflow.key_states import KeyState
from sealwright_appliance.paths import Paths
from sealwright_appliance.recent_lines import RecentLines
from sealwright_appliance.release_files import load_outflow, load_service
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.site.endpoints import add_site
from sealwright_appliance.site.site import Site
from sealwright_appliance.site.store import SiteStore
from sealwright_appliance.status import PayloadState
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.support import BoxSupport, add_support
from sealwright_appliance.volume_client import VolumeClient
from sealwright_appliance.volume_service import Volumes
from sealwright_appliance.workloads import ENDED
from sealwright_policies.domains.model import Metering
from sealwright_policies.errors import OperationError, SealwrightError

LOOK_S = 5.0
"""Between two looks at workloads that run."""
RESULTS_FULL = "The volume for the results of its domain is full (results_mib): what it wrote last may be missing."


@dataclass
class Agent:
    """Everything of one running agent."""

    paths: Paths
    board: StatusBoard
    keeper: LeaseKeeper
    engines: Engines
    volumes: Volumes
    activation: Activation | None
    """None while the state volume is closed: there is nothing to claim, and nowhere to keep it."""
    api_keys: ApiKeys
    outflow: BoxOutflow
    meter_keeper: MeterKeeper | None = None
    """None before activation: nothing is served, and nobody is told."""
    flows: BoxFlows | None = None
    """None before activation: no other box would believe this one."""
    conversations: Conversations | None = None
    """None before activation: there are no models to talk to."""
    site: Site | None = None
    """None while the state volume is closed: the box goes by DHCP."""
    recent: RecentLines = field(default_factory=RecentLines)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Go on with the handover of secrets; keep the lease and watch the engines, each in a thread."""
        if self.site is not None:
            self.site.open()
        if self.activation is not None:
            self.activation.resume()
        self._spawn(self.keeper.run)
        if self.site is not None:
            self._spawn(self.site.run)
        if self.meter_keeper is not None:
            self._spawn(self.meter_keeper.run)
        if self.flows is not None:
            self._spawn(self.flows.retention.run)
        if self.conversations is not None:
            self._spawn(self.conversations.run)
        if self.board.status.state is BoxState.UNLOCKED:
            self._spawn(self.watch_engines)
            if self.board.status.workloads:
                self._spawn(self.watch_workloads)

    def watch_engines(self) -> None:
        """Wait until each engine that :mod:`.volume_service` has started serves or has failed. The others are loaded
        when somebody asks them: their models serve as well."""
        models = open_models(self.board.status.payloads)
        started = {model.payload_id for model in models if self._runs(model.payload_id)}
        for model in models:
            is_started = model.payload_id in started
            self.board.set_payload(model.payload_id, PayloadState.LOADING if is_started else PayloadState.SERVING)
        for name in sorted(started):
            failure = self.engines.wait_until_ready(name)
            if failure is None:
                self.board.set_payload(name, PayloadState.SERVING)
            else:
                reason = self.engines.given_up(name, failure, self.volumes.close)
                self.board.set_payload(name, PayloadState.FAILED, reason)
        self.board.engines_decided()
        if self.board.status.state is BoxState.ENDED:
            self.keeper.keep_status()

    def _runs(self, payload_id: str) -> bool:
        """Whether an engine runs; it is waited for, too, where nobody can say."""
        try:
            return self.volumes.engine_of(payload_id).runs
        except OperationError:
            return True

    def watch_workloads(self) -> None:
        """Note how far each workload comes, until all have ended."""
        waiting = {one.payload_id for one in self.board.status.workloads}
        while waiting and not self.keeper.stop.wait(LOOK_S):
            for name in sorted(waiting):
                seen = self.volumes.run_of(name)
                if seen is None:
                    continue
                self.board.set_run(name, seen.run, RESULTS_FULL if seen.results_full else "")
                if seen.run in ENDED:
                    waiting.discard(name)

    def stop(self) -> None:
        """Let the threads end."""
        self.keeper.stop.set()
        if self.site is not None:
            self.site.stop.set()
        if self.meter_keeper is not None:
            self.meter_keeper.stop.set()
        if self.flows is not None:
            self.flows.retention.stop.set()
        if self.conversations is not None:
            self.conversations.stop.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _spawn(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=target.__name__, daemon=True)
        thread.start()
        self._threads.append(thread)


def build_agent(paths: Paths, console: Console, volumes: Volumes) -> Agent:
    """Wire an agent from what :mod:`.unlock` left behind.

    Raises:
        OperationError: there is no result of an unlock in this boot.
    """
    boot = load_boot_result(paths)
    service = load_service(paths)
    board = StatusBoard(boot, console, time.time)
    store = LeaseStore(paths.leases, paths.shares, paths.identity, service, boot.release)
    client = LicenseClient(service)
    engines = Engines(paths, volumes.is_corrupted, volumes.engine_of)
    tpm_lock = threading.Lock()
    identity = _load_identity(store, board) if boot.state_volume_open else None
    release_id = boot.release.release_id if boot.release is not None else ""
    renewal = Renewal(paths, client, store, identity, release_id) if identity is not None else None
    actions = Actions(volumes.close, volumes.restart, lambda status: keep_status(paths, status, time.monotonic()))
    keeper = LeaseKeeper(board, actions, tpm_lock, paths.tcti, renewal, boot.ended_s, calendar=_calendar(paths, board))
    api_keys = ApiKeys(paths.api_keys)
    meter_keeper = _meter_keeper(board, renewal, tpm_lock) if renewal is not None else None
    activation = None
    if boot.state_volume_open and release_id:
        claim, handover = Claim(paths.claim), Handover(board, volumes.restart)
        activation = Activation(paths, client, store, claim, api_keys, release_id, tpm_lock, handover)
    flows = None
    if renewal is not None:
        calendar, forget = keeper.calendar.now, volumes.forget
        flows = BoxFlows.of(renewal, board, tpm_lock, calendar, forget, are_open=boot.domains_open)
        flows.retention.told, flows.retention.say = paths.retention_time, board.say
    if meter_keeper is not None and flows is not None and renewal is not None:
        meter_keeper.flows = FlowReporting(renewal, flows.journal, tpm_lock, flows.reported).report
    outflow = _outflow(paths, board, meter_keeper)
    conversations = _conversations(paths, board, api_keys, flows) if flows is not None else None
    site = Site(SiteStore(paths), client, volumes.apply_site, board.say) if activation is not None else None
    return Agent(
        paths, board, keeper, engines, volumes, activation, api_keys, outflow, meter_keeper, flows, conversations, site
    )


def _conversations(paths: Paths, board: StatusBoard, api_keys: ApiKeys, flows: BoxFlows) -> Conversations:
    """They go by the calendar that files of domains go by."""
    days, retention = PromptsDays(flows.own), flows.retention

    def is_unlocked() -> bool:
        return board.status.state in (BoxState.UNLOCKED, BoxState.SERVING)

    return Conversations(
        paths.conversations,
        api_keys,
        lambda: days.by_model,
        retention.calendar_file,
        retention.service_time,
        is_unlocked,
    )


def _outflow(paths: Paths, board: StatusBoard, meter_keeper: MeterKeeper | None) -> BoxOutflow:
    """Budgets, by a calendar that only the licence service and running time move on."""

    def service_time() -> int:
        lease = board.status.lease
        return lease.issued_at if lease is not None else 0

    def alarm(state: KeyState) -> None:
        board.extraction_alarm(state)
        if meter_keeper is not None:
            meter_keeper.meter.note_copying(state.model)

    models = frozenset(one.payload_id for one in board.status.payloads if one.kind in SERVED)
    outflow = BoxOutflow(
        paths.outflow_used, load_outflow(paths), models, service_time, alarm=alarm, alarms=board.set_extraction_alarms
    )
    if board.status.state in (BoxState.UNLOCKED, BoxState.SERVING):
        with suppress(SealwrightError):  # the gateway is told so, and serves nobody
            board.set_extraction_alarms(sum(one.level > 0 for one in outflow.states().states))
    return outflow


def _meter_keeper(board: StatusBoard, renewal: Renewal, tpm_lock: threading.Lock) -> MeterKeeper:
    identity, paths = renewal.identity, renewal.paths
    partitions = {one.payload_id: one.partition_id for one in board.status.payloads if one.partition_id is not None}
    store = MeterStore(paths.metering)
    terms: dict[str, Metering] = {}
    try:
        terms = load_terms(OwnDomains(paths))
    except SealwrightError as error:
        board.say(f"metering: {error} Nothing is counted.")
    meter = BoxMeter(store, renewal.store.service, identity.device_id, identity.license_id, partitions, terms)
    return MeterKeeper(board, Reporting(renewal, meter, tpm_lock, paths.tcti))


def _load_identity(store: LeaseStore, board: StatusBoard) -> Identity | None:
    """Who the box is; one that cannot be read keeps it from renewing, and from nothing else."""
    try:
        return store.load_identity()
    except SealwrightError as error:
        board.renewed(BoxCode.STATE_VOLUME, f"The box's identity cannot be read, so it cannot renew: {error}")
        return None


def _calendar(paths: Paths, board: StatusBoard) -> LeaseCalendar:
    """What is known of the clock; a file that cannot be read keeps the box from nothing."""
    path = paths.identity / CALENDAR_FILE
    try:
        return LeaseCalendar(path)
    except SealwrightError as error:
        board.say(f"calendar: {error}")
        return LeaseCalendar()


def run_agent(paths: Paths) -> None:
    """Serve on the agent's socket until told to stop."""
    end_with_any_thread()
    agent = build_agent(paths, Console(paths.consoles), VolumeClient(paths.volumes_socket))
    agent.start()
    listener = listen(paths)
    try:
        server = agent_server(agent)
        agent.recent.listen()
        server.run(sockets=[listener])
    finally:
        listener.close()
        agent.stop()


def end_with_any_thread() -> None:
    """Have this process end when one of its threads fails: without its keeper, no lease would ever end.

    systemd starts the agent again; until then the gateway refuses requests.
    """

    def end(failure: threading.ExceptHookArgs) -> None:
        write_end(failure.exc_type, failure.exc_traceback)
        os._exit(1)

    threading.excepthook = end


def agent_server(agent: Agent) -> uvicorn.Server:
    """The server of the agent's endpoints."""
    by_file = ByFile.of(agent.keeper, agent.activation, agent.paths.pending_requests)
    evidence = CustomerEvidence(agent.paths, agent.board, agent.keeper.renewal, agent.keeper.tpm_lock)
    app = create_agent_app(
        agent.board, agent.activation, agent.api_keys, by_file, agent.outflow, meter=agent.meter_keeper
    )
    add_customer_evidence(app, evidence)
    add_engines(app, EngineOrders(agent.board, agent.engines, agent.volumes))
    if agent.activation is not None and agent.site is not None:
        add_site(app, agent.activation, agent.api_keys, agent.site)
    if agent.flows is not None:
        add_flows(app, agent.api_keys, agent.flows)
    if agent.conversations is not None:
        add_conversations(app, agent.conversations)
    add_customer_orders(
        app, CustomerOrders(agent.paths, agent.board, agent.keeper.actions.restart, agent.keeper.tpm_lock)
    )
    add_support(app, _support(agent))
    return uvicorn.Server(
        uvicorn.Config(app, access_log=False, log_config=None, log_level="warning", server_header=False)
    )


def _support(agent: Agent) -> BoxSupport:
    keeper, meter, boot = agent.keeper, agent.meter_keeper, load_boot_result(agent.paths)
    return BoxSupport(
        agent.paths,
        agent.board,
        agent.api_keys,
        agent.outflow,
        agent.recent,
        keeper.tpm_lock,
        keeper.calendar.now,
        state_volume_open=boot.state_volume_open,
        domains_open=boot.domains_open,
        renewal=keeper.renewal,
        meter=meter.meter if meter is not None else None,
    )


def listen(paths: Paths) -> socket.socket:
    """The agent's socket: the gateway's group may connect, nobody else."""
    paths.agent_socket.parent.mkdir(parents=True, exist_ok=True)
    paths.agent_socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(paths.agent_socket))
    if paths.gateway_group is not None:
        shutil.chown(paths.agent_socket, group=paths.gateway_group)
    paths.agent_socket.chmod(0o660)
    listener.listen()
    return listener
