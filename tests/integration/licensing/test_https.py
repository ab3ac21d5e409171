"""The service as a process: TLS 1.3 only, limits on what clients send, problems with stable codes, a graceful stop."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_licensing.operations.licenses import add_activation_code, revoke_license
from sealwright_licensing.records import Device, ReleaseRecord
from sealwright_policies.appraisal.release import sign_release
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, verify_checkpoint
from sealwright_policies.transparency.entries import entry_bytes, release_entry
from sealwright_policies.transparency.merkle import leaf_hash, verify_consistency, verify_inclusion
from sealwright_policies.transparency.release_proof import ReleaseProof, verify_release_proof
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.envelope import load_ed25519_public_key
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import MESSAGE_LIMIT, Problem
from sealwright_testing.license_server import BoxClient, DeniedError, LicenseServer, running_service, set_limits
from sealwright_testing.license_world import OPERATOR, LicenseWorld
from sealwright_testing.limited_service import limited


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LicenseWorld]:
    made = LicenseWorld.create(tmp_path_factory.mktemp("service") / "service", now=int(time.time()))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def server(world: LicenseWorld) -> Iterator[LicenseServer]:
    set_limits(world.folder, requests_per_minute=100_000, failed_codes_per_hour=1000)
    with running_service(world.folder) as running:
        yield running


@pytest.fixture
def box(server: LicenseServer) -> Iterator[BoxClient]:
    with server.client() as http:
        yield BoxClient(http)


def problem(reply: httpx.Response, status: int, code: str) -> Problem:
    """Demand a problem document."""
    assert reply.headers["content-type"] == "application/problem+json"
    shown = parse_json(Problem, reply.content, limit=MESSAGE_LIMIT)
    assert (reply.status_code, shown.status, shown.code) == (status, status, code)
    return shown


# --- the way of a box -------------------------------------------------------------------------------------------------


def test_enrol_renew_and_be_revoked(world: LicenseWorld, box: BoxClient) -> None:
    license_, (code,) = world.issue()
    device = world.device(0)
    challenge = box.challenge(device.request(code))
    granted = box.prove(device.proof(challenge))
    lease = verify_lease(granted.leases[0], world.service)
    assert len(granted.shares) == 1
    device.pass_time(60)
    renewed = box.renew(device.renewal(license_.license_id, lease.next_nonce))
    assert verify_lease(renewed.leases[0], world.service).number == 2
    device.increment()
    revoke_license(world.store, OPERATOR, license_.license_id, now=world.now)
    with pytest.raises(DeniedError) as caught:
        box.renew(device.renewal(license_.license_id, box.nonce(device.device_id)))
    assert (caught.value.problem.status, caught.value.problem.code) == (403, "REVOKED")


def test_a_denial_lists_all_mismatches(world: LicenseWorld, box: BoxClient) -> None:
    _, (code,) = world.issue()
    device = world.device(1)
    proof = device.proof(box.challenge(device.request(code)), pcrs={12: b"\1" * 32, 14: b"\2" * 32})
    with pytest.raises(DeniedError) as caught:
        box.prove(proof)
    shown = caught.value.problem
    assert shown.status == 403
    assert {mismatch.get("pcr") for mismatch in shown.mismatches} >= {12, 14}


def test_an_unknown_device_is_404(box: BoxClient) -> None:
    with pytest.raises(DeniedError) as caught:
        box.nonce("a" * 52)
    assert (caught.value.problem.status, caught.value.problem.code) == (404, "DEVICE_UNKNOWN")


def test_eight_connections_race_for_one_seat(world: LicenseWorld, server: LicenseServer) -> None:
    """Eight codes, eight TPMs, one seat: exactly one box gets in."""
    license_, codes = world.issue()
    codes += [add_activation_code(world.store, OPERATOR, license_.license_id, now=world.now) for _ in range(7)]
    devices = [world.device(10 + number) for number in range(8)]
    barrier = threading.Barrier(8)
    outcomes: list[str] = []
    with server.client() as http:
        client = BoxClient(http)
        proofs = [
            device.proof(client.challenge(device.request(code))) for device, code in zip(devices, codes, strict=True)
        ]

    def run(index: int) -> None:
        with server.client() as own:
            barrier.wait()
            try:
                BoxClient(own).prove(proofs[index])
                outcomes.append("granted")
            except DeniedError as denial:
                outcomes.append(denial.problem.code)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["TOO_MANY_DEVICES"] * 7 + ["granted"]
    with world.store.read() as transaction:
        assert transaction.count(Device, license_id=license_.license_id) == 1


# --- what clients may send --------------------------------------------------------------------------------------------


def test_tls_1_2_is_refused(server: LicenseServer) -> None:
    context = server.tls
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", server.port)) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="127.0.0.1")
    with (
        socket.create_connection(("127.0.0.1", server.port)) as raw,
        server.tls.wrap_socket(raw, server_hostname="127.0.0.1") as spoken,
    ):
        assert spoken.version() == "TLSv1.3"


def test_plain_http_gets_nothing(server: LicenseServer) -> None:
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{server.port}/livez")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"device_id": 5}',
        b'{"device_id": "x"}',
        b'{"device_id": "%s", "x": 1}' % (b"a" * 52),
        b"[" * 9999,
    ],
)
def test_malformed_bodies_are_400(box: BoxClient, body: bytes) -> None:
    problem(box.http.post("/v1/nonces", content=body), 400, "MALFORMED")


def test_a_body_over_the_limit_is_413(box: BoxClient) -> None:
    problem(box.http.post("/v1/renewals", content=bytes(MESSAGE_LIMIT + 1)), 413, "TOO_LARGE")


def test_an_endless_body_is_cut_off(box: BoxClient) -> None:
    """Its end is not waited for, and it is not kept in memory."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 64 * MESSAGE_LIMIT:
            sent += 1 << 16
            yield bytes(1 << 16)

    with contextlib.suppress(httpx.TransportError):  # the service closes while we are still sending
        problem(box.http.post("/v1/renewals", content=endless()), 413, "TOO_LARGE")
    assert sent < 64 * MESSAGE_LIMIT


