"""Every parser of the project that reads bytes or text from outside, with inputs that it takes, for fuzzing.

A new parser belongs here; tests/unit/testing/test_fuzz.py finds one that does not. LEFT_OUT names those that read what
the build host itself has made, or single hashes.
"""

from __future__ import annotations

import asyncio
import json
import struct
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import Request
from pydantic import BaseModel

from sealwright_appliance.binding import Slot, parse_slot, slot_bytes
from sealwright_appliance.esp import parse_boot_sector, parse_directory
from sealwright_appliance.serve.chat import parse_chat_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_client.pinning import parse_box_url, parse_fingerprint
from sealwright_custody.locator import parse_locator
from sealwright_image.config import parse_config
from sealwright_licensing.audit_source import ENTRIES_FILE, ExportSource
from sealwright_licensing.certificates import parse_certificate, parse_padded_certificate
from sealwright_licensing.console.forms import read_form
from sealwright_licensing.der import read_element
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.maker_roots import parse_pem_certificates
from sealwright_licensing.operators.api import bodies
from sealwright_licensing.operators.api.pages import parse_cursor
from sealwright_licensing.operators.api.session import Login
from sealwright_licensing.records import LogQueueItem
from sealwright_licensing.stored_releases import verify_stored_release
from sealwright_policies.appraisal.boot_logs import replay_quote_set
from sealwright_policies.appraisal.boot_variants import read_unverified_variants, verify_variants
from sealwright_policies.appraisal.boot_ways import BOOT_OPTION
from sealwright_policies.appraisal.box_evidence import (
    BOX_EVIDENCE_LIMIT,
    NONCE_SIZE,
    BoxEvidence,
    TrustAnchors,
    tls_payload,
    verify_box,
)
from sealwright_policies.appraisal.pe import uki_sections
from sealwright_policies.appraisal.reference_values import PAYLOAD_TYPE
from sealwright_policies.appraisal.release import read_unverified_release, verify_release
from sealwright_policies.cli_quote_files import parse_pcr_values
from sealwright_policies.errors import SealwrightError
from sealwright_policies.metering.receipt import parse_receipt
from sealwright_policies.metering.report import (
    Acknowledgement,
    MeteringReport,
    sign_acknowledgement,
    verify_acknowledgement,
)
from sealwright_policies.tcg import events
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.attest import parse_attest
from sealwright_policies.tcg.eventlog import parse_event_log
from sealwright_policies.tcg.nv import parse_nv_public
from sealwright_policies.tcg.pcr import parse_selection
from sealwright_policies.tcg.public import parse_public, parse_public_2b
from sealwright_policies.tcg.signature import parse_signature
from sealwright_policies.tcg.userspacelog import parse_userspace_log
from sealwright_policies.transparency.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from sealwright_policies.transparency.entries import parse_entry
from sealwright_policies.wire.air_gap import (
    ChallengeReply,
    compact_request,
    parse_compact_request,
    parse_qr_text,
    parse_request,
    qr_text,
    request_file,
    sign_reply,
    verify_reply,
)
from sealwright_policies.wire.approval_request import ApprovalRequest, make_request, verify_request, wanted_approvals
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.envelope import read_unverified_jws, sign_jws, verify_dsse, verify_jws
from sealwright_policies.wire.framing import framed, parse_framed
from sealwright_policies.wire.lease import LEASE_TYPE, Lease, read_unverified_lease, verify_lease
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    Nonce,
    NonceRequest,
    Problem,
    Purpose,
    RenewalRequest,
)
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.evidence_factory import signature_list
from sealwright_testing.fat32 import fat32_volume
from sealwright_testing.image_inputs import product_text
from sealwright_testing.license_world import LicenseWorld, grant
from sealwright_testing.maker_ca import pem
from sealwright_testing.metering import ChainWriter, make_report
from sealwright_testing.software_device import SoftwareDevice
from sealwright_testing.synthetic_uki import build_uki

