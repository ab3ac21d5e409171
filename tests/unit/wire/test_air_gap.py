"""Request files, QR codes and reply files: there and back, and nothing but a FormatError for anything else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.wire import air_gap
from sealwright_policies.wire.air_gap import (
    COMPACT_LIMIT,
    QR_PREFIX,
    ChallengeReply,
    CompactRenewal,
    RenewalFile,
    compact_request,
    parse_compact_request,
    parse_qr_text,
    parse_request,
    qr_text,
    request_file,
    sign_reply,
    verify_reply,
)
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.envelope import sign_jws
from sealwright_policies.wire.framing import RENEWAL_REQUEST_LABEL, framed, parse_framed
from sealwright_policies.wire.lease import LEASE_TYPE
from sealwright_policies.wire.messages import EnrollmentChallenge, RenewalRequest
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.air_gap_cases import known_service, renewal_request

ALPHANUMERIC = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


@cache
def request() -> RenewalRequest:
    return renewal_request()


def test_a_request_comes_back_from_its_file() -> None:
    read = parse_request(request_file(request()))
    assert isinstance(read, RenewalFile)
    assert read.request == request()


def test_a_request_comes_back_from_its_qr_code_with_the_logs_that_the_service_has() -> None:
    """Byte for byte the message that would have come in a file."""
    text = qr_text(request())
    assert set(text) <= ALPHANUMERIC
    assert len(compact_request(request())) <= 1000
    read = parse_request(text.encode())
    assert isinstance(read, CompactRenewal)
    evidence = request().evidence
    assert read.with_logs(evidence.boot_log, evidence.userspace_log) == request()


@pytest.mark.parametrize("damage", ["{}\r\n", "\n {}", "{} \t", None])
def test_white_space_of_mails_and_chats_is_ignored(damage: str | None) -> None:
    text = qr_text(request())
    folded = "\n".join(text[at : at + 64] for at in range(0, len(text), 64)) if damage is None else damage.format(text)
    assert parse_request(folded.encode()) == parse_qr_text(text)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-8],
        lambda text: text[:100] + text[108:],
        lambda text: text[:50] + ("A" if text[50] != "A" else "B") + text[51:],
        lambda text: text[:50] + "-" + text[50:],
        lambda text: text + "=",
        lambda text: text.lower(),
        lambda text: QR_PREFIX + text,
        lambda text: "SWR2" + text[4:],
        lambda text: text * 4,
        lambda text: QR_PREFIX,
    ],
)
def test_a_damaged_text_is_malformed(damage: Callable[[str], str]) -> None:
    with pytest.raises(FormatError):
        parse_request(damage(qr_text(request())).encode())


def test_pad_bits_have_one_spelling() -> None:
    """Two texts must never stand for one request."""
    text = qr_text(request())
    digits = len(text) - len(QR_PREFIX)
    assert digits % 8, "this request would have no pad bits"
    later = chr(ord(text[-1]) + 1) if text[-1] not in "Z7" else "7"
    with pytest.raises(FormatError):
        parse_qr_text(text[:-1] + later)


def test_a_request_that_no_code_should_hold_is_not_made() -> None:
    evidence = request().evidence
    long = evidence.model_copy(update={"quote": evidence.quote.model_copy(update={"signature": bytes(2000)})})
    with pytest.raises(FormatError, match=str(COMPACT_LIMIT)):
        compact_request(request().model_copy(update={"evidence": long}))


@pytest.mark.parametrize("place", range(5))
def test_a_field_of_another_size_is_malformed(place: int) -> None:
    """With its checksum right: ids, nonce and digest have one length each."""
    fields = list(parse_framed(RENEWAL_REQUEST_LABEL, 14, compact_request(request())))[:-1]
    fields[place] += b"/"
    with pytest.raises(FormatError):
        parse_compact_request(framed(RENEWAL_REQUEST_LABEL, *fields, air_gap._check(fields)))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"kind": "sealwright-enrollment-request"},
        {"kind": "other"},
        {"extra": 1},
        {"request": None},
    ],
)
def test_another_document_is_malformed(changes: dict[str, object]) -> None:
    document = json.loads(request_file(request()))
    with pytest.raises(FormatError):
        parse_request(json.dumps(document | changes).encode())


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for parse in (parse_request, parse_compact_request, lambda raw: parse_framed("a", 2, raw)):
        with pytest.raises(FormatError):
            parse(data)


@given(st.text(max_size=300))
def test_no_text_raises_anything_else(text: str) -> None:
    for parse in (parse_qr_text, lambda one: verify_reply(one, known_service(Ed25519PrivateKey.generate()))):
        with pytest.raises(FormatError):
            parse(QR_PREFIX + text)


@given(st.data())
def test_a_changed_request_is_malformed_or_the_same(data: st.DataObject) -> None:
    """One byte anywhere: the checksum tells."""
    raw = bytearray(compact_request(request()))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(FormatError):
        parse_compact_request(bytes(raw))


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_framed_fields_come_back(fields: list[bytes]) -> None:
    assert list(parse_framed("label", len(fields), framed("label", *fields))) == fields
    with pytest.raises(FormatError):
        parse_framed("label", len(fields) + 1, framed("label", *fields))
    with pytest.raises(FormatError):
        parse_framed("label", len(fields), framed("label", *fields, b""))
    with pytest.raises(FormatError):
        parse_framed("other", len(fields), framed("label", *fields))


# --- replies ----------------------------------------------------------------------------------------------------------


def reply() -> ChallengeReply:
    challenge = EnrollmentChallenge(
        enrollment_id="enrollment-1",
        device_id="a" * 52,
        license_id="license-1",
        credential_blob=b"c",
        encrypted_secret=b"s",
        nonce=bytes(32),
        expires_at=1,
    )
    return ChallengeReply(version=1, kind="challenge", device_id="a" * 52, answers="00" * 32, challenge=challenge)


def test_a_reply_comes_back_and_is_signed_alike() -> None:
    key = Ed25519PrivateKey.generate()
    token = sign_reply(reply(), key)
    assert sign_reply(reply(), key) == token
    assert verify_reply(token + "\n", known_service(key)) == reply()


def rejected(code: RejectionCode, token: str, service: LicenseService) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_reply(token, service)
    assert caught.value.code is code


def test_a_reply_of_another_service_is_refused() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    rejected(RejectionCode.DOCUMENT_SIGNATURE, sign_reply(reply(), other), known_service(key))


def test_a_lease_is_no_reply() -> None:
    """The same key signs both; the type tells them apart."""
    key = Ed25519PrivateKey.generate()
    rejected(RejectionCode.DOCUMENT_TYPE, sign_jws(reply(), LEASE_TYPE, key), known_service(key))


def test_a_signed_reply_of_no_known_kind_is_malformed() -> None:
    key = Ed25519PrivateKey.generate()
    other = reply().model_copy(update={"kind": "grant"})
    assert b'"grant"' in document_bytes(other)
    with pytest.raises(FormatError):
        verify_reply(sign_reply(other, key), known_service(key))
