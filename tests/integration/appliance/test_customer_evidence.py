"""What a customer proves of a box with `sealwright-box verify`, and what does not pass."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_appliance import customer_evidence
from sealwright_appliance.attempt_limiter import Rate
from sealwright_appliance.boot import BoxState
from sealwright_appliance.tls import make_tls_identity
from sealwright_client.cli_verify import document, lines
from sealwright_client.license_service import ask_service
from sealwright_client.seen_logs import LogComparison, Seen
from sealwright_policies.appraisal.box_evidence import (
    NONCE_SIZE,
    BoxEvidence,
    TrustAnchors,
    VerifiedBox,
    tls_payload,
    verify_box,
)
from sealwright_policies.domains.ownership import key_id
from sealwright_policies.errors import FormatError, VerificationError
from sealwright_policies.transparency.checkpoint import CHECKPOINT_LIMIT, Checkpoint, parse_checkpoint, sign_checkpoint
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.owners import IMAGE, records, release_fields, signed
from sealwright_testing.ports import free_port
from sealwright_testing.running_box import RunningBox, running_box
from sealwright_testing.simulated_box import SimulatedVendor, license_command

YEAR = 365 * 86_400


@pytest.fixture(scope="module")
def activated(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    """A box that serves under a lease; not to be changed. All tests ask it from one address."""
    with pytest.MonkeyPatch.context() as patched, running_box(vendor, tmp_path_factory.mktemp("box")) as box:
        reply = box.post("/activation", claim_code=box.claim_code, activation_code=vendor.issue().activation_code)
        assert reply.status_code == 200, reply.text
        patched.setattr(customer_evidence, "EACH", Rate(at_once=20, every_s=20.0))
        patched.setattr(customer_evidence, "ALL", Rate(at_once=200, every_s=1.0))
        box.start_agent(BoxState.UNLOCKED, "The payloads are open.")
        yield box


def vendor_files(box: RunningBox) -> tuple[str, ...]:
    """What the customer has from the vendor, as arguments."""
    vendor = box.simulated.vendor
    return ("--service", str(vendor.service_file), "--manifest-key", str(vendor.image / "manifest-key.pem"))


def device_id(box: RunningBox) -> str:
    """As the console shows it."""
    identity = box.simulated.store.load_identity()
    assert identity is not None
    return identity.device_id


def verify(box: RunningBox, *more: str | Path, url: str = "") -> subprocess.CompletedProcess[str]:
    """Run `sealwright-box verify`; the TPM of a test is a software TPM."""
    return box.command("verify", url or box.url, *vendor_files(box), "--tier", "software", *more)


@contextmanager
def unlimited(box: RunningBox, number: int) -> Iterator[httpx.Client]:
    """From an address of loopback that has asked nothing yet."""
    with box.http(f"127.0.1.{number}") as client:
        yield client


def test_a_customer_verifies_a_box_and_pins_it(activated: RunningBox, tmp_path: Path) -> None:
    """Without its fingerprint: the TPM vouches for the connection."""
    pin = tmp_path / "box.pin"
    manifest = activated.simulated.vendor.image / "manifest.json"
    known = ("--device", device_id(activated), "--at-least", "1.2")
    done = verify(activated, *known, "--manifest", manifest, "--pin", pin, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    release = activated.simulated.vendor.release
    assert (said["result"], said["release_id"], said["tier"]) == ("verified", release.release_id, "software")
    assert said["fingerprint"] == activated.fingerprint == pin.read_text().strip()
    assert [one["domain"] for one in said["payloads"]] == [one.domain for one in release.manifest.payloads]
    assert said["device_id"] == device_id(activated)
    assert activated.command("status", activated.url, "--fingerprint", f"@{pin}").returncode == 0


def test_a_box_that_nobody_vouches_for_has_nothing_to_show(running: RunningBox) -> None:
    refused = verify(running, "--fingerprint", running.fingerprint)
    assert refused.returncode == 10
    assert "NO_EVIDENCE" in refused.stderr


def test_another_release_than_the_wanted_one_is_refused(activated: RunningBox, tmp_path: Path) -> None:
    """The manifest of another build by the same vendor."""
    vendor = activated.simulated.vendor
    other = replace(
        vendor.synthetic, manifest_changes=dict(vendor.synthetic.manifest_changes) | {"product_version": "9.9.9"}
    )
    (tmp_path / "manifest.json").write_bytes(other.release_envelope)
    refused = verify(activated, "--device", device_id(activated), "--manifest", tmp_path / "manifest.json")
    assert refused.returncode == 10
    assert "MANIFEST_MISMATCH" in refused.stderr
    assert other.release.release_id in refused.stderr


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (("--device", "a" * 52), "DEVICE_UNKNOWN"),
        (("--license", "another-licence"), "DEVICE_UNKNOWN"),
        (("--at-least", "1.2.1"), "VERSION_BELOW_FLOOR"),
    ],
)
def test_a_genuine_box_that_is_not_the_wanted_one_is_refused(
    activated: RunningBox, wanted: tuple[str, str], code: str, tmp_path: Path
) -> None:
    """Whoever is in between may own one, or have yours with an old release."""
    pin = tmp_path / "box.pin"
    known = () if wanted[0] == "--device" else ("--device", device_id(activated))
    refused = verify(activated, *known, *wanted, "--pin", pin)
    assert refused.returncode == 10
    assert code in refused.stderr
    assert not pin.exists()


def test_which_box_it_has_to_be_must_be_said(activated: RunningBox) -> None:
    refused = verify(activated)
    assert refused.returncode == 2
    assert "--device" in refused.stderr


def test_a_software_tpm_is_believed_only_where_it_is_asked_for(activated: RunningBox) -> None:
    known = ("--device", device_id(activated), *vendor_files(activated))
    refused = activated.command("verify", activated.url, *known)
    assert refused.returncode == 10
    assert "TIER_NOT_ALLOWED" in refused.stderr


def test_a_pin_of_another_certificate_is_kept(activated: RunningBox, tmp_path: Path) -> None:
    pin = tmp_path / "box.pin"
    pin.write_text("sha256:" + "ab" * 32 + "\n")
    refused = verify(activated, "--device", device_id(activated), "--pin", pin)
    assert refused.returncode == 2
    assert pin.read_text() == "sha256:" + "ab" * 32 + "\n"


def test_somebody_in_between_is_found_without_a_fingerprint(activated: RunningBox, tmp_path: Path) -> None:
    """He passes everything on to the true box, and has another certificate."""
    pin = tmp_path / "box.pin"
    with man_in_the_middle(activated, tmp_path) as url:
        refused = verify(activated, "--device", device_id(activated), "--pin", pin, url=url)
    assert refused.returncode == 10
    assert "somebody is in between" in refused.stderr
    assert not pin.exists()


def test_the_gateway_cannot_have_another_certificate_vouched_for(activated: RunningBox) -> None:
    """Whoever has broken into it asks the agent for what he likes; the agent goes by what unlock wrote down."""
    transport = httpx.HTTPTransport(uds=str(activated.simulated.paths.agent_socket))
    asked = {"nonce": base64.b64encode(bytes(NONCE_SIZE)).decode(), "peer": "192.0.2.7"}
    with httpx.Client(transport=transport, base_url="http://agent", timeout=60) as client:
        for more in ({"payload": "AAAA"}, {"fingerprint": "sha256:" + "0" * 64}, {"purpose": "renew"}):
            assert client.post("/evidence", json=asked | more).status_code == 400
        reply = client.post("/evidence", json=asked)
    shown = parse_json(BoxEvidence, reply.content, limit=2**24)
    assert shown.evidence.payload == tls_payload(bytes.fromhex(activated.fingerprint.removeprefix("sha256:")))


def test_who_asks_too_often_waits_and_others_do_not(activated: RunningBox) -> None:
    """The TPM is needed for renewals too."""
    asked = {"nonce": base64.b64encode(bytes(NONCE_SIZE)).decode()}
    with unlimited(activated, 1) as greedy, unlimited(activated, 2) as other:
        most = customer_evidence.EACH.at_once
        codes = [greedy.post("/evidence", json=asked).status_code for _ in range(most + 1)]
        assert codes == [200] * most + [429]
        assert other.post("/evidence", json=asked).status_code == 200


@pytest.mark.parametrize("nonce", ["", "AAAA", base64.b64encode(bytes(33)).decode(), "!" * 44, None, 7])
def test_what_is_no_nonce_is_refused(activated: RunningBox, nonce: object) -> None:
    with unlimited(activated, 3) as client:
        reply = client.post("/evidence", json={"nonce": nonce})
    assert reply.status_code == 400
    assert reply.json()


@dataclass(frozen=True)
class Shown:
    """One answer of the box, and what it was asked with."""

    evidence: BoxEvidence
    anchors: TrustAnchors
    nonce: bytes
    fingerprint: bytes

    def verify(self, *, now: int | None = None, **changes: Any) -> VerifiedBox:
        """Verify, with something in another's place."""
        made = replace(self, **changes)
        at = int(time.time()) if now is None else now
        return verify_box(made.evidence, made.anchors, nonce=made.nonce, fingerprint=made.fingerprint, now=at)

    def changed(self, **fields: object) -> BoxEvidence:
        """The answer with other fields."""
        return self.evidence.model_copy(update=fields)


