"""Requests and replies that travel as files, and a renewal request in one QR code (policies/spec/air-gap.md).

Nothing here decides: a request is the online message in another wrapping, and a reply holds what the service would have
answered online, signed because no TLS says who answers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, RootModel, ValidationError

from sealwright_policies.appraisal.boot_logs import replay_quote_set
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import (
    Bytes4K,
    Document,
    Identifier,
    Sha256Hex,
    document_bytes,
    parse_json,
    pcr_values,
)
from sealwright_policies.wire.envelope import load_ed25519_public_key, sign_jws, verify_jws
from sealwright_policies.wire.framing import RENEWAL_REQUEST_LABEL, framed, parse_framed
from sealwright_policies.wire.messages import (
    MESSAGE_LIMIT,
    Attestation,
    CounterAttestation,
    DeviceId,
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Evidence,
    Grant,
    RenewalRequest,
)
from sealwright_policies.wire.service import LicenseService

FILE_LIMIT = MESSAGE_LIMIT
"""Bytes of the longest request or reply file that is read."""
COMPACT_LIMIT = 2200
"""Bytes of a request in a QR code."""
QR_PREFIX = "SWR1:"
QR_TEXT_LIMIT = 2 * (COMPACT_LIMIT * 8 // 5 + len(QR_PREFIX))
"""Characters that are read, white space between them included."""
REPLY_TYPE = "sealwright-file-reply+jwt"
_WHITE_SPACE = dict.fromkeys(map(ord, " \t\r\n"))
_CHECK_SIZE = 4

Version = Annotated[int, Field(ge=1, le=1)]
Exactly32 = Annotated[Bytes4K, Field(min_length=32, max_length=32)]


class RenewalFile(Document):
    """A renewal request with both logs."""

    version: Version
    kind: Literal["sealwright-renewal-request"]
    request: RenewalRequest


class EnrollmentFile(Document):
    """The first message of an enrolment."""

    version: Version
    kind: Literal["sealwright-enrollment-request"]
    request: EnrollmentRequest


class ProofFile(Document):
    """The second message of an enrolment."""

    version: Version
    kind: Literal["sealwright-enrollment-proof"]
    request: EnrollmentProof


RequestFile = RenewalFile | EnrollmentFile | ProofFile


class RequestDocument(RootModel[Annotated[RequestFile, Field(discriminator="kind")]]):
    """A request file of any kind."""


class CompactRenewal(Document):
    """What a QR code holds of a renewal request: all but the logs and what follows from them."""

    device_id: DeviceId
    license_id: Identifier
    release_id: Sha256Hex
    nonce: Exactly32
    logs_digest: Exactly32
    """The evidence's payload."""
    quote: Attestation
    tick_counter: CounterAttestation
    lease_counter: CounterAttestation

    def with_logs(self, firmware: bytes, userspace: bytes) -> RenewalRequest:
        """The whole request, by logs that the reader has.

        Raises:
            FormatError, UnsupportedError: the logs cannot be replayed.
        """
        return RenewalRequest(
            device_id=self.device_id,
            license_id=self.license_id,
            release_id=self.release_id,
            nonce=self.nonce,
            evidence=Evidence(
                quote=self.quote,
                pcrs=pcr_values(replay_quote_set(firmware, userspace)),
                boot_log=firmware,
                userspace_log=userspace,
                tick_counter=self.tick_counter,
                lease_counter=self.lease_counter,
                payload=self.logs_digest,
            ),
        )


class _Reply(Document):
    version: Version
    device_id: DeviceId


class ChallengeReply(_Reply):
    """To an enrolment request."""

    kind: Literal["challenge"]
    answers: Sha256Hex
    """:func:`request_digest` of the request."""
    challenge: EnrollmentChallenge


class EnrollmentReply(_Reply):
    """To an enrolment's proof."""

    kind: Literal["enrollment"]
    enrollment_id: Identifier
    """Of the challenge."""
    grant: Grant


class RenewalReply(_Reply):
    """To a renewal request."""

    kind: Literal["renewal"]
    nonce: Exactly32
    """Of the request."""
    grant: Grant


FileReply = ChallengeReply | EnrollmentReply | RenewalReply


class ReplyDocument(RootModel[Annotated[FileReply, Field(discriminator="kind")]]):
    """A reply of any kind."""


def request_file(request: RenewalRequest | EnrollmentRequest | EnrollmentProof) -> bytes:
    """A request as a file."""
    match request:
        case RenewalRequest():
            return document_bytes(RenewalFile(version=1, kind="sealwright-renewal-request", request=request))
        case EnrollmentRequest():
            return document_bytes(EnrollmentFile(version=1, kind="sealwright-enrollment-request", request=request))
        case EnrollmentProof():
            return document_bytes(ProofFile(version=1, kind="sealwright-enrollment-proof", request=request))


