"""The support bundle: what a box tells of itself for the vendor to look at (policies/spec/support-bundle.md).

The classes are the allow-list. No field could hold a sentence, a name that a customer chose or an address, so nothing
has to be filtered; :func:`code_of` and its like leave out what has not the form of a field.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from sealwright_policies.appraisal.reference_values import ProductVersion
from sealwright_policies.metering.receipt import Count, Seconds
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.encoding import KIB, Document, Identifier, PcrValues, Sha256Hex, parse_json
from sealwright_policies.wire.messages import DeviceId

SUPPORT_TYPE: Final = "sealwright/v1/support-bundle"
SUPPORT_LIMIT = 512 * KIB
"""Bytes; the longest of all parts together stay below it."""
FINDINGS_MOST = 64
LINES_MOST = 200
PAYLOADS_MOST = 64

_CODE, _WORD = r"(?:ok|[A-Z][A-Z0-9_]{0,63})", r"[a-z][a-z0-9-]{0,31}"
_NAME, _PLACE = r"[A-Za-z_][A-Za-z0-9_.]{0,63}", r"[A-Za-z_][A-Za-z0-9_]{0,63}\.py:[0-9]{1,6}"
_VERSION, _DIGEST = r"[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}", r"[0-9a-f]{64}"

Code = Annotated[str, StringConstraints(pattern=f"^{_CODE}$")]
Word = Annotated[str, StringConstraints(pattern=f"^{_WORD}$")]
CodeName = Annotated[str, StringConstraints(pattern=f"^{_NAME}$")]
Place = Annotated[str, StringConstraints(pattern=f"^{_PLACE}$")]
SoftwareVersion = Annotated[str, StringConstraints(pattern=f"^{_VERSION}$")]
Hex4 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")]
Hex8 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
Number = Annotated[int, Field(ge=0, lt=2**64)]
Pcr = Annotated[int, Field(ge=0, le=23)]


def code_of(text: str | None) -> str | None:
    """The code at the beginning of ``CODE: sentence``, or alone; None if there is none."""
    return _in_form(_CODE, (text or "").partition(":")[0])


def word_of(text: str | None) -> str | None:
    """A word of the box's code; None for anything else."""
    return _in_form(_WORD, text)


def name_of(text: str | None) -> str | None:
    """A name from code; None for anything else."""
    return _in_form(_NAME, text)


def place_of(file: str, line: int) -> str | None:
    """Where something stands in code; None for what is no file of Python's."""
    return _in_form(_PLACE, f"{file}:{line}")


def version_of(text: str | None) -> str | None:
    """A version; None for anything else."""
    return _in_form(_VERSION, text)


def digest_of(text: str | None) -> str | None:
    """A SHA-256 value; None for anything else."""
    return _in_form(_DIGEST, text)


def _in_form(form: str, text: str | None) -> str | None:
    return text if text is not None and re.fullmatch(form, text) else None


class Software(Document):
    """Versions of what others have made."""

    kernel: SoftwareVersion | None
    python: SoftwareVersion | None
    openssl: SoftwareVersion | None


class SupportRelease(Document):
    """What runs."""

    product: Identifier
    version: ProductVersion
    release_id: Sha256Hex


class BootPart(Document):
    """What has come of this boot."""

    state: Word
    code: Code | None
    since: Seconds
    running_s: Number


class Finding(Document):
    """One mismatch of the appraisal, without its sentence, which may quote what is in a log."""

    code: Code
    log: Literal["boot", "userspace"] | None
    event: Number | None
    pcr: Pcr | None
    expected: Sha256Hex | None
    found: Sha256Hex | None


class AppraisalPart(Document):
    """The boot's own logs against its release."""

    findings: Annotated[list[Finding], Field(max_length=FINDINGS_MOST)]


class TpmPart(Document):
    """Which TPM it is, and where it stands."""

    tier: TpmTier | None
    """Of the device certificate; None where there is none that is valid now."""
    manufacturer: Hex4
    firmware: Hex8
    clock_ms: Number
    reset_count: Number
    restart_count: Number
    is_safe: bool
    pcrs: PcrValues


