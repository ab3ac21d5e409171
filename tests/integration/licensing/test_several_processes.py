"""Several service processes on one PostgreSQL, 64 clients at once: no double seat or answer, no lost revocation."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from sealwright_licensing.operations.licenses import add_activation_code, revoke_license
from sealwright_licensing.records import (
    ActivationCodeRecord,
    Device,
    DeviceCertificateRecord,
    LeaseRecord,
    License,
    LogCheckpoint,
    LogEntryRecord,
    LogNode,
    LogQueueItem,
    MakerCertificate,
    NextNonce,
    ReleaseRecord,
    ReleaseShares,
    RenewalReply,
    SpentNonce,
)
from sealwright_licensing.tables import TABLES
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import Grant, NonceRequest
from sealwright_testing.license_server import BoxClient, DeniedError, running_service, set_limits
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.postgres import PostgresServer
from sealwright_testing.software_device import SoftwareDevice

PROCESSES = 3
CLIENTS = 64
TPMS = 8
"""Each is enrolled, and renewed, by eight clients at once."""
SEATS = 5
STAYING = {MakerCertificate, ReleaseRecord, ReleaseShares, LogQueueItem, LogEntryRecord, LogNode, LogCheckpoint}
Outcome = Grant | str
"""What a client got: a grant, or the code of a denial."""


@dataclass(frozen=True)
class Fleet:
    """Service processes on one database, and clients, each with a connection to one of them."""

    world: LicenseWorld
    clients: Sequence[BoxClient]

    def at_once(self, calls: Sequence[Callable[[BoxClient], Grant]]) -> list[Outcome]:
        """Each call from a client of its own, all let go together."""
        barrier = threading.Barrier(len(calls))

        def run(client: BoxClient, call: Callable[[BoxClient], Grant]) -> Outcome:
            barrier.wait()
            try:
                return call(client)
            except DeniedError as denial:
                return denial.problem.code

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(run, self.clients, calls))

    def records(self, kind: type[Any], **equal: Any) -> list[Any]:
        """What the database holds."""
        with self.world.store.read() as transaction:
            return transaction.find(kind, **equal)


@pytest.fixture(scope="module")
def running(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three processes and 64 connected clients."""
    name = postgres_server.create_database()
    folder = tmp_path_factory.mktemp("fleet") / "service"
    world = LicenseWorld.create(folder, now=int(time.time()), database=postgres_server.url(name))
    set_limits(world.folder, requests_per_minute=100_000, failed_codes_per_hour=10_000, connections_per_address=128)
    with ExitStack() as stack:
        starting = [running_service(world.folder, number=number) for number in range(PROCESSES)]
        with ThreadPoolExecutor(PROCESSES) as pool:
            servers = list(pool.map(stack.enter_context, starting))
        tls = servers[0].tls
        clients = [stack.enter_context(servers[number % PROCESSES].client(tls)) for number in range(CLIENTS)]
        for client in clients:
            client.get("/readyz").raise_for_status()
        yield Fleet(world, [BoxClient(client) for client in clients])
    world.store.close()
    postgres_server.drop_database(name)


@pytest.fixture
def fleet(running: Fleet) -> Fleet:
    """The same without any box or licence; the log, in which the release is, stays."""
    with running.world.store.write() as transaction:
        for kind in set(TABLES) - STAYING:
            transaction.delete(kind)
    return running


def enrolled(fleet: Fleet, number: int) -> tuple[License, list[SoftwareDevice]]:
    """Boxes that have a seat."""
    license_, codes = fleet.world.issue(seats=number)
    devices = [fleet.world.device(one) for one in range(number)]
    for device, code, client in zip(devices, codes, fleet.clients, strict=False):
        client.prove(device.proof(client.challenge(device.request(code))))
    return license_, devices


def test_racing_boxes_take_each_seat_once(fleet: Fleet) -> None:
    """64 proofs of eight TPMs, each with a code of its own, for five seats."""
    license_, codes = fleet.world.issue(seats=SEATS)
    codes += [
        add_activation_code(fleet.world.store, OPERATOR, license_.license_id, now=fleet.world.now) for _ in range(59)
    ]
    devices = [fleet.world.device(number % TPMS) for number in range(CLIENTS)]
    proofs = [
        device.proof(client.challenge(device.request(code)))
        for device, code, client in zip(devices, codes, fleet.clients, strict=True)
    ]
    outcomes = fleet.at_once([lambda client, proof=proof: client.prove(proof) for proof in proofs])  # type: ignore[misc]
    granted = [one for one in outcomes if isinstance(one, Grant)]
    assert Counter(one for one in outcomes if isinstance(one, str)) == {"TOO_MANY_DEVICES": CLIENTS - SEATS}
    assert len({one.device_id for one in granted}) == len(granted) == SEATS
    assert {one.device_id for one in fleet.records(Device)} == {one.device_id for one in granted}
    assert sum(one.spent_at is not None for one in fleet.records(ActivationCodeRecord)) == SEATS
    assert len(fleet.records(DeviceCertificateRecord)) == SEATS


