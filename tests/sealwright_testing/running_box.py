"""A box behind its first unlock, up: the real agent and gateway, a real TPM, and a licence service over HTTPS."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from sealwright_appliance.agent import Agent, agent_server, build_agent, listen
from sealwright_appliance.boot import BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.claim_counter import note_claim_counter
from sealwright_appliance.console import Console
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import keep_signed_files
from sealwright_appliance.state_volume import FirstBootSecrets
from sealwright_appliance.status import BootResult, KeptClosed, release_status
from sealwright_appliance.tls import CERTIFICATE_FILE, give_to_gateway, kept_tls_identity
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.metering.receipt import Point
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.laid_files import SEALS
from sealwright_testing.noted_volumes import NotedVolumes
from sealwright_testing.ports import free_port
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor
from sealwright_testing.warm_command import run_box_command

SECRETS = FirstBootSecrets("-----BEGIN PRIVATE KEY-----\ncustomer\n-----END PRIVATE KEY-----\n", "AAAAA-BBBBB")
NO_CODE = "00000-00000-00000-00000"
WAIT_S = 180.0
GATEWAY = """
import sys
from pathlib import Path
from sealwright_appliance.gateway import run_box_gateway
from sealwright_appliance.paths import Paths
run_box_gateway(Paths(root=Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), peer_port=int(sys.argv[3]))
"""


@dataclass
class RunningBox:
    """Agent and gateway of one box. What the agent would do to the machine is noted."""

    simulated: SimulatedBox
    fingerprint: str
    console: Path
    port: int = 0
    peer_port: int = 0
    """Where the gateway listens for frames while a flow is under way."""
    restarts: list[float] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    """When the site's settings were to be applied."""
    _running: ExitStack = field(default_factory=ExitStack)
    agent: Agent = field(init=False)

    @property
    def url(self) -> str:
        """Of the gateway."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def claim(self) -> Claim:
        """The file on its state volume."""
        return Claim(self.simulated.paths.claim)

    @property
    def claim_code(self) -> str:
        """As the console shows it."""
        code = self.claim.code()
        assert code is not None
        return code

    @property
    def kept(self) -> str:
        """Everything on the state volume."""
        files = [path for path in self.simulated.paths.state.rglob("*") if path.is_file()]
        return "\n".join(path.read_text(errors="replace") for path in files)

    def start_agent(
        self,
        state: BoxState,
        sentence: str = "",
        *,
        restart_after_s: float = WAIT_S,
        kept_closed: tuple[KeptClosed, ...] = (),
    ) -> None:
        """Start an agent behind an unlock with this result, in the place of one that runs."""
        paths = self.simulated.paths
        boot = BootResult(
            state=state,
            sentence=sentence,
            at=int(time.time()),
            release=release_status(self.simulated.vendor.release),
            payloads=[],
            tls_fingerprint=self.fingerprint,
            state_volume_open=True,
            domains_open=state is BoxState.UNLOCKED,
            kept_closed=kept_closed,
        )
        write_durably(paths.boot_result, document_bytes(boot), mode=0o644)
        if boot.domains_open:
            write_durably(paths.domain_seal_key, SEALS.key)
        keep_signed_files(paths, self.simulated.vendor.release)
        self.start_agent_behind_unlock(restart_after_s=restart_after_s)

    def start_agent_behind_unlock(self, *, restart_after_s: float = WAIT_S) -> None:
        """Start an agent that goes by what unlock has left, in the place of one that runs."""
        paths = self.simulated.paths
        self._running.close()
        self.agent = build_agent(paths, Console([self.console]), NotedVolumes(self.restarts, applied=self.applied))
        if self.agent.activation is not None:
            self.agent.activation.handover.restart_after_s = restart_after_s
            self.agent.activation.resume()
        listener = listen(paths)
        self._running.callback(listener.close)
        self._running.enter_context(_serving(agent_server(self.agent), sockets=[listener]))

    def serve(self) -> str:
        """Activate it, and go on as behind the restart that follows; an administrator's key."""
        reply = self.post(
            "/activation", claim_code=self.claim_code, activation_code=self.simulated.vendor.issue().activation_code
        )
        assert reply.is_success, reply.text
        self.start_agent(BoxState.UNLOCKED, "The payloads are open.")
        assert self.agent.meter_keeper is not None
        self.agent.meter_keeper.meter.open(Point(reset_count=0, clock_ms=0, ticks=0))
        return str(reply.json()["api_key"])

    def stop_agent(self) -> None:
        """Stop the agent that runs."""
        self._running.close()

    def command(self, *arguments: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``sealwright-box`` with this on its standard input."""
        own = {"XDG_STATE_HOME": str(self.seen)}
        return run_box_command([str(one) for one in arguments], typed=typed, environment=os.environ | own)

    @property
    def seen(self) -> Path:
        """Where this customer's command keeps what it must know the next time."""
        return self.simulated.paths.root / "customer"

    def activate(
        self, claim_code: str, activation_code: str, secrets: Path, fingerprint: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``sealwright-box activate``."""
        return self.command(
            *("activate", self.url, "--fingerprint", fingerprint or self.fingerprint, "--secrets", secrets, "--json"),
            typed=f"{claim_code}\n{activation_code}\n",
        )

    def http(self, address: str = "127.0.0.1") -> httpx.Client:
        """A client at one of the addresses of loopback, of which there are many."""
        trust = ssl.create_default_context(cafile=str(self.simulated.paths.tls / CERTIFICATE_FILE))
        return httpx.Client(
            base_url=self.url, transport=httpx.HTTPTransport(verify=trust, local_address=address), timeout=WAIT_S
        )

    def post(self, path: str, **body: str) -> httpx.Response:
        """Post to the gateway, once."""
        with self.http() as client:
            return client.post(path, json=body)

    def status(self) -> dict[str, Any]:
        """``GET /status`` of the agent, which the gateway remembers for a second."""
        document: dict[str, Any] = json.loads(self.agent.board.status.model_dump_json())
        return document


@contextmanager
def running_box(vendor: SimulatedVendor, directory: Path) -> Iterator[RunningBox]:
    """A new box that waits for its activation."""
    box = SimulatedBox.manufacture(vendor, directory / "box")
    box.boot()
    box.go_up()
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        note_claim_counter(tpm, box.paths.claim_counter)
    Claim(box.paths.claim).create(SECRETS)
    tls = kept_tls_identity(box.paths.identity / "tls", "device")
    give_to_gateway(tls, box.paths.tls, None)
    console = directory / "console"
    console.touch()
    running = RunningBox(box, tls.fingerprint, console)
    with ExitStack() as stack:
        stack.callback(box.tpm.kill)
        stack.callback(running.stop_agent)
        running.start_agent(BoxState.WAITING_FOR_ACTIVATION, "The box waits for its activation.")
        running.port, running.peer_port = stack.enter_context(_gateway(box.paths))
        yield running


@contextmanager
def unlocked_box(box: SimulatedBox, fingerprint: str, console: Path) -> Iterator[RunningBox]:
    """Agent and gateway of a box that has just gone through its unlock, whatever came of it."""
    running = RunningBox(box, fingerprint, console)
    with ExitStack() as stack:
        stack.callback(running.stop_agent)
        running.start_agent_behind_unlock()
        running.port, running.peer_port = stack.enter_context(_gateway(box.paths))
        yield running


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that is bound to come."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


@contextmanager
def _serving(server: uvicorn.Server, **options: object) -> Iterator[None]:
    """A server in a thread."""
    thread = threading.Thread(target=server.run, kwargs=options, daemon=True)
    thread.start()
    wait_until(lambda: server.started or not thread.is_alive())
    assert thread.is_alive(), "the server did not start"
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=20)


@contextmanager
def _gateway(paths: Paths) -> Iterator[tuple[int, int]]:
    """The gateway in a process of its own, as in the box; its port, and the one for frames."""
    port, peer_port = free_port(), free_port()
    process = subprocess.Popen([sys.executable, "-c", GATEWAY, str(paths.root), str(port), str(peer_port)])

    def listens() -> bool:
        assert process.poll() is None, "the gateway ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens)
        yield port, peer_port
    finally:
        process.terminate()
        process.wait()