LEFT_OUT = ("parse_modules_dep", "parse_needed", "parse_list", "parse_sources", "verify_inclusion")


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser as a function of bytes, and inputs to begin with."""

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    raises: type[Exception] = SealwrightError
    """Of the gateway's own parser: OpenAI's kind of error."""


def all_parsers(vectors: Path, folder: Path) -> list[Parser]:
    """The list.

    Args:
        vectors: tests/vectors.
        folder: an empty one, for a service that makes inputs.
    """
    world = LicenseWorld.create(folder / "service")
    try:
        return [
            *_of_tpm(vectors, world),
            *_of_messages(world),
            *_of_signed(world),
            *_of_vectors(vectors),
            *_of_forms_and_exports(world, folder),
            *_of_certificates(world),
            *_of_texts(),
            *_of_disks(folder),
        ]
    finally:
        world.store.close()


def _of_tpm(vectors: Path, world: LicenseWorld) -> Iterable[Parser]:
    logs = tuple(path.read_bytes() for path in sorted(vectors.glob("eventlog/*/input.bin")))
    firmware = tuple(log for log in logs if b"Spec ID Event" in log[:128]) or logs
    _, (code,) = world.issue()
    device = world.device()
    request = device.request(code)
    evidence = device.proof(world.enrollment.challenge(request, now=world.now)).evidence
    yield Parser("event log", parse_event_log, (*firmware[:8], evidence.boot_log))
    yield Parser("replay", lambda data: replay_quote_set(data, evidence.userspace_log), (evidence.boot_log,))
    yield Parser("userspace log", parse_userspace_log, (evidence.userspace_log,))
    yield Parser("attest", parse_attest, (evidence.quote.attest, evidence.tick_counter.attest))
    yield Parser("signature", parse_signature, (evidence.quote.signature,))
    yield Parser("NV public", parse_nv_public, (evidence.tick_counter.nv_public,))
    yield Parser("public", parse_public, (request.ak_public, request.srk_public, request.ek_public))
    yield Parser("public 2B", parse_public_2b, tuple(_sized(one) for one in (request.ak_public, request.srk_public)))
    table = b"EFI PART" + bytes(48 + events.GUID_SIZE + 12) + struct.pack("<IIQ", 128, 0, 1) + bytes(128)
    written = (b"\x04blob" + bytes(16), table, signature_list(parse_pem_certificates(pem(world.maker.root))[0].encoded))
    logged = (event.data for event in parse_event_log(evidence.boot_log).events if event.data)
    data = (*written, *logged)
    for parse in (
        events.parse_uefi_variable, events.parse_image_load, events.parse_firmware_blob, events.parse_firmware_blob2,
        events.parse_tagged_event, events.parse_gpt_event, events.parse_signature_lists, events.parse_signature_data,
    ):  # fmt: skip
        yield Parser(parse.__name__, parse, data)
    values = json.dumps({"0": "5e" * 32, "7": "00" * 32}).encode()
    yield Parser("PCR values", lambda raw: parse_pcr_values(raw, AlgorithmId.SHA256), (values,))


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def _of_messages(world: LicenseWorld) -> Iterable[Parser]:
    license_, (code,) = world.issue()
    device = world.device(1)
    request = device.request(code)
    challenge = world.enrollment.challenge(request, now=world.now)
    proof = device.proof(challenge)
    reply = grant(world.enrollment.prove(proof, now=world.now))
    lease = verify_lease(reply.leases[0], world.service)
    documents: tuple[tuple[type[BaseModel], bytes], ...] = (
        (EnrollmentRequest, document_bytes(request)),
        (EnrollmentProof, document_bytes(proof)),
        (NonceRequest, document_bytes(NonceRequest(device_id=device.device_id))),
        (RenewalRequest, document_bytes(device.renewal(license_.license_id, lease.next_nonce))),
        (Grant, document_bytes(reply)),
        (Lease, document_bytes(lease)),
        (LicenseService, document_bytes(world.service)),
        (bodies.LicenseIssue, b'{"product":"p","tiers":["discrete"],"seats":5,"note":"x","features":["a"]}'),
        (bodies.LicenseChange, b'{"seats":5,"overage":"1.5"}'),
        (bodies.VersionFloor, b'{"version":"1.2","lower":true}'),
        (bodies.LicenseRenewal, b'{"days":30,"powered_on_hours":24}'),
        (bodies.Nothing, b"{}"),
        (bodies.Resumption, b'{"history":1}'),
        (bodies.TransferOrder, b'{"at_once":true}'),
        (bodies.FirmwareApproval, b'{"digest":"' + b"5e" * 32 + b'"}'),
        (bodies.Settlement, b'{"count":true}'),
        (Login, b'{"token":"swl_"}'),
        (EnrollmentChallenge, document_bytes(challenge)),
        (Nonce, document_bytes(Nonce(nonce=lease.next_nonce, expires_at=world.now))),
        (MeteringReport, document_bytes(_report(device, license_.license_id, lease.next_nonce))),
        (Problem, b'{"type":"about:blank","title":"t","status":403,"detail":"d","code":"REVOKED"}'),
    )
    for kind, seed in documents:
        yield Parser(kind.__name__, partial(_parse_document, kind), (seed,))
    yield Parser("lease, unverified", _of_text(read_unverified_lease), (reply.leases[0].encode(),))
    key = world.box.manifest_key.public_key()
    speaks_for = tls_payload(bytes(32))
    bound = device.bound(
        nonce=bytes(NONCE_SIZE), license_id=license_.license_id, purpose=Purpose.VERIFY, payload=speaks_for
    )
    shown = BoxEvidence(
        version=1,
        ak_public=request.ak_public,
        device_certificate=reply.device_certificate,
        manifest=world.box.release_envelope,
        variants=b"",
        log=lease.log,
        evidence=device.evidence(bound, payload=speaks_for),
    )
    judge = partial(_verify_box, TrustAnchors(world.service, key), world.now)
    yield Parser("box evidence", judge, (document_bytes(shown),))
    yield Parser("release", lambda raw: verify_release(raw, key), (world.box.release_envelope,))
    renewal = device.renewal(license_.license_id, lease.next_nonce, payload=bytes(32))
    yield Parser("air-gap request", parse_request, (request_file(renewal), request_file(request), request_file(proof)))
    yield Parser("compact request", parse_compact_request, (compact_request(renewal),))
    yield Parser("QR text", _of_text(parse_qr_text), (qr_text(renewal).encode(),))
    with world.store.read() as transaction:
        entries = tuple(one.leaf for one in transaction.find(LogQueueItem))
    yield Parser("log entry", parse_entry, entries)
    yield Parser(
        "framed", lambda raw: parse_framed("sealwright/v1/x", 2, raw), (framed("sealwright/v1/x", b"a", b"b"),)
    )
    yield Parser("metering receipt", parse_receipt, (ChainWriter().next().content,))
    yield Parser(
        "chat request", parse_chat_request, (b'{"model":"m","messages":[{"role":"user","content":"x"}]}',), ApiError
    )


def _verify_box(anchors: TrustAnchors, now: int, raw: bytes) -> object:
    shown = parse_json(BoxEvidence, raw, limit=BOX_EVIDENCE_LIMIT)
    return verify_box(shown, anchors, nonce=bytes(NONCE_SIZE), fingerprint=bytes(32), now=now)


def _report(device: SoftwareDevice, license_id: str, nonce: bytes) -> MeteringReport:
    chain = ChainWriter()
    return make_report(device, license_id, nonce, [chain.next(), chain.next()])


def _of_signed(world: LicenseWorld) -> Iterable[Parser]:
    """What is signed: its readers see strangers' bytes before any signature is believed."""
    _, (code,) = world.issue()
    device = world.device(2)
    challenge = world.enrollment.challenge(device.request(code), now=world.now)
    lease_token = grant(world.enrollment.prove(device.proof(challenge), now=world.now)).leases[0]
    lease = verify_lease(lease_token, world.service)
    service, key = world.service, Ed25519PrivateKey.generate()
    known = service.model_copy(update={"lease_document_key": _pem_text(key)})
    yield Parser("lease", _of_text(lambda text: verify_lease(text, service)), (lease_token.encode(),))
    jws = partial(verify_jws, kind=Lease, type_=LEASE_TYPE, key=key.public_key(), limit=MESSAGE_LIMIT)
    yield Parser("JWS", _of_text(jws), (sign_jws(lease, LEASE_TYPE, key).encode(),))
    unverified = partial(read_unverified_jws, kind=Lease, limit=MESSAGE_LIMIT)
    yield Parser("JWS, unverified", _of_text(unverified), (lease_token.encode(),))
    replied = sign_reply(
        ChallengeReply(version=1, device_id=device.device_id, kind="challenge", answers="33" * 32, challenge=challenge),
        key,
    )
    yield Parser("reply file", _of_text(lambda text: verify_reply(text, known)), (replied.encode(),))
    acknowledgement = Acknowledgement(
        version=1, device_id=device.device_id, chain_id="11" * 16, sequence=1, digest="22" * 32, findings=[]
    )
    signed = sign_acknowledgement(acknowledgement, key).encode()
    yield Parser("acknowledgement", _of_text(lambda text: verify_acknowledgement(text, known)), (signed,))
    box = world.box
    release, manifest_key = box.release, box.manifest_key.public_key()
    dsse = partial(verify_dsse, payload_type=PAYLOAD_TYPE, key=manifest_key, limit=MESSAGE_LIMIT)
    yield Parser("DSSE", dsse, (box.release_envelope,))
    yield Parser("release, unverified", read_unverified_release, (box.release_envelope,))
    variants = box.variants(box.way(*BOOT_OPTION, b"BOOT ATTEMPTS OMITTED"))
    yield Parser("variants", partial(verify_variants, manifest_key=manifest_key, release=release), (variants,))
    yield Parser("variants, unverified", partial(read_unverified_variants, release=release), (variants,))
    yield Parser("stored release", lambda raw: verify_stored_release(raw, "[]", manifest_key), (box.release_envelope,))
    wanted = document_bytes(make_request(release, box.release_envelope, variants, wanted_approvals(release)))
    asked = partial(parse_json, ApprovalRequest, limit=MESSAGE_LIMIT)
    yield Parser("approval request", lambda raw: verify_request(asked(raw), manifest_key), (wanted,))


