"""What two boxes tell each other when a file goes from one's domain to the other's (policies/spec/domain-flow.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from sealwright_policies.appraisal.box_evidence import NONCE_SIZE, BoxEvidence
from sealwright_policies.domains.fields import Name
from sealwright_policies.domains.model import Form
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.device_certificate import CERTIFICATE_LIMIT
from sealwright_policies.wire.encoding import Bytes4K, Bytes64K, Document, Identifier, PcrValues, Sha256Hex
from sealwright_policies.wire.messages import Attestation, DeviceId, ImportBlob

FLOW_MESSAGE_LIMIT = 12 * 1024 * 1024
"""Bytes of the longest message but a frame: a party, in base64."""
TERMS_LIMIT = 4096
SIZE_MOST = 2**36
"""Bytes of a file."""

FlowId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
FlowNonce = Annotated[Bytes4K, Field(min_length=NONCE_SIZE, max_length=NONCE_SIZE)]


class FileKind(StrEnum):
    """What a file of a domain is."""

    DATA_SET = "data-set"
    ADAPTER = "adapter"
    RESULTS = "results"

    @property
    def form(self) -> Form:
        """In which form it flows."""
        return _FORMS[self]


_FORMS = {FileKind.DATA_SET: Form.RAW, FileKind.ADAPTER: Form.ADAPTER, FileKind.RESULTS: Form.RESULTS}

MADE_ENDINGS = {FileKind.ADAPTER: ".gguf", FileKind.RESULTS: ".results"}
"""Of what workloads write, and of the files that it becomes."""
MADE_DIGITS = 16


def made_name(member: str, kind: FileKind, digest: str) -> str:
    """Name of a file that was made of what a workload wrote: nothing in it is of the workload's choosing.

    Args:
        member: id of an adapter, or of the workload.
        digest: SHA-256 of the file, hexadecimal.
    """
    return f"{member}-{digest[:MADE_DIGITS]}{MADE_ENDINGS[kind]}"


def is_made_name(name: str, kind: FileKind, digest: str) -> bool:
    """Whether a name is one of those, of whatever member."""
    return kind in MADE_ENDINGS and name.endswith(made_name("", kind, digest))


class FlowSide(Document):
    """One box, as the terms name it."""

    device_id: DeviceId
    license_id: Identifier
    release_id: Sha256Hex
    domain: Name
    domain_digest: Sha256Hex


class FlowTerms(Document):
    """What goes from where to where."""

    version: Annotated[int, Field(ge=1, le=1)]
    flow_id: FlowId
    form: Form
    kind: FileKind
    name: FileName
    digest: Sha256Hex
    size: Annotated[int, Field(ge=0, le=SIZE_MOST)]
    at: Seconds
    sender: FlowSide
    receiver: FlowSide

    @model_validator(mode="after")
    def _form_is_of_kind(self) -> FlowTerms:
        if self.form is not self.kind.form:
            raise ValueError(f"{self.kind.value} flows as {self.kind.form.value}")
        return self


class FlowHello(Document):
    """``POST /flows/hello``: who would send, from which domain to which."""

    nonce: FlowNonce
    device_id: DeviceId
    source: Name
    target: Name


class FlowParty(Document):
    """One side's word for itself."""

    box: BoxEvidence
    domains: Annotated[list[Bytes64K], Field(min_length=2, max_length=2)]
    """Canonical forms of U and D."""
    srk_public: Bytes4K
    """TPMT_PUBLIC."""
    srk_certify: Attestation


class FlowWelcome(Document):
    """The reply to a hello."""

    nonce: FlowNonce
    party: FlowParty


class FlowOffer(Document):
    """``POST /flows/offers``."""

    nonce: FlowNonce
    """The receiver's."""
    terms: Bytes4K
    wrapped: ImportBlob
    certificate: Annotated[str, StringConstraints(max_length=CERTIFICATE_LIMIT)]
    """PEM: that of the sender's TLS connection."""
    party: FlowParty


class FlowStatement(Document):
    """A quote that speaks for the terms, and what is needed to verify it later."""

    nonce: FlowNonce
    payload: Bytes4K
    quote: Attestation
    pcrs: PcrValues