def test_other_paths_and_methods_are_problems(box: BoxClient) -> None:
    problem(box.http.get("/nothing"), 404, "NOT_FOUND")
    problem(box.http.get("/v1/renewals"), 405, "METHOD_NOT_ALLOWED")


def test_the_log_is_open_to_everybody(world: LicenseWorld, box: BoxClient) -> None:
    """The service appends by itself; checkpoint and proofs are what the log's key and the manifest say."""
    key, origin = load_ed25519_public_key(world.service.log_key), log_origin(world.service.service_id)

    def checkpoint() -> Checkpoint:
        return verify_checkpoint(box.http.get("/v1/log/checkpoint").text, key, origin)

    def hashes(path: str) -> list[bytes]:
        return [bytes.fromhex(one) for one in box.http.get(path).json()["path"]]

    before = checkpoint()
    world.issue()
    ends = time.monotonic() + 60
    while (after := checkpoint()).size == before.size:
        assert time.monotonic() < ends, "the sequencer does not run"
        time.sleep(0.1)
    path = hashes(f"/v1/log/proof/consistency?first={before.size}&second={after.size}")
    verify_consistency(before.size, after.size, before.root, after.root, path)

    release = world.box.release
    reply = box.http.get(f"/v1/log/proof/releases/{release.release_id}")
    proof = parse_json(ReleaseProof, reply.content, limit=65536)
    verify_release_proof(proof, release.release_id, world.service)
    leaf = leaf_hash(entry_bytes(release_entry(release.release_id, proof.product, proof.product_version)))
    path = hashes(f"/v1/log/proof/inclusion?index={proof.index}&size={after.size}")
    verify_inclusion(leaf, proof.index, after.size, path, after.root)


def test_proofs_of_what_the_log_does_not_have_are_problems(box: BoxClient) -> None:
    problem(box.http.get("/v1/log/proof/inclusion?index=5&size=5"), 400, "MALFORMED")
    problem(box.http.get(f"/v1/log/proof/inclusion?index=0&size={2**61}"), 400, "MALFORMED")
    problem(box.http.get("/v1/log/proof/consistency?first=2&second=1"), 400, "MALFORMED")
    problem(box.http.get(f"/v1/log/proof/releases/{'0' * 64}"), 403, "RELEASE_NOT_LOGGED")


def test_health_and_openapi(box: BoxClient) -> None:
    for path in ("/livez", "/readyz"):
        assert box.http.get(path).json() == {"status": "ok"}
    described = box.http.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/livez", "/readyz", "/v1/enrollments", "/v1/enrollments/proof", "/v1/flows", "/v1/metering", "/v1/nonces",
        "/v1/log/checkpoint", "/v1/log/proof/releases/{release_id}", "/v1/log/proof/inclusion",
        "/v1/log/proof/consistency", "/v1/renewals",
    }  # fmt: skip
    text = json.dumps(described)
    for reference in set(_references(described)):
        assert reference.removeprefix("#/components/schemas/") in described["components"]["schemas"], text[:200]


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


# --- the process -------------------------------------------------------------------------------------------


def test_a_release_that_was_put_into_the_database_serves_nobody(tmp_path: Path) -> None:
    """Signed, but by somebody whose key the operator never accepted; the log says so, the box learns nothing."""
    with limited(tmp_path) as (world, server), server.client() as http:
        _, (code,) = world.issue()
        forged = sign_release(world.box.release.manifest, ec.generate_private_key(ec.SECP256R1()))
        with world.store.write() as transaction:
            (record,) = transaction.find(ReleaseRecord)
            transaction.put(dataclasses.replace(record, envelope=forged))
        reply = http.post("/v1/enrollments", content=document_bytes(world.device(0).request(code)))
        problem(reply, 503, "UNAVAILABLE")
        assert "not signed by a manifest key that is trusted" in server.log.read_text()


def test_it_stops_when_told_and_logs_no_secrets(tmp_path: Path) -> None:
    """Exit code 0; the log is JSON lines, has the denial's code, and neither activation code nor credential secret."""
    world = LicenseWorld.create(tmp_path / "service", now=int(time.time()))
    _, (code,) = world.issue()
    device = world.device(0)
    with running_service(world.folder) as server:
        with server.client() as http:
            client = BoxClient(http)
            challenge = client.challenge(device.request(code))
            proof = device.proof(challenge)
            bad = proof.model_copy(update={"secret": bytes(32)})
            with pytest.raises(DeniedError):
                client.prove(bad)
            client.prove(proof)
        assert server.stop() == 0
        log = server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert "CREDENTIAL_SECRET_MISMATCH" in {line.get("code") for line in lines}
    assert {"request", "denied", "granted"} <= {line["event"] for line in lines}
    for secret in (code, json.loads(document_bytes(proof))["secret"], proof.secret.hex(), challenge.nonce.hex()):
        assert secret not in log
    world.store.close()