def ask(box: RunningBox, nonce: bytes, number: int) -> BoxEvidence:
    with unlimited(box, number) as client:
        reply = client.post("/evidence", json={"nonce": base64.b64encode(nonce).decode()})
    assert reply.status_code == 200, reply.text
    return parse_json(BoxEvidence, reply.content, limit=2**24)


@pytest.fixture(scope="module")
def shown(activated: RunningBox) -> Shown:
    nonce, vendor = os.urandom(NONCE_SIZE), activated.simulated.vendor
    key = load_p256_public_key((vendor.image / "manifest-key.pem").read_text())
    fingerprint = bytes.fromhex(activated.fingerprint.removeprefix("sha256:"))
    return Shown(ask(activated, nonce, 4), TrustAnchors(vendor.service, key), nonce, fingerprint)


def code_of(shown: Shown, **changes: Any) -> str:
    with pytest.raises(VerificationError) as refused:
        shown.verify(**changes)
    return refused.value.code


def test_what_was_shown_is_verified_without_the_box(shown: Shown) -> None:
    verified = shown.verify()
    assert verified.device.tier == "software"
    assert verified.checkpoint.size >= 1


def test_a_customer_is_told_whose_word_each_domain_is(shown: Shown) -> None:
    verified = shown.verify()
    fields = release_fields(signed(records(), {"tune": IMAGE}))
    manifest = verified.release.manifest.model_copy(update=fields)
    owned = replace(verified, release=replace(verified.release, manifest=manifest))
    log = LogComparison(Seen.SAME, verified.checkpoint, Path("seen"))
    owner = (key_id(records()) or b"").hex()
    assert [line for line in lines(owned, "sha256:00", log, {}, []) if line.startswith("owner ")] == [
        "owner     domain medical: somebody, by the vendor's word only",
        f"owner     domain records: somebody, signed by key {owner}; workloads signed: tune {IMAGE[:16]}",
        "owner     domain training: somebody, by the vendor's word only",
    ]
    told = {one["name"]: one["ownership"] for one in document(owned, "sha256:00", log, {}, [])["domains"]}
    assert (told["records"]["key_id"], told["records"]["workloads"]) == (owner, {"tune": IMAGE})
    assert told["training"]["key_id"] is None


