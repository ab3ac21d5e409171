"""Running boxes that send files to each other, and what a test asks of them."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealwright_appliance.boot import BoxState
from sealwright_appliance.flows.box_flows import BoxFlows
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.flows.sender import FlowOrder
from sealwright_policies.flows.documents import FileKind, FlowHello, FlowOffer, FlowWelcome
from sealwright_testing.laid_files import files_of
from sealwright_testing.running_box import RunningBox, running_box
from sealwright_testing.simulated_box import SimulatedVendor


@dataclass
class FlowBox:
    """A box that serves, and its administrator."""

    running: RunningBox
    admin_key: str

    @property
    def device_id(self) -> str:
        """As its console shows it."""
        identity = self.running.simulated.store.load_identity()
        assert identity is not None
        return identity.device_id

    @property
    def files(self) -> Path:
        """Folder of the domains' files on its state volume."""
        return self.running.simulated.paths.domain_files

    @property
    def flows(self) -> BoxFlows:
        """Its agent's part, without the gateway."""
        found = self.running.agent.flows
        assert found is not None
        return found

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of its certificate."""
        return bytes.fromhex(self.running.fingerprint.removeprefix("sha256:"))

    def domain(self, command: str, *arguments: str | Path, url: str = "") -> subprocess.CompletedProcess[str]:
        """Run ``sealwright-box domain`` with the administrator's key."""
        known = ("--fingerprint", self.running.fingerprint)
        return self.running.command(
            "domain", command, url or self.running.url, *arguments, *known, typed=f"{self.admin_key}\n"
        )

    def said(self, command: str, *arguments: str | Path) -> dict[str, Any]:
        """The same, which must succeed; its JSON."""
        done = self.domain(command, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def content(self, domain: str, name: str, kind: str = "data-set") -> bytes | None:
        """What a domain has under a name, None if nothing."""
        path = self.files / domain / kind / name / "content"
        return path.read_bytes() if path.exists() else None


@dataclass
class Boxes:
    """A storage node and a compute node."""

    storage: FlowBox
    compute: FlowBox

    def expect(self) -> None:
        """Let the storage node come."""
        self.compute.said("receive", "training", "--from", "records", "--device", self.storage.device_id)

    def send(self, name: str, *more: str, to: FlowBox | None = None, url: str = "") -> subprocess.CompletedProcess[str]:
        """Send a data set of the storage node's."""
        receiver = to or self.compute
        where = ("--peer", url or receiver.running.url, "--device", receiver.device_id)
        return self.storage.domain("send", "records", name, "--to", "training", *where, *more)


@dataclass
class Meeting:
    """The agents of two boxes, brought together by hand."""

    sender: FlowBox
    receiver: FlowBox
    name: str
    hello: FlowHello = field(init=False)
    flow_id: str = field(init=False)

    def __post_init__(self) -> None:
        """The sender begins."""
        order = FlowOrder(
            source="records", kind=FileKind.DATA_SET, name=self.name, target="training",
            device_id=self.receiver.device_id,
        )  # fmt: skip
        session = self.sender.flows.sender.begin(order)
        self.hello, self.flow_id = session.hello, session.outgoing.flow_id

    def welcome(self) -> FlowWelcome:
        """The receiver answers."""
        return self.receiver.flows.receiver.welcome(self.hello)

    def offer(self, welcome: FlowWelcome | None = None) -> FlowOffer:
        """The sender offers."""
        said = welcome or self.welcome()
        return self.sender.flows.sender.offer(self.flow_id, said, self.receiver.fingerprint)

    def frame(self, number: int) -> bytes:
        """One frame, encrypted."""
        return self.sender.flows.sender.frame(self.flow_id, number)


def put_in(box: FlowBox, folder: Path, name: str, content: bytes) -> Path:
    """Put a data set into the records of a box."""
    path = folder / name
    path.write_bytes(content)
    box.said("import", "records", path)
    return path


@contextmanager
def activated_box(vendor: SimulatedVendor, directory: Path) -> Iterator[FlowBox]:
    """A box under a lease, its models open."""
    directory.mkdir(parents=True)
    with running_box(vendor, directory) as box:
        reply = box.post("/activation", claim_code=box.claim_code, activation_code=vendor.issue().activation_code)
        assert reply.status_code == 200, reply.text
        paths = box.simulated.paths
        files_of(paths.domain_files, *OwnDomains(paths).names())
        box.start_agent(BoxState.UNLOCKED, "The payloads are open.")
        yield FlowBox(box, reply.json()["api_key"])


@contextmanager
def relayed(box: FlowBox, wire: Wire) -> Iterator[str]:
    """An address at which a box is reached over a line that is watched; both of its ports."""
    near, running = "127.0.0.2", box.running
    with (
        tapped(near, running.port, wire, listen=running.port),
        tapped(near, running.peer_port, wire, listen=running.peer_port),
    ):
        yield f"https://{near}:{running.port}"


@dataclass
class Wire:
    """Everything that went over a relay between two boxes, and what it did to it."""

    passed: bytearray = field(default_factory=bytearray)
    cut_after: int | None = None
    """Bytes after which the line is cut, once."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, part: bytes) -> bool:
        """Whether the line goes on."""
        with self.lock:
            self.passed += part
            if self.cut_after is not None and len(self.passed) > self.cut_after:
                self.cut_after = None
                return False
            return True


@contextmanager
def tapped(host: str, port: int, wire: Wire, *, listen: int = 0) -> Iterator[int]:
    """A port that passes everything on to another, and notes it; both ways."""
    listener = socket.create_server((host, listen))
    ends: list[socket.socket] = []
    stop = threading.Event()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                if not wire.note(part):
                    break
                target.sendall(part)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while not stop.is_set():
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                ends.extend((near, far))
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=(source, target), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        for end in (listener, *ends):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # else a thread that waits at it keeps it
            with suppress(OSError):
                end.close()