def parse_request(content: bytes) -> RequestFile | CompactRenewal:
    """Read a request file, or the text of a QR code.

    Raises:
        FormatError: neither.
    """
    if len(content) <= QR_TEXT_LIMIT and content.lstrip().startswith(QR_PREFIX.encode("ascii")):
        return parse_qr_text(content.decode("ascii", errors="replace"))
    return parse_json(RequestDocument, content, limit=FILE_LIMIT).root


def request_digest(request: EnrollmentRequest) -> str:
    """By what a challenge names the request that it answers."""
    return hashlib.sha256(document_bytes(request)).hexdigest()


def compact_request(request: RenewalRequest) -> bytes:
    """A renewal request without logs and PCR values.

    Raises:
        FormatError: its structures are longer than a QR code is to hold.
    """
    evidence = request.evidence
    fields = [
        base64.b32decode(request.device_id.upper() + "===="),
        request.license_id.encode("ascii"),
        bytes.fromhex(request.release_id),
        request.nonce,
        evidence.payload,
        *(evidence.quote.attest, evidence.quote.signature),
    ]
    for counter in (evidence.tick_counter, evidence.lease_counter):
        fields += [counter.attest, counter.signature, counter.nv_public]
    data = framed(RENEWAL_REQUEST_LABEL, *fields, _check(fields))
    if len(data) > COMPACT_LIMIT:
        raise FormatError(f"The request has {len(data)} bytes; a QR code is to hold at most {COMPACT_LIMIT}.")
    return data


def parse_compact_request(data: bytes) -> CompactRenewal:
    """The way back from :func:`compact_request`.

    Raises:
        FormatError: malformed or damaged.
    """
    if len(data) > COMPACT_LIMIT:
        raise FormatError(f"QR code: {len(data)} bytes, at most {COMPACT_LIMIT} are allowed.")
    *fields, check = parse_framed(RENEWAL_REQUEST_LABEL, 14, data)
    if check != _check(fields):
        raise FormatError("QR code: damaged on the way; read it again.")
    device, license_id, release, nonce, payload, attest, signature, *counters = fields
    if len(device) != 32:
        raise FormatError("QR code: a device id has 32 bytes.")
    tick, lease = ({"attest": one[0], "signature": one[1], "nv_public": one[2]} for one in (counters[:3], counters[3:]))
    try:
        return CompactRenewal.model_validate(
            {
                "device_id": base64.b32encode(device).decode("ascii").rstrip("=").lower(),
                "license_id": license_id.decode("ascii", errors="replace"),
                "release_id": release.hex(),
                "nonce": nonce,
                "logs_digest": payload,
                "quote": {"attest": attest, "signature": signature},
                "tick_counter": tick,
                "lease_counter": lease,
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise FormatError(f"QR code: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def qr_text(request: RenewalRequest) -> str:
    """The text of the QR code, all of it in QR's alphanumeric mode."""
    return QR_PREFIX + base64.b32encode(compact_request(request)).decode("ascii").rstrip("=")


def parse_qr_text(text: str) -> CompactRenewal:
    """The way back from :func:`qr_text`; white space, which mails and chats put in, is ignored.

    Raises:
        FormatError: not such a text, or damaged.
    """
    if len(text) > QR_TEXT_LIMIT:
        raise FormatError(f"QR code: {len(text)} characters, at most {QR_TEXT_LIMIT} are read.")
    plain = text.translate(_WHITE_SPACE)
    if not plain.startswith(QR_PREFIX):
        raise FormatError(f"QR code: the text begins with {QR_PREFIX}")
    digits = plain.removeprefix(QR_PREFIX)
    try:
        data = base64.b32decode(digits + "=" * (-len(digits) % 8))
    except (binascii.Error, ValueError) as error:
        raise FormatError("QR code: not base32.") from error
    if base64.b32encode(data).decode("ascii").rstrip("=") != digits:
        raise FormatError("QR code: not canonical base32.")
    return parse_compact_request(data)


def sign_reply(reply: FileReply, key: Ed25519PrivateKey) -> str:
    """A reply file; the same reply gives the same bytes."""
    return sign_jws(reply, REPLY_TYPE, key)


def verify_reply(token: str, service: LicenseService) -> FileReply:
    """Verify a reply file, whose end of line does not matter.

    Raises:
        FormatError: not a reply file.
        VerificationError: DOCUMENT_TYPE, DOCUMENT_SIGNATURE.
    """
    key = load_ed25519_public_key(service.lease_document_key)
    return verify_jws(token.strip(), ReplyDocument, REPLY_TYPE, key, limit=FILE_LIMIT).root


def _check(fields: list[bytes]) -> bytes:
    return hashlib.sha256(framed(RENEWAL_REQUEST_LABEL, *fields)).digest()[:_CHECK_SIZE]
