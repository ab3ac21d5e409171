"""Many devices that renew with a running service over kept-alive TLS connections, all in one thread.

They share the machine with the service, so each does as little as it can: a renewal's message is made once and only
what a new nonce changes is put into it, three signatures among them. What comes back is looked at for the next nonce
alone; whether a lease holds what it should is for other tests.
"""

from __future__ import annotations

import base64
import json
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.wire.encoding import document_bytes, pcr_bytes
from sealwright_policies.wire.messages import Attestation, Purpose
from sealwright_testing.evidence_factory import LEASE_INDEX, TICK_INDEX
from sealwright_testing.license_server import LicenseServer
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.software_device import SoftwareDevice

HOST = "127.0.0.1"
TIMEOUT_S = 60
_READ = 1 << 16
_SLOTS = (
    "nonce",
    "quote.attest",
    "quote.signature",
    "tick.attest",
    "tick.signature",
    "lease.attest",
    "lease.signature",
)


@dataclass
class RenewingDevice:
    """An enrolled device, and its next renewal but for what the nonce changes."""

    device: SoftwareDevice
    license_id: str
    nonce: bytes
    _parts: list[bytes] = field(init=False)
    _pcrs: dict[int, bytes] = field(init=False)
    _clock_ms: int = field(init=False)

    def __post_init__(self) -> None:
        """Make the message with a mark in the place of each part that changes."""
        asked = self.device.renewal(self.license_id, b"nonce")
        evidence = asked.evidence
        marked = asked.model_copy(
            update={
                "evidence": evidence.model_copy(
                    update={
                        "quote": Attestation(attest=b"quote.attest", signature=b"quote.signature"),
                        **{
                            f"{name}_counter": getattr(evidence, f"{name}_counter").model_copy(
                                update={"attest": f"{name}.attest".encode(), "signature": f"{name}.signature".encode()}
                            )
                            for name in ("tick", "lease")
                        },
                    }
                )
            }
        )
        rest, self._parts = document_bytes(marked), []
        for slot in _SLOTS:
            before, mark, rest = rest.partition(b'"' + base64.b64encode(slot.encode()) + b'"')
            assert mark
            self._parts.append(before)
        self._parts.append(rest)
        self._pcrs = {pcr: pcr_bytes(evidence.pcrs)[pcr] for pcr in QUOTE_SET}
        self._clock_ms = self.device.clock.clock_ms

    def request(self, *, clock_ms: int) -> bytes:
        """The renewal for the last nonce, some milliseconds after the device was enrolled."""
        device, ak = self.device, self.device.ak
        bound = device.bound(nonce=self.nonce, license_id=self.license_id, purpose=Purpose.RENEW)
        clock = replace(device.clock, clock_ms=self._clock_ms + clock_ms)
        quote = ak.quote(self._pcrs, extra=bound, clock=clock)
        tick = ak.nv_certify(device.ticks, index=TICK_INDEX, extra=bound, clock=clock)
        lease = ak.nv_certify(device.lease_number, index=LEASE_INDEX, extra=bound, clock=clock)
        values = [self.nonce, *(value for one in (quote, tick, lease) for value in (one.attest, one.signature))]
        # The document names its fields in another order than the slots stand here only if the format changes.
        woven = [self._parts[0]]
        for value, part in zip(values, self._parts[1:], strict=True):
            woven += [b'"', base64.b64encode(value), b'"', part]
        return b"".join(woven)

    def take(self, reply: bytes) -> None:
        """Take the next nonce out of a grant, and count up."""
        token = reply[reply.index(b'"leases":["') + 11 :].split(b'"', 1)[0].split(b".")[1]
        lease = json.loads(base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4)))
        self.nonce = base64.b64decode(lease["next_nonce"])
        self.device.increment()


def enroll_devices(world: LicenseWorld, number: int) -> list[RenewingDevice]:
    """So many devices under one licence."""
    license_, codes = world.issue(seats=number)
    enrolled = []
    for index, code in enumerate(codes):
        device = world.device(index)
        token = world.enroll(device, code).leases[0].split(".")[1]
        lease = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        enrolled.append(RenewingDevice(device, license_.license_id, base64.b64decode(lease["next_nonce"])))
    return enrolled


@dataclass
class _Connection:
    """One device's connection."""

    device: RenewingDevice
    tls: ssl.SSLSocket
    sent_at: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    def send(self, *, clock_ms: int) -> None:
        body = self.device.request(clock_ms=clock_ms)
        head = (
            f"POST /v1/renewals HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.sent_at = time.perf_counter()
        self.tls.sendall(head.encode("ascii") + body)

    def receive(self) -> bytes | None:
        """The reply's body, None if it is not complete."""
        while True:
            part = self.tls.recv(_READ)
            if not part:
                raise ConnectionError("the service closed a connection")
            self.received += part
            if not self.tls.pending():
                break
        head, separator, body = bytes(self.received).partition(b"\r\n\r\n")
        if not separator:
            return None
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) < length:
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            raise AssertionError(f"the service answered {head[:80]!r} {body[:500]!r}")
        self.received.clear()
        return body


@dataclass(frozen=True, slots=True)
class Load:
    """What so many renewals took: each one's milliseconds, all of them's seconds, and our own processor seconds."""

    latencies_ms: Sequence[float]
    elapsed_s: float
    client_cpu_s: float

    @property
    def per_second(self) -> float:
        """Renewals a second."""
        return len(self.latencies_ms) / self.elapsed_s

    def percentile(self, part: float) -> float:
        """The latency, in milliseconds, that this part of the renewals did not exceed."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class RenewalClients:
    """A connection for each device."""

    def __init__(self, server: LicenseServer, devices: Sequence[RenewingDevice]) -> None:
        context = server.tls
        self._connections = []
        for device in devices:
            plain = socket.create_connection((HOST, server.port), TIMEOUT_S)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(_Connection(device, context.wrap_socket(plain, server_hostname=HOST)))
        self._begun_at = time.monotonic()

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.tls.close()

    def renew(self, number: int, *, at_once: int, every: Callable[[int], None] | None = None) -> Load:
        """Renew so many times, each of the first ``at_once`` devices as soon as it has its reply.

        Args:
            every: called with the number of renewals after each.
        """
        used, latencies = self._connections[:at_once], list[float]()
        begun, cpu, sent = time.perf_counter(), time.process_time(), 0
        with selectors.DefaultSelector() as selector:
            for connection in used:
                selector.register(connection.tls, selectors.EVENT_READ, connection)
                connection.send(clock_ms=self._clock_ms())
                sent += 1
            while len(latencies) < number:
                ready = selector.select(TIMEOUT_S)
                if not ready:
                    raise TimeoutError("the service does not answer")
                for key, _ in ready:
                    connection = key.data
                    body = connection.receive()
                    if body is None:
                        continue
                    latencies.append(1000 * (time.perf_counter() - connection.sent_at))
                    connection.device.take(body)
                    if sent < number:
                        connection.send(clock_ms=self._clock_ms())
                        sent += 1
                    if every is not None:
                        every(len(latencies))
        return Load(latencies, time.perf_counter() - begun, time.process_time() - cpu)

    def _clock_ms(self) -> int:
        return int(1000 * (time.monotonic() - self._begun_at))
