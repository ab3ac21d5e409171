"""What a TPM, firmware and systemd say: structures, logs, and what stands in the events of a log."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path

from sealwright_licensing.maker_roots import parse_pem_certificates
from sealwright_policies.appraisal.boot_logs import replay_quote_set
from sealwright_policies.cli_quote_files import parse_pcr_values
from sealwright_policies.tcg import events
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.attest import parse_attest
from sealwright_policies.tcg.eventlog import parse_event_log
from sealwright_policies.tcg.nv import parse_nv_public
from sealwright_policies.tcg.public import parse_public, parse_public_2b
from sealwright_policies.tcg.signature import parse_signature
from sealwright_policies.tcg.userspacelog import parse_userspace_log
from sealwright_testing.evidence_factory import signature_list
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.maker_ca import pem
from sealwright_testing.parsers.parser import Parser


def of_tpm(vectors: Path, world: LicenseWorld) -> Iterable[Parser]:
    """Structures of evidence, and logs of synthetic and real firmware."""
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