def _pem_text(key: Ed25519PrivateKey) -> str:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return public.decode("ascii")


def _of_vectors(vectors: Path) -> Iterable[Parser]:
    values = json.loads((vectors / "documents/device-certificate-good/input.json").read_text())
    certificate = partial(verify_device_certificate, device_ca=values["device_ca"], now=values["now"])
    yield Parser("device certificate", _of_text(certificate), (values["certificate"].encode(),))
    key = Ed25519PrivateKey.generate()
    note = sign_checkpoint(Checkpoint("log.example/a", 3, bytes(32)), key)
    checkpoint = partial(verify_checkpoint, key=key.public_key(), origin="log.example/a")
    yield Parser("checkpoint", _of_text(checkpoint), (note.encode(),))


def _of_forms_and_exports(world: LicenseWorld, folder: Path) -> Iterable[Parser]:
    yield Parser("form", _read_form, (b"seats=5&tier=discrete&tier=software&names=a+b&day=2027-01-01&version=1.2",))
    export = folder / "export"
    export.mkdir()

    def entries(raw: bytes) -> object:
        (export / ENTRIES_FILE).write_bytes(raw)
        return list(ExportSource(export).entries())

    with world.store.read() as transaction:
        leaves = [one.leaf for one in transaction.find(LogQueueItem)]
    yield Parser("export", entries, (b"\n" + b"\n".join(leaves), *leaves))


