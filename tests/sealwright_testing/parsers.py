"""Every parser of the project that reads bytes or text from outside, with inputs that it takes, for fuzzing.

A new parser belongs here; tests/unit/testing/test_fuzz.py finds one that does not. LEFT_OUT names those that read what
the build host itself has made.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import BaseModel

from sealwright_appliance.binding import Slot, parse_slot, slot_bytes
from sealwright_appliance.esp import parse_boot_sector, parse_directory
from sealwright_appliance.serve.chat import parse_chat_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_client.pinning import parse_box_url, parse_fingerprint
from sealwright_custody.locator import parse_locator
from sealwright_image.config import parse_config
from sealwright_licensing.certificates import parse_certificate, parse_padded_certificate
from sealwright_licensing.der import read_element
from sealwright_licensing.maker_roots import parse_pem_certificates
from sealwright_licensing.operators.api import bodies
from sealwright_licensing.operators.api.pages import parse_cursor
from sealwright_licensing.operators.api.session import Login
from sealwright_licensing.records import LogQueueItem
from sealwright_policies.appraisal.boot_logs import replay_quote_set
from sealwright_policies.appraisal.pe import uki_sections
from sealwright_policies.appraisal.release import verify_release
from sealwright_policies.cli_quote_files import parse_pcr_values
from sealwright_policies.errors import SealwrightError
from sealwright_policies.metering.receipt import parse_receipt
from sealwright_policies.tcg import events
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.attest import parse_attest
from sealwright_policies.tcg.eventlog import parse_event_log
from sealwright_policies.tcg.nv import parse_nv_public
from sealwright_policies.tcg.pcr import parse_selection
from sealwright_policies.tcg.public import parse_public, parse_public_2b
from sealwright_policies.tcg.signature import parse_signature
from sealwright_policies.tcg.userspacelog import parse_userspace_log
from sealwright_policies.transparency.entries import parse_entry
from sealwright_policies.wire.air_gap import (
    compact_request,
    parse_compact_request,
    parse_qr_text,
    parse_request,
    qr_text,
    request_file,
)
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.framing import framed, parse_framed
from sealwright_policies.wire.lease import Lease, read_unverified_lease, verify_lease
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    EnrollmentProof,
    EnrollmentRequest,
    Grant,
    NonceRequest,
    RenewalRequest,
)
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.evidence_factory import signature_list
from sealwright_testing.fat32 import fat32_volume
from sealwright_testing.image_inputs import product_text
from sealwright_testing.license_world import LicenseWorld, grant
from sealwright_testing.maker_ca import pem
from sealwright_testing.metering import ChainWriter
from sealwright_testing.synthetic_uki import build_uki

LEFT_OUT = ("parse_modules_dep", "parse_needed", "parse_list", "parse_sources")


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
    proof = device.proof(world.enrollment.challenge(request, now=world.now))
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
        (Login, b'{"token":"swl_"}'),
    )
    for kind, seed in documents:
        yield Parser(kind.__name__, partial(_parse_document, kind), (seed,))
    yield Parser("lease, unverified", _of_text(read_unverified_lease), (reply.leases[0].encode(),))
    key = world.box.manifest_key.public_key()
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