def test_it_is_good_for_one_nonce_and_one_certificate(shown: Shown) -> None:
    assert code_of(shown, nonce=bytes(NONCE_SIZE)) == "QUALIFYING_DATA_MISMATCH"
    assert code_of(shown, fingerprint=bytes(32)) == "QUALIFYING_DATA_MISMATCH"


def test_a_payload_that_was_exchanged_is_not_the_quoted_one(shown: Shown) -> None:
    other = shown.evidence.evidence.model_copy(update={"payload": tls_payload(bytes(32))})
    changes = {"evidence": shown.changed(evidence=other), "fingerprint": bytes(32)}
    assert code_of(shown, **changes) == "QUALIFYING_DATA_MISMATCH"


def test_the_certificate_ends_with_the_lease(shown: Shown) -> None:
    assert code_of(shown, now=int(time.time()) + 50 * YEAR) == "LEASE_EXPIRED"


def test_only_this_vendor_vouches(shown: Shown, tmp_path: Path) -> None:
    """Manifest key, device authority, log key and name of the service, each by itself."""
    folder = tmp_path / "license"
    license_command("init", folder, "--url", "https://127.0.0.1:1", "--name", "service-1")
    other = json.loads((folder / "license-service.json").read_text())
    anchors, service = shown.anchors, shown.anchors.service

    def with_other(name: str) -> TrustAnchors:
        return replace(anchors, service=service.model_copy(update={name: other[name]}))

    stranger = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert code_of(shown, anchors=replace(anchors, manifest_key=stranger)) == "DOCUMENT_SIGNATURE"
    assert code_of(shown, anchors=with_other("device_ca")) == "DOCUMENT_SIGNATURE"
    assert code_of(shown, anchors=with_other("log_key")) == "LOG_PROOF_INVALID"
    renamed = replace(anchors, service=service.model_copy(update={"service_id": "other"}))
    assert code_of(shown, anchors=renamed) == "MANIFEST_MISMATCH"


