"""Writes the vectors of ``tests/vectors/air-gap/``: texts of QR codes, request and reply files, digests, and what the
service says to them.

Run ``python -m sealwright_testing.air_gap_vectors tests/vectors/air-gap`` after a change of a format. New keys are
drawn; what each vector must come to is written here by hand, and the encodings are made here from the specification's
words with the standard library alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_licensing.records import AppraisedLogs
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.wire.air_gap import REPLY_TYPE, ChallengeReply
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.envelope import sign_jws
from sealwright_policies.wire.lease import LEASE_TYPE
from sealwright_policies.wire.messages import EnrollmentChallenge, RenewalRequest
from sealwright_testing.air_gap_cases import pem
from sealwright_testing.decision_records import members_of, records_json
from sealwright_testing.decision_scene import LICENSE, NONCE_KEY, Scene
from sealwright_testing.evidence_factory import NOW, SyntheticBox, userspace_events

Vector = tuple[str, str, dict[str, Any], dict[str, Any]]
"""Section of air-gap.md, operation, input, expected."""
ACCEPTED: dict[str, Any] = {"outcome": "accepted"}
MALFORMED: dict[str, Any] = {"outcome": "malformed"}


def rejected(code: Code) -> dict[str, Any]:
    """The expectation of a denial."""
    return {"outcome": "rejected", "code": code.value}


def frame(label: str, *fields: bytes) -> bytes:
    """framing.md, 1."""
    return b"".join(len(one).to_bytes(4, "big") + one for one in (label.encode(), *fields))


def digest(box: SyntheticBox) -> bytes:
    """air-gap.md, 2."""
    firmware = b"".join(
        struct.pack(">II", event.pcr, event.type) + (event.digests or {}).get(0x0B, hashlib.sha256(event.data).digest())
        for event in box.boot_events()
        if event.type != 3
    )
    words = b"".join(
        struct.pack(">II", pcr, 5) + b"phase" + hashlib.sha256(word.encode()).digest()
        for pcr, word in userspace_events()
    )
    return hashlib.sha256(frame("sealwright/v1/boot-logs", firmware, words)).digest()


def compact_fields(request: RenewalRequest) -> list[bytes]:
    """air-gap.md, 3, without the check."""
    evidence = request.evidence
    quote, tick, lease = evidence.quote, evidence.tick_counter, evidence.lease_counter
    return [
        base64.b32decode(request.device_id.upper() + "===="),
        request.license_id.encode(),
        bytes.fromhex(request.release_id),
        request.nonce,
        evidence.payload,
        *(quote.attest, quote.signature),
        *(tick.attest, tick.signature, tick.nv_public),
        *(lease.attest, lease.signature, lease.nv_public),
    ]


def armoured(fields: list[bytes], *, label: str = "sealwright/v1/renewal-request", check: bytes | None = None) -> str:
    """The text of a QR code."""
    right = hashlib.sha256(frame(label, *fields)).digest()[:4]
    return base32(frame(label, *fields, right if check is None else check))


def base32(data: bytes) -> str:
    """The armour alone."""
    return "SWR1:" + base64.b32encode(data).decode().rstrip("=")


def code_vectors(request: RenewalRequest) -> dict[str, Vector]:
    """Texts of QR codes."""
    fields = compact_fields(request)
    good = armoured(fields)
    data = base64.b32decode(good[5:] + "=" * (-len(good[5:]) % 8))
    long = [*fields[:6], bytes(2000), *fields[7:]]

    def vector(text: str, expected: dict[str, Any]) -> Vector:
        return "3", "parse_qr_text", {"text": text}, expected

    whole = request.model_dump(mode="json")
    kept = {name: whole["evidence"][name] for name in ("quote", "tick_counter", "lease_counter")}
    named = {name: whole[name] for name in ("device_id", "license_id", "release_id", "nonce")}
    result = named | kept | {"logs_digest": whole["evidence"]["payload"]}
    return {
        "code-good": vector(good, ACCEPTED | {"result": result}),
        "code-folded": vector("\r\n".join([good[:70], good[70:141], "\t " + good[141:], ""]), ACCEPTED),
        "code-lower-case": vector(good.lower(), MALFORMED),
        "code-padded": vector(good + "=", MALFORMED),
        "code-dashed": vector(good[:40] + "-" + good[40:], MALFORMED),
        "code-without-prefix": vector(good[5:], MALFORMED),
        "code-of-other-version": vector("SWR2" + good[4:], MALFORMED),
        "code-cut-off": vector(good[:-16], MALFORMED),
        "code-with-more-behind": vector(base32(data + b"\0"), MALFORMED),
        "code-with-other-check": vector(armoured(fields, check=b"\0" * 4), MALFORMED),
        "code-with-long-check": vector(armoured(fields, check=b"\0" * 5), MALFORMED),
        "code-of-other-label": vector(armoured(fields, label="sealwright/v1/renewal-reply"), MALFORMED),
        "code-with-a-field-less": vector(armoured(fields[:-1]), MALFORMED),
        "code-with-a-field-more": vector(armoured([*fields, b""]), MALFORMED),
        "code-with-short-device": vector(armoured([fields[0][:31], *fields[1:]]), MALFORMED),
        "code-with-long-nonce": vector(armoured([*fields[:3], bytes(33), *fields[4:]]), MALFORMED),
        "code-with-short-digest": vector(armoured([*fields[:4], bytes(31), *fields[5:]]), MALFORMED),
        "code-with-other-license-spelling": vector(armoured([fields[0], b"License-1", *fields[2:]]), MALFORMED),
        "code-too-long": vector(armoured(long), MALFORMED),
        "code-pad-bits": vector(_with_pad_bits(good), MALFORMED),
    }


def _with_pad_bits(text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


def file_vectors(scene: Scene, request: RenewalRequest) -> dict[str, Vector]:
    """Request files."""
    members = {"version": 1, "kind": "sealwright-renewal-request", "request": request.model_dump(mode="json")}
    enrollment = members | {
        "kind": "sealwright-enrollment-request",
        "request": scene.messages["challenge"].model_dump(mode="json"),
    }
    proof = members | {
        "kind": "sealwright-enrollment-proof",
        "request": scene.messages["prove"].model_dump(mode="json"),
    }

    def vector(document: dict[str, Any], expected: dict[str, Any]) -> Vector:
        return "1", "parse_request", {"content": json.dumps(document)}, expected

    return {
        "file-renewal": vector(members, ACCEPTED),
        "file-enrollment": vector(enrollment, ACCEPTED),
        "file-proof": vector(proof, ACCEPTED),
        "file-of-other-version": vector(members | {"version": 2}, MALFORMED),
        "file-of-other-kind": vector(members | {"kind": "sealwright-enrollment-proof"}, MALFORMED),
        "file-unknown-field": vector(members | {"extra": 1}, MALFORMED),
        "file-bare-message": vector(members["request"], MALFORMED),  # type: ignore[arg-type]
    }


def reply_vectors() -> dict[str, Vector]:
    """Reply files."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    challenge = EnrollmentChallenge(
        enrollment_id="enrollment-1",
        device_id="a" * 52,
        license_id="license-1",
        credential_blob=b"c",
        encrypted_secret=b"s",
        nonce=bytes(32),
        expires_at=NOW,
    )
    reply = ChallengeReply(version=1, kind="challenge", device_id="a" * 52, answers="00" * 32, challenge=challenge)

    def vector(token: str, expected: dict[str, Any]) -> Vector:
        return "5", "verify_reply", {"token": token, "key": pem(key)}, expected

    good = sign_jws(reply, REPLY_TYPE, key)
    return {
        "reply-good": vector(good, ACCEPTED),
        "reply-with-end-of-line": vector(good + "\r\n", ACCEPTED),
        "reply-by-other-key": vector(sign_jws(reply, REPLY_TYPE, other), rejected(Code.DOCUMENT_SIGNATURE)),
        "reply-of-other-type": vector(sign_jws(reply, LEASE_TYPE, key), rejected(Code.DOCUMENT_TYPE)),
        "reply-of-other-kind": vector(
            sign_jws(reply.model_copy(update={"kind": "renewal"}), REPLY_TYPE, key), MALFORMED
        ),
        "reply-folded": vector(good[:30] + "\n" + good[30:], MALFORMED),
        "reply-plain": vector(document_bytes(reply).decode(), MALFORMED),
    }