def _read_form(raw: bytes) -> object:
    """A form that was sent, and every kind of field in it."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": raw}

    form = asyncio.run(read_form(Request({"type": "http", "method": "POST", "headers": []}, receive)))
    tiers = form.choices("tier", Tier)
    day = form.day_or_none("day")
    return form.number("seats", 1, 10), tiers, form.names("names"), day, form.version("version"), form.is_ticked("box")


def _parse_document(kind: type[BaseModel], data: bytes) -> object:
    return parse_json(kind, data, limit=MESSAGE_LIMIT)


def _of_certificates(world: LicenseWorld) -> Iterable[Parser]:
    root = pem(world.maker.root)
    der = parse_pem_certificates(root)[0].encoded
    yield Parser("certificate", parse_certificate, (der,))
    yield Parser("padded certificate", parse_padded_certificate, (der + bytes(64),))
    yield Parser("DER", read_element, (der,))
    yield Parser("PEM", parse_pem_certificates, (root,))
    yield Parser("UKI", uki_sections, (build_uki(),))


def _of_texts() -> Iterable[Parser]:
    yield Parser("cursor", _of_text(parse_cursor), (b"1800000000.lic-0123456789ab",))
    yield Parser("selection", _of_text(parse_selection), (b"sha256:0,1,7-9",))
    yield Parser("box URL", _of_text(parse_box_url), (b"https://box.example:8443",))
    yield Parser("fingerprint", _of_text(parse_fingerprint), (b"sha256:" + b"5e" * 32,))
    yield Parser("locator", _of_text(parse_locator), (b"file:custodian.pem", b"pkcs11:token=x;object=y"))
    config = product_text("medical").encode()
    yield Parser(
        "product.toml", lambda raw: parse_config(raw.decode("utf-8", "replace"), Path("product.toml")), (config,)
    )


def _of_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode("utf-8", "replace"))


def _of_disks(folder: Path) -> Iterable[Parser]:
    yield Parser("binding slot", lambda raw: parse_slot(raw, 1), (slot_bytes(Slot(1, b"content")),))
    yield Parser("FAT folder", lambda raw: list(parse_directory(raw)), (bytes(range(32)) * 8,))

    def boot_sector(raw: bytes) -> object:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(raw)
            file.flush()
            return parse_boot_sector(file.fileno())

    yield Parser("FAT boot sector", boot_sector, (fat32_volume(("EFI/x.json", b"{}"))[:512],))
