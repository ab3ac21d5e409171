"""Activation as a customer does it: the command, the gateway over TLS, the agent's socket, the service, the TPM."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import uvicorn

from sealwright_appliance.agent import Agent, agent_server, build_agent, listen
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.boot import BoxState
from sealwright_appliance.claim import ATTEMPTS_AT_ONCE, Claim
from sealwright_appliance.console import Console
from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.state_volume import FirstBootSecrets
from sealwright_appliance.status import BootResult, release_status
from sealwright_appliance.tls import give_to_gateway, kept_tls_identity
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor, free_port

SECRETS = FirstBootSecrets("-----BEGIN PRIVATE KEY-----\ncustomer\n-----END PRIVATE KEY-----\n", "AAAAA-BBBBB")


@dataclass
class RunningBox:
    """A box that waits for its activation, with agent and gateway."""

    simulated: SimulatedBox
    agent: Agent
    url: str
    fingerprint: str
    console: Path
    restarts: list[float] = field(default_factory=list)

    @property
    def claim(self) -> Claim:
        """The file on its state volume."""
        return Claim(self.simulated.paths.claim)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``sealwright-box``."""
        argv = [str(Path(sys.executable).parent / "sealwright-box"), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    def activate(
        self, claim_code: str, activation_code: str, fingerprint: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``sealwright-box activate``."""
        codes = ["--claim-code", claim_code, "--activation-code", activation_code]
        return self.command("activate", self.url, "--fingerprint", fingerprint or self.fingerprint, *codes, "--json")


@contextmanager
def serving(server: uvicorn.Server, **options: object) -> Iterator[None]:
    """A server in a thread."""
    thread = threading.Thread(target=server.run, kwargs=options, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=20)


GATEWAY = """
import sys
from pathlib import Path
from sealwright_appliance.gateway import run_box_gateway
from sealwright_appliance.paths import Paths
run_box_gateway(Paths(root=Path(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]))
"""


@contextmanager
def gateway(paths: Paths) -> Iterator[int]:
    """The gateway in a process of its own, as in the box; its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", GATEWAY, str(paths.root), str(port)])
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None, "the gateway ended"
            assert time.monotonic() < deadline, "the gateway did not start in time"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """A licence service that runs."""
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"))
    with made.serving():
        yield made


@pytest.fixture
def running(vendor: SimulatedVendor, tmp_path: Path) -> Iterator[RunningBox]:
    """A box after its first unlock, up."""
    box = SimulatedBox.manufacture(vendor, tmp_path / "box")
    box.boot()
    box.go_up()
    paths = box.paths
    Claim(paths.claim).create(SECRETS)
    tls = kept_tls_identity(paths.identity / "tls", "device")
    give_to_gateway(tls, paths.tls, None)
    boot = BootResult(
        state=BoxState.WAITING_FOR_ACTIVATION,
        sentence="The box waits for its activation.",
        at=int(time.time()),
        release=release_status(vendor.release),
        payloads=[],
        tls_fingerprint=tls.fingerprint,
        state_volume_open=True,
    )
    write_durably(paths.boot_result, document_bytes(boot), mode=0o644)
    console = tmp_path / "console"
    console.touch()
    restarts: list[float] = []
    agent = build_agent(paths, Console([console]), lambda: restarts.append(time.monotonic()))
    agent.handover_s = 0.0
    listener = listen(paths)
    with ExitStack() as stack:
        stack.callback(box.tpm.kill)
        stack.callback(listener.close)
        stack.enter_context(serving(agent_server(agent), sockets=[listener]))
        port = stack.enter_context(gateway(paths))
        yield RunningBox(box, agent, f"https://127.0.0.1:{port}", tls.fingerprint, console, restarts)


def test_a_customer_activates_the_box(running: RunningBox) -> None:
    """One command: the box is enrolled, its secrets are shown once and erased, and it restarts."""
    code = running.claim.code()
    assert code is not None
    done = running.activate(code.lower(), running.simulated.vendor.issue().activation_code)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["customer_key_pem"] == SECRETS.customer_key_pem
    assert shown["recovery_key"] == SECRETS.recovery_key
    assert shown["api_key"].startswith("sw-")
    assert running.simulated.store.load_identity() is not None
    assert len(running.simulated.store.load_leases()) == 1
    assert len(running.restarts) == 1
    assert "state activated, restarting" in running.console.read_text()
    assert running.claim.code() is None
    kept = b"".join(path.read_bytes() for path in running.simulated.paths.state.rglob("*") if path.is_file())
    for secret in (shown["api_key"], shown["recovery_key"], "BEGIN PRIVATE KEY-----\ncustomer"):
        assert secret.encode() not in kept
    again = running.activate(code, "00000-00000-00000-00000")
    assert again.returncode == 10
    assert "CLAIM_SPENT" in again.stderr


def test_a_wrong_claim_code_activates_nothing(running: RunningBox) -> None:
    """Refused before the service hears of it; and most of a crowd are refused for asking too often."""
    with ThreadPoolExecutor(16) as crowd:
        attempts = [crowd.submit(running.activate, "0000-0000-0000", "00000-00000-00000-00000") for _ in range(16)]
    said = [attempt.result().stderr for attempt in attempts]
    wrong, limited = (sum(code in line for line in said) for code in ("CLAIM_CODE_INVALID", "RATE_LIMITED"))
    assert wrong + limited == len(said)
    assert wrong >= ATTEMPTS_AT_ONCE
    assert limited > 0
    assert running.simulated.store.load_identity() is None
    assert running.claim.code() is not None


def test_a_wrong_activation_code_is_told_and_the_claim_stays(running: RunningBox) -> None:
    """The service's code comes through; the box can be activated afterwards."""
    code = running.claim.code()
    assert code is not None
    refused = running.activate(code, "00000-00000-00000-00000")
    assert refused.returncode == 10
    assert "ACTIVATION_CODE_INVALID" in refused.stderr
    assert running.claim.code() == code
    assert running.agent.board.status.state is BoxState.WAITING_FOR_ACTIVATION


def test_nothing_is_sent_to_a_box_with_another_fingerprint(running: RunningBox) -> None:
    """Somebody in between shows another certificate: the codes stay with the customer."""
    code = running.claim.code()
    assert code is not None
    refused = running.activate(code, "00000-00000-00000-00000", fingerprint="sha256:" + "ab" * 32)
    assert refused.returncode == 10
    assert "Nothing was sent" in refused.stderr
    # Had a code been tried, a token of the limiter would be gone.
    for _ in range(5):
        running.claim.check(code, 0.0)


def test_status_and_verify(running: RunningBox, tmp_path: Path) -> None:
    """What the box says, and that its release is the one of the vendor's manifest."""
    status = running.command("status", running.url, "--fingerprint", running.fingerprint)
    assert status.returncode == 0
    assert "waiting-for-activation" in status.stdout
    image = running.simulated.vendor.directory / "image"
    arguments = ["--fingerprint", running.fingerprint, "--manifest-key", str(image / "manifest-key.pem")]
    same = running.command("verify", running.url, *arguments, "--manifest", str(image / "manifest.json"))
    assert same.returncode == 0, same.stderr
    changed = tmp_path / "manifest.json"
    changed.write_bytes((image / "manifest.json").read_bytes().replace(b'"sig":"', b'"sig":"AA'))
    assert running.command("verify", running.url, *arguments, "--manifest", str(changed)).returncode in (10, 30)


def test_the_agent_answers_on_its_socket(running: RunningBox) -> None:
    """Status and key hashes for the gateway; a name is given once."""
    transport = httpx.HTTPTransport(uds=str(running.simulated.paths.agent_socket))
    with httpx.Client(transport=transport, base_url="http://agent") as client:
        assert client.get("/status").json()["state"] == "waiting-for-activation"
        api_keys = ApiKeys(running.simulated.paths.api_keys)
        admin, other = api_keys.create("first", admin=True), api_keys.create("other", admin=False)
        for shown in ("", other):  # whatever the gateway says it has checked
            assert client.post("/api-keys", json={"name": "mine", "admin_key": shown}).status_code == 403
        asked = {"name": "colleague", "admin_key": admin}
        created = client.post("/api-keys", json=asked).json()
        keys = client.get("/api-keys").json()["keys"]
        assert [key["name"] for key in keys] == ["first", "other", "colleague"]
        assert created["api_key"] not in json.dumps(keys)
        taken = client.post("/api-keys", json=asked)
        assert taken.status_code == 400
        assert taken.headers["content-type"] == "application/problem+json"
        assert client.post("/api-keys", json=asked | {"name": "x", "admin": True}).status_code == 400
    assert running.simulated.paths.agent_socket.stat().st_mode & 0o777 == 0o660