def answer_vectors(scene: Scene, request: RenewalRequest) -> tuple[dict[str, Vector], dict[str, object]]:
    """What the service says to a QR code, by the logs that it has kept."""

    evidence = request.evidence
    kept = AppraisedLogs(
        request.device_id,
        evidence.payload,
        zlib.compress(evidence.boot_log),
        zlib.compress(evidence.userspace_log),
    )
    common = {"release": scene.release, "logs": kept}
    text = armoured(compact_fields(request))

    def vector(section: str, expected: dict[str, Any], *records: object) -> Vector:
        values = {
            "now": NOW,
            "nonce_key": NONCE_KEY.hex(),
            "text": text,
            "records": records_json([scene.release, LICENSE, *records], common),
        }
        return section, "answer", values, expected

    other = replace(kept, digest=bytes(32))
    return {
        "answer-granted": vector("4", ACCEPTED, scene.enrolled(), kept),
        "answer-logs-not-kept": vector("4", rejected(Code.LOGS_REQUIRED), scene.enrolled()),
        "answer-logs-of-other-boot": vector("4", rejected(Code.LOGS_REQUIRED), scene.enrolled(), other),
        "answer-logs-of-other-device": vector(
            "4", rejected(Code.LOGS_REQUIRED), scene.enrolled(), replace(kept, device_id=scene.other.device_id)
        ),
        "answer-device-unknown": vector("4", rejected(Code.DEVICE_UNKNOWN), kept),
    }, common


def write(directory: Path) -> None:
    """Write every vector below a directory, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    scene = Scene()
    seen = scene.messages["renew"]
    assert isinstance(seen, RenewalRequest)
    request = scene.device.renewal_by_file(LICENSE.license_id, seen.nonce)
    answers, common = answer_vectors(scene, request)
    vectors = code_vectors(request) | file_vectors(scene, request) | reply_vectors() | answers
    evidence = request.evidence
    vectors["digest-of-logs"] = (
        "2",
        "digest_of_logs",
        {
            "boot_log": base64.b64encode(evidence.boot_log).decode(),
            "userspace_log": base64.b64encode(evidence.userspace_log).decode(),
        },
        ACCEPTED | {"result": digest(scene.device.box).hex()},
    )
    (directory / "common").mkdir(parents=True)
    _dump(directory / "common/records.json", {name: members_of(record) for name, record in common.items()})
    for name, (section, operation, values, expected) in vectors.items():
        (directory / name).mkdir()
        described = {
            "description": name.replace("-", " "),
            "spec": f"air-gap.md {section}",
            "operation": operation,
        }
        for file, members in (("manifest", described), ("input", values), ("expected", expected)):
            _dump(directory / name / f"{file}.json", members)


def _dump(path: Path, members: object) -> None:
    path.write_text(json.dumps(members, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