def test_a_code_is_spent_once(fleet: Fleet) -> None:
    """Seven boxes have opened an enrolment with the one code; each proof is sent by nine clients at once."""
    _, (code,) = fleet.world.issue()
    devices = [fleet.world.device(number) for number in range(7)]
    proofs = [device.proof(fleet.clients[0].challenge(device.request(code))) for device in devices]
    calls = [lambda client, proof=proofs[number % 7]: client.prove(proof) for number in range(63)]
    outcomes = fleet.at_once(calls)
    granted = [one for one in outcomes if isinstance(one, Grant)]
    assert len({one.model_dump_json() for one in granted}) == 1
    assert len(granted) == 9, "the proof that won gets the same answer each time"
    assert len(fleet.records(Device)) == 1


def test_a_request_sent_many_times_at_once_is_decided_once(fleet: Fleet) -> None:
    """Each of eight boxes sends one renewal by eight connections: one grant, the same bytes."""
    license_, devices = enrolled(fleet, TPMS)
    leases, certificates = len(fleet.records(LeaseRecord)), len(fleet.records(DeviceCertificateRecord))
    requests = []
    for device in devices:
        device.pass_time(60)
        request = NonceRequest(device_id=device.device_id)
        requests.append(device.renewal(license_.license_id, fleet.clients[0].nonce(request.device_id)))
    calls = [lambda client, request=requests[number % TPMS]: client.renew(request) for number in range(CLIENTS)]
    outcomes = fleet.at_once(calls)
    # A client whose decision others of its device came before so often asks again, as a box does.
    for number, outcome in enumerate(outcomes):
        if outcome == "UNAVAILABLE":
            outcomes[number] = fleet.clients[number].renew(requests[number % TPMS])
    for number in range(TPMS):
        answers = {one.model_dump_json() for one in outcomes[number::TPMS] if isinstance(one, Grant)}
        assert len(answers) == 1
    assert all(isinstance(one, Grant) for one in outcomes)
    assert len(fleet.records(LeaseRecord)) == leases + TPMS
    assert len(fleet.records(DeviceCertificateRecord)) == certificates + TPMS
    assert len(fleet.records(RenewalReply)) == len(fleet.records(SpentNonce)) == TPMS
    assert len(fleet.records(NextNonce)) == 2 * TPMS
    assert {one.revision for one in fleet.records(Device)} == {1}


def test_many_renewals_of_one_device_make_a_chain(fleet: Fleet) -> None:
    """Different requests for one N are decided one after the other, whichever process makes the decision."""
    license_, (device,) = enrolled(fleet, 1)
    requests = []
    for _ in range(12):
        device.pass_time(1)
        requests.append(device.renewal(license_.license_id, fleet.clients[0].nonce(device.device_id)))
    outcomes = fleet.at_once([lambda client, request=one: client.renew(request) for one in requests])  # type: ignore[misc]
    granted = [one for one in outcomes if isinstance(one, Grant)]
    assert granted
    leases = {verify_lease(token, fleet.world.service).lease_id for one in granted for token in one.leases}
    assert leases < {one.lease_id for one in fleet.records(LeaseRecord)}
    assert len(fleet.records(LeaseRecord)) == 1 + len(granted)


def test_no_lease_is_issued_after_a_revocation_has_committed(fleet: Fleet) -> None:
    """Boxes renew without pause at all processes; the licence is revoked in the middle."""
    license_, devices = enrolled(fleet, TPMS)
    codes: Counter[str] = Counter()
    stopped = threading.Event()

    def renew(client: BoxClient, device: SoftwareDevice, lock: threading.Lock) -> None:
        while not stopped.is_set():
            try:
                with lock:  # a box has one renewal on the way at a time, by whichever process
                    device.pass_time(1)
                    client.renew(device.renewal(license_.license_id, client.nonce(device.device_id)))
                codes["granted"] += 1
            except DeniedError as denial:
                codes[denial.problem.code] += 1
                if denial.problem.code == "REVOKED":
                    return

    locks = [threading.Lock() for _ in devices]
    threads = [
        threading.Thread(target=renew, args=(client, devices[number % TPMS], locks[number % TPMS]))
        for number, client in enumerate(fleet.clients)
    ]
    for thread in threads:
        thread.start()
    while codes["granted"] < CLIENTS:
        time.sleep(random.uniform(0.01, 0.05))
    revoke_license(fleet.world.store, OPERATOR, license_.license_id, now=fleet.world.now)
    issued = {one.lease_id for one in fleet.records(LeaseRecord)}
    for thread in threads:
        thread.join(60)
    stopped.set()
    assert codes["REVOKED"] == CLIENTS, "every client met the revocation"
    assert {one.lease_id for one in fleet.records(LeaseRecord)} == issued