def test_a_release_that_the_log_does_not_have_is_refused(shown: Shown) -> None:
    """Also one that it has under another name."""
    for change in ({"index": shown.evidence.log.index + 1}, {"product_version": "9.9.9"}, {"product": "other"}):
        log = shown.evidence.log.model_copy(update=change)
        assert code_of(shown, evidence=shown.changed(log=log)) == "LOG_PROOF_INVALID"


def test_a_key_that_the_certificate_is_not_for_does_not_vouch(
    shown: Shown, vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The certificate of one box, the TPM of another, on which the owner runs what he likes."""
    with running_box(vendor, tmp_path_factory.mktemp("other")) as other:
        code = vendor.issue().activation_code
        assert other.post("/activation", claim_code=other.claim_code, activation_code=code).status_code == 200
        other.start_agent(BoxState.UNLOCKED)
        theirs = ask(other, shown.nonce, 5)
        fingerprint = bytes.fromhex(other.fingerprint.removeprefix("sha256:"))
    mixed = theirs.model_copy(update={"device_certificate": shown.evidence.device_certificate})
    assert code_of(shown, evidence=mixed, fingerprint=fingerprint) == "DOCUMENT_SIGNATURE"


def test_a_box_that_was_changed_after_its_activation_is_found(
    vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Certificate and lease are still good; the quote shows what happened since."""
    with running_box(vendor, tmp_path_factory.mktemp("changed")) as box:
        code = vendor.issue().activation_code
        assert box.post("/activation", claim_code=box.claim_code, activation_code=code).status_code == 200
        box.start_agent(BoxState.UNLOCKED)
        box.simulated.measure(12, "systemd.debug-shell=1")
        refused = verify(box, "--device", device_id(box))
    assert refused.returncode == 10
    assert "PCR" in refused.stderr


def test_a_damaged_answer_is_an_error_of_ours(shown: Shown) -> None:
    for name in ("ak_public", "manifest", "variants"):
        with pytest.raises((FormatError, VerificationError)):
            shown.verify(evidence=shown.changed(**{name: b"{}"}))


@contextmanager
def man_in_the_middle(box: RunningBox, directory: Path) -> Iterator[str]:
    """A server with a certificate of its own that passes everything on to the box; its URL."""
    own = make_tls_identity("middle")
    certificate, key = directory / "middle.pem", directory / "middle-key.pem"
    certificate.write_bytes(own.certificate)
    key.write_bytes(own.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port, loop = free_port(), asyncio.new_event_loop()
    relay = loop.run_until_complete(asyncio.start_server(partial(passed_on, box.port), "127.0.0.1", port, ssl=context))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(relay.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def passed_on(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, to the true box and back."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    there, back = await asyncio.open_connection("127.0.0.1", port, ssl=anybody)
    await asyncio.gather(pump(reader, back), pump(there, writer))


async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    target.close()


def test_the_log_is_held_against_what_was_seen_of_it(activated: RunningBox, tmp_path: Path) -> None:
    """The first time says so; the service proves that a larger log is of one history; a split one is refused."""
    service = service_of(activated)
    kept = activated.seen / "sealwright/logs" / service.service_id
    kept.unlink(missing_ok=True)
    first = verify(activated, "--device", device_id(activated))
    assert "for the first time" in first.stdout
    note = kept.read_text()
    seen = parse_checkpoint(note)
    assert log_of(verify(activated, "--device", device_id(activated), "--json"))["seen"] == "same"

    activated.simulated.vendor.issue()  # an entry more
    deadline = time.monotonic() + 30
    while (newest := parse_checkpoint(larger := _newest_note(service))).size == seen.size:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    kept.write_text(larger)
    assert log_of(verify(activated, "--device", device_id(activated), "--json"))["seen"] == "one-history"
    assert kept.read_text() == larger

    pin = tmp_path / "box.pin"
    for size in (seen.size, newest.size):
        split = sign_checkpoint(Checkpoint(seen.origin, size, bytes(32)), Ed25519PrivateKey.generate())
        kept.write_text(split)
        refused = verify(activated, "--device", device_id(activated), "--pin", pin)
        assert (refused.returncode, pin.exists(), kept.read_text()) == (10, False, split), refused.stderr
        assert "LOG_PROOF_INVALID" in refused.stderr
        assert kept.with_name(f"{kept.name}.other").read_text() == note
    kept.write_text("something else")
    assert "is no checkpoint" in verify(activated, "--device", device_id(activated)).stderr
    kept.unlink()


def test_a_service_out_of_reach_is_said_and_nothing_is_kept(activated: RunningBox, tmp_path: Path) -> None:
    service = service_of(activated)
    kept = activated.seen / "sealwright/logs" / service.service_id
    other = sign_checkpoint(Checkpoint(f"sealwright/v1/log/{kept.name}", 1, bytes(32)), Ed25519PrivateKey.generate())
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(other)
    away = tmp_path / "license-service.json"
    document = json.loads(activated.simulated.vendor.service_file.read_text())
    away.write_text(json.dumps(document | {"url": f"https://127.0.0.1:{free_port()}"}))
    key = ("--manifest-key", str(activated.simulated.vendor.image / "manifest-key.pem"))
    words = ("--service", str(away), *key, "--tier", "software", "--device", device_id(activated))
    done = activated.command("verify", activated.url, *words)
    assert done.returncode == 0, done.stderr
    assert "NOT held against" in done.stdout
    assert "audit consistency 1 " in done.stdout
    pin = tmp_path / "new.pin"
    for more in (("--require-log",), ("--pin", str(pin))):
        failed = activated.command("verify", activated.url, *words, *more)
        assert failed.returncode == 1, failed.stdout
        assert "audit consistency 1 " in failed.stderr
    assert not pin.exists()
    assert kept.read_text() == other
    kept.unlink()


def service_of(box: RunningBox) -> LicenseService:
    return parse_json(LicenseService, box.simulated.vendor.service_file.read_bytes(), limit=64 * 1024)


def log_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["log"]
    return found


def _newest_note(service: LicenseService) -> str:
    found = ask_service(service, "/v1/log/checkpoint", CHECKPOINT_LIMIT)
    assert found is not None
    return found.decode()
