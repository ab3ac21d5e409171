"""Writes the vectors of ``tests/vectors/flows/``: domains that chain or not, terms, frames, records.

Run ``python -m sealwright_testing.flow_vectors tests/vectors/flows`` after a change of the format. Nothing is drawn:
the same code writes the same vectors.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sealwright_policies.domains.canonical import canonical_form
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.flows.content import FrameCipher
from sealwright_policies.flows.documents import FlowSide, FlowStatement, FlowTerms
from sealwright_policies.flows.payloads import receipt_payload
from sealwright_policies.flows.record import FlowRecord, FlowRole, SealedRecord, chain_start, seal_record
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.messages import Attestation
from sealwright_testing.domain_texts import parse, replaced
from sealwright_testing.flow_texts import ANY_TPM, RECORDS, TRAINING
from sealwright_testing.vectors import Vector

FLOW_ID, CONTENT_KEY = "0f" * 16, bytes(range(32))
SENDER, RECEIVER = "a" * 52, "b" * 52
FILE = b"patient 17, ward 3\n"


def terms(**changes: Any) -> FlowTerms:
    """What is sent."""
    sides = {
        name: {"device_id": device, "license_id": "license-1", "release_id": "7e" * 32, "domain": domain,
               "domain_digest": "d0" * 32}
        for name, device, domain in (("sender", SENDER, "records"), ("receiver", RECEIVER, "training"))
    }  # fmt: skip
    fields = {
        "version": 1, "flow_id": FLOW_ID, "form": "raw", "kind": "data-set", "name": "cohort-7.csv",
        "digest": hashlib.sha256(FILE).hexdigest(), "size": len(FILE), "at": 1_800_000_000,
    }  # fmt: skip
    return FlowTerms.model_validate(fields | sides | changes, strict=False)


def record_of(
    before: SealedRecord | None = None,
    *,
    given: FlowTerms | None = None,
    role: FlowRole = FlowRole.SENT,
    **changes: Any,
) -> SealedRecord:
    """A record behind another one."""
    said = given or terms()
    own: FlowSide = said.sender if role is FlowRole.SENT else said.receiver
    content = document_bytes(said)
    fields: dict[str, Any] = {
        "version": 1,
        "device_id": own.device_id,
        "license_id": own.license_id,
        "sequence": 1 if before is None else before.record.sequence + 1,
        "previous": chain_start(own.device_id, own.license_id) if before is None else before.digest,
        "role": role,
        "terms": content,
        "statement": FlowStatement(
            nonce=bytes(32),
            payload=receipt_payload(content),
            quote=Attestation(attest=b"attest", signature=b"signature"),
            pcrs={"4": "04" * 32},
        ),
    }
    return seal_record(FlowRecord(**(fields | changes)))


def chains() -> Iterator[Vector]:
    """Two domains and a form."""
    records, training = RECORDS, TRAINING
    cases = (
        ("chained", "both say yes", records, training, "raw", None),
        ("not-let-go", "the form is not let go", replaced(records, '["raw"]', '["metrics"]'), training, "raw",
         Code.DOMAIN_NOT_CHAINED),
        ("not-taken", "the form is not taken", records, replaced(training, '["raw"]', '["metrics"]'), "raw",
         Code.DOMAIN_NOT_CHAINED),
        ("other-form", "another form than both name", records, training, "adapter", Code.DOMAIN_NOT_CHAINED),
        ("to-a-lower-level", "data would flow down", records, replaced(training, '"confidential"', '"internal"'), "raw",
         Code.DOMAIN_EXCEEDS_LEVEL),
        ("wider-than-the-source", "results would be kept longer", records, training + "[retention]\nresults_days = 1\n",
         "raw", Code.DOMAIN_EXCEEDS_CHAIN),
    )  # fmt: skip
    for name, description, source, target, form, code in cases:
        given = {"source": _form(source), "target": _form(target), "form": form}
        yield Vector(name, description, "domain-flow.md 4", "chained", given, code)
    given = {"source": _form(records) + " ", "target": _form(training), "form": "raw"}
    yield Vector("form-not-canonical", "another spelling", "domain-flow.md 2", "chained", given, outcome="malformed")


def openings() -> Iterator[Vector]:
    """A domain and a box."""
    demanding = replaced(TRAINING, "features = []", 'features = ["training"]')
    for name, description, text, version, tier, code in (
        ("opens", "version and tier will do", TRAINING, "1.2", "firmware", None),
        ("below-the-floor", "an older release", TRAINING, "0.9", "firmware", Code.VERSION_BELOW_FLOOR),
        ("above-the-ceiling", "a release too new", TRAINING, "2.0", "firmware", Code.RELEASE_NOT_ALLOWED),
        ("other-tier", "a software TPM", replaced(TRAINING, ANY_TPM[1], '["discrete"]'), "1.2", "software",
         Code.TIER_NOT_ALLOWED),
        ("feature", "a feature of the licence", demanding, "1.2", "discrete", Code.NOT_ENTITLED),
        ("feature-held", "the same, of a box that has it", demanding, "1.2", "discrete", None),
    ):  # fmt: skip
        features = ["serving", "training"] if name == "feature-held" else ["serving"]
        given = {"domain": _form(text), "version": version, "tier": tier, "features": features}
        yield Vector(name, description, "domain-flow.md 4", "opening", given, code)


def frames() -> Iterator[Vector]:
    """One frame of a file."""
    said = terms()
    sealed = FrameCipher.of(said, CONTENT_KEY).seal(0, FILE)
    wrong_bit = bytes([sealed[0] ^ 1]) + sealed[1:]
    for name, description, given_terms, number, frame, code in (
        ("frame", "as it was sent", said, 0, sealed, None),
        ("frame-changed", "one bit", said, 0, wrong_bit, Code.FLOW_CONTENT),
        ("frame-cut", "a byte is missing", said, 0, sealed[:-1], Code.FLOW_CONTENT),
        ("frame-of-another-number", "there is none", said, 1, sealed, Code.FLOW_CONTENT),
        ("frame-of-another-flow", "the same file in another flow", terms(flow_id="1f" * 16), 0, sealed,
         Code.FLOW_CONTENT),
        ("frame-of-another-file", "another file", terms(digest="00" * 32), 0, sealed, Code.FLOW_CONTENT),
    ):  # fmt: skip
        given = {
            "terms": _base64(document_bytes(given_terms)), "content_key": CONTENT_KEY.hex(), "number": number,
            "frame": frame.hex(), "plain": FILE.hex(),
        }  # fmt: skip
        yield Vector(name, description, "domain-flow.md 7", "frame", given, code)
    spaced = document_bytes(said).replace(b":", b": ", 1)
    given = {
        "terms": _base64(spaced), "content_key": CONTENT_KEY.hex(), "number": 0, "frame": sealed.hex(), "plain": "",
    }  # fmt: skip
    yield Vector(
        "terms-spelled", "another spelling of the terms", "domain-flow.md 8", "frame", given, outcome="malformed"
    )


def records() -> Iterator[Vector]:
    """A part of a chain."""
    one = record_of()
    two, three = record_of(one), record_of(record_of(one))
    received = record_of(given=terms(), role=FlowRole.RECEIVED)
    others = record_of(one, device_id=RECEIVER)
    broken, mismatch = Code.FLOW_CHAIN, Code.FLOW_MISMATCH
    cases: tuple[tuple[str, str, Sequence[SealedRecord], Code | None], ...] = (
        ("records", "three that follow each other", [one, two, three], None),
        ("records-later", "a later part", [two, three], None),
        ("record-received", "of the other side", [received], None),
        ("record-missing", "one is left out", [one, three], broken),
        ("record-replaced", "another one of that number", [record_of(given=terms(name="b.csv")), two, three], broken),
        ("record-number-skipped", "it follows, and leaves a number out", [one, record_of(one, sequence=3)], broken),
        ("record-begins-anew", "number 1 that follows something", [record_of(previous="00" * 32)], broken),
        ("record-of-another-box", "the box is on neither side", [others], mismatch),
        ("record-of-the-other-role", "it says sent and was the receiver",
         [record_of(role=FlowRole.SENT, device_id=RECEIVER)], mismatch),
    )  # fmt: skip
    for name, description, given, code in cases:
        listed = {"records": [_base64(each.content) for each in given], "digests": [each.digest for each in given]}
        yield Vector(name, description, "domain-flow.md 8", "records", listed, code)


def _form(text: str) -> str:
    return canonical_form(parse(text).domain).decode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def write(directory: Path) -> None:
    """Write every vector, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    for vector in (*chains(), *openings(), *frames(), *records()):
        vector.write(directory)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