class LeasePart(Document):
    """The lease under which the box is open."""

    lease_id: Identifier
    number: Number
    issued_at: Seconds
    expires_at: Seconds
    clock_end_ms: Number
    max_ticks: Number
    renew_after_s: Number
    max_request_s: Number
    warnings: Annotated[list[Code], Field(max_length=16)]


class BudgetPart(Document):
    """How long the box may still be used, seconds."""

    warning: Code | None
    level_days: Number | None
    license_left_s: Number
    budget_left_s: Number
    lease_left_s: Number


class PayloadPart(Document):
    """One payload of the release."""

    id: Identifier
    kind: Word
    domain: Identifier
    state: Word
    code: Code | None


class WorkloadPart(Document):
    """An open workload."""

    id: Identifier
    domain: Identifier
    run: Word


class DomainPart(Document):
    """A domain of the release, and what lies in it."""

    name: Identifier
    level: Word
    digest: Sha256Hex
    files: Number
    bytes: Number


class KeysPart(Document):
    """How many API keys there are."""

    administrators: Number
    others: Number


class AlarmPart(Document):
    """A key whose requests look like the copying of a model."""

    model: Identifier
    sign: Code | None
    level: Number


class UsagePart(Document):
    """What a model has served since the last receipt, to all keys together."""

    model: Identifier
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    busy_ms: Count


class MeteringPart(Document):
    """Receipts that wait, and what the next one will say in sum."""

    waiting: Number
    usage: Annotated[list[UsagePart], Field(max_length=PAYLOADS_MOST)]


class MachinePart(Document):
    """Room, bytes."""

    processors: Number
    memory_bytes: Number
    memory_free_bytes: Number
    state_bytes: Number | None
    """Of the state volume; None while it is closed."""
    state_free_bytes: Number | None


class LinePart(Document):
    """A log line, without what was said in it."""

    at: Seconds
    level: Word
    source: CodeName | None
    place: Place | None
    error: CodeName | None
    event: Word | None = None
    model: Identifier | None = None
    code: Code | None = None
    count: Number | None = None


class ModelLoad(Document):
    """What a model's engine and queue do."""

    model: Identifier
    ready: bool
    running: Number
    places: Number
    waiting: Number


Lines = Annotated[list[LinePart], Field(max_length=LINES_MOST)]


class BoxPart(Document):
    """What the agent says."""

    missing: Annotated[list[Word], Field(max_length=16)]
    software: Software
    device_id: DeviceId | None
    license_id: Identifier | None
    release: SupportRelease | None
    boot: BootPart
    appraisal: AppraisalPart | None
    tpm: TpmPart | None
    lease: LeasePart | None
    budget: BudgetPart | None
    renewal: Code | None
    metering_report: Code | None
    payloads: Annotated[list[PayloadPart], Field(max_length=PAYLOADS_MOST)]
    workloads: Annotated[list[WorkloadPart], Field(max_length=PAYLOADS_MOST)]
    domains: Annotated[list[DomainPart], Field(max_length=PAYLOADS_MOST)] | None
    keys: KeysPart | None
    alarms: Annotated[list[AlarmPart], Field(max_length=PAYLOADS_MOST)] | None
    metering: MeteringPart | None
    machine: MachinePart | None
    lines: Lines


class GatewayPart(Document):
    """What the gateway says."""

    load: Annotated[list[ModelLoad], Field(max_length=PAYLOADS_MOST)]
    lines: Lines


class SupportBundle(Document):
    """All of it."""

    type: Literal["sealwright/v1/support-bundle"]
    made_at: Seconds
    box: BoxPart
    gateway: GatewayPart


def support_bytes(bundle: SupportBundle) -> bytes:
    """The file, as people read it; ASCII."""
    return json.dumps(bundle.model_dump(mode="json"), indent=2).encode("ascii") + b"\n"


def parse_support_bundle(content: bytes) -> SupportBundle:
    """Read one.

    Raises:
        FormatError: it is of another form, or longer than a bundle can be.
    """
    return parse_json(SupportBundle, content, limit=SUPPORT_LIMIT)
