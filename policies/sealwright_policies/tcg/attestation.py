"""Verification of what a TPM has signed: quotes, certified keys, certified counters (policies/spec/attestation.md).

Each function checks the signature over the raw bytes first, parses strictly after that, and returns a verified type.
What the values mean for a device (reference values, clock rules, log replay) is appraised elsewhere.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sealwright_policies.errors import RejectionCode, UnsupportedError, VerificationError
from sealwright_policies.tcg.algorithms import AlgorithmId, algorithm_name, hash_bytes
from sealwright_policies.tcg.attest import (
    Attest,
    CertifyInfo,
    ClockInfo,
    NvCertifyInfo,
    PcrSelection,
    QuoteInfo,
    parse_attest,
)
from sealwright_policies.tcg.nv import COUNTER_ATTRIBUTES, COUNTER_SIZE, NvAttributes, NvPublic, NvType
from sealwright_policies.tcg.pcr import DIGEST_SIZES, PCR_COUNT, SELECT_SIZE
from sealwright_policies.tcg.public import Hierarchy, Public, qualified_name
from sealwright_policies.tcg.signature import PublicKey, Signature, parse_signature, verify_any, verify_message


@dataclass(frozen=True, slots=True)
class VerifiedQuote:
    """A quote that is by the AK, fresh, over exactly the wanted PCRs, and of exactly the given values."""

    pcrs: Mapping[int, bytes]
    bank: int
    clock_info: ClockInfo
    firmware_version: int
    qualified_signer: bytes


@dataclass(frozen=True, slots=True)
class VerifiedCertify:
    """A key that the TPM of the AK holds as a primary of the wanted hierarchy."""

    name: bytes
    qualified_name: bytes
    clock_info: ClockInfo


@dataclass(frozen=True, slots=True)
class VerifiedCounter:
    """The value of an NV counter in the TPM of the AK, at the time in ``clock_info``."""

    value: int
    clock_info: ClockInfo
    name: bytes


def verify_signature(public: Public, attest: bytes, signature: bytes) -> Signature:
    """Check a TPMT_SIGNATURE over the raw bytes of ``attest`` against a public area and the scheme fixed in it.

    Raises:
        VerificationError: SIGNATURE_ALGORITHM, SIGNATURE_INVALID.
        FormatError, UnsupportedError: the signature or the key cannot be read.
    """
    parsed = parse_signature(signature)
    scheme = public.scheme
    if scheme is not None and (parsed.algorithm, parsed.hash_algorithm) != (scheme.algorithm, scheme.hash_algorithm):
        raise VerificationError(
            RejectionCode.SIGNATURE_ALGORITHM,
            f"signed with {algorithm_name(parsed.algorithm)} and {algorithm_name(parsed.hash_algorithm)}, "
            "which is not the scheme in the key's public area",
        )
    verify_message(public.key(), attest, parsed)
    return parsed


def verify_quote(
    ak: Public,
    attest: bytes,
    signature: bytes,
    *,
    qualifying_data: bytes,
    pcrs: Mapping[int, bytes],
    selection: Collection[int],
    bank: int = AlgorithmId.SHA256,
) -> VerifiedQuote:
    """Verify a quote and the PCR values claimed to be in it, in the order of the specification.

    (1) signature over the raw bytes, (2) strict parse, (3) magic and type, (4) qualifying data, (5) the signed
    selection is exactly ``selection`` in exactly one bank, (6) the signed digest is that of ``pcrs``.

    Args:
        ak: public area of the enrolled AK.
        attest: TPMS_ATTEST as signed.
        signature: TPMT_SIGNATURE.
        qualifying_data: what extraData must be.
        pcrs: claimed value of each PCR; others than the selected ones are ignored.
        selection: PCRs that must be quoted, no more and no fewer.
        bank: hash algorithm of the one bank.

    Raises:
        VerificationError: SIGNATURE_ALGORITHM, SIGNATURE_INVALID, NOT_TPM_GENERATED, ATTESTATION_TYPE,
            QUALIFYING_DATA_MISMATCH, PCR_SELECTION_MISMATCH, PCR_DIGEST_MISMATCH.
    """
    signed_with = verify_signature(ak, attest, signature)  # (1)
    return _verified_quote(
        attest, signed_with, qualifying_data=qualifying_data, pcrs=pcrs, selection=selection, bank=bank
    )


def verify_quote_with_key(
    key: PublicKey,
    attest: bytes,
    signatures: Sequence[Signature],
    *,
    qualifying_data: bytes,
    pcrs: Mapping[int, bytes],
    selection: Collection[int],
    bank: int = AlgorithmId.SHA256,
) -> VerifiedQuote:
    """As :func:`verify_quote`, for a bare key: any scheme that fits the key's type is taken, for no area fixes one.

    ``signatures`` are the readings of one signature: one, or several where it does not say its scheme and hash.
    """
    signed_with = verify_any(key, attest, signatures)  # (1)
    return _verified_quote(
        attest, signed_with, qualifying_data=qualifying_data, pcrs=pcrs, selection=selection, bank=bank
    )


def _verified_quote(
    attest: bytes,
    signed_with: Signature,
    *,
    qualifying_data: bytes,
    pcrs: Mapping[int, bytes],
    selection: Collection[int],
    bank: int,
) -> VerifiedQuote:
    statement = parse_attest(attest)  # (2), (3)
    quoted = statement.attested
    if not isinstance(quoted, QuoteInfo):
        raise _wrong_type(statement, "quote")
    _check_qualifying_data(statement, qualifying_data)  # (4)
    wanted = tuple(sorted(selection))
    _check_selection(quoted.pcr_selections, wanted, bank)  # (5)
    values = _selected_values(pcrs, wanted, bank)
    # The TPM hashes the concatenation with the hash of the signing scheme, whatever the bank (Part 3, TPM2_Quote).
    digest = hash_bytes(signed_with.hash_algorithm, b"".join(values.values()))
    if not hmac.compare_digest(digest, quoted.pcr_digest):  # (6)
        raise VerificationError(
            RejectionCode.PCR_DIGEST_MISMATCH,
            "the given PCR values are not those that the TPM quoted",
            expected=quoted.pcr_digest.hex(),
            found=digest.hex(),
        )
    return VerifiedQuote(values, bank, statement.clock_info, statement.firmware_version, statement.qualified_signer)


def verify_certify(
    ak: Public,
    attest: bytes,
    signature: bytes,
    *,
    qualifying_data: bytes,
    public: Public,
    hierarchy_handle: int = Hierarchy.OWNER,
) -> VerifiedCertify:
    """Verify that ``public`` is a primary key of ``hierarchy_handle`` in the TPM that holds the AK.

    The Name alone is not enough: a key with the same public area can hang under a parent outside the TPM or in another
    hierarchy. Only the qualified name shows the whole path, and it must be one step from the hierarchy.

    Raises:
        VerificationError: as for a quote, and SIGNER_NOT_ENDORSEMENT, SRK_NAME_MISMATCH, SRK_HIERARCHY.
    """
    verify_signature(ak, attest, signature)  # (1)
    statement = parse_attest(attest)  # (2), (3)
    certified = statement.attested
    if not isinstance(certified, CertifyInfo):
        raise _wrong_type(statement, "certify")
    _check_qualifying_data(statement, qualifying_data)  # (4)
    _check_signer(ak, statement)  # (5)
    name = public.name
    if certified.name != name:  # (6)
        raise VerificationError(
            RejectionCode.SRK_NAME_MISMATCH,
            "the certified key is another one than the public area given",
            expected=name.hex(),
            found=certified.name.hex(),
        )
    expected = qualified_name(hierarchy_handle, name)
    if certified.qualified_name != expected:  # (7)
        raise VerificationError(
            RejectionCode.SRK_HIERARCHY,
            f"the certified key is not a primary key of hierarchy {hierarchy_handle:#010x}",
            expected=expected.hex(),
            found=certified.qualified_name.hex(),
        )
    return VerifiedCertify(name, expected, statement.clock_info)


def verify_nv_certify(
    ak: Public, attest: bytes, signature: bytes, *, qualifying_data: bytes, nv_public: NvPublic
) -> VerifiedCounter:
    """Verify the certified value of one of our NV counters.

    Raises:
        VerificationError: as for a quote, and SIGNER_NOT_ENDORSEMENT, COUNTER_INVALID.
    """
    verify_signature(ak, attest, signature)  # (1)
    statement = parse_attest(attest)  # (2), (3)
    certified = statement.attested
    if not isinstance(certified, NvCertifyInfo):
        raise _wrong_type(statement, "NV certify")
    _check_qualifying_data(statement, qualifying_data)  # (4)
    _check_signer(ak, statement)  # (5)
    check_counter(nv_public)  # (6)
    name = nv_public.name
    if certified.index_name != name:  # (7)
        raise _counter_invalid("the certified index is another one than the public area given")
    if certified.offset != 0 or len(certified.contents) != COUNTER_SIZE:  # (8)
        raise _counter_invalid(
            f"{len(certified.contents)} bytes at offset {certified.offset} are certified, "
            f"not the {COUNTER_SIZE} bytes of the counter"
        )
    return VerifiedCounter(int.from_bytes(certified.contents, "big"), statement.clock_info, name)


def check_counter(nv_public: NvPublic) -> None:
    """Demand that an NV index is a counter as the specification wants it, and has been incremented.

    Raises:
        VerificationError: COUNTER_INVALID.
    """
    if nv_public.type is not NvType.COUNTER or nv_public.data_size != COUNTER_SIZE:
        raise _counter_invalid("the NV index is not a counter of 8 bytes")
    if NvAttributes.WRITTEN not in nv_public.attributes:
        raise _counter_invalid("the counter was never incremented, so its Name would change at the first increment")
    wrong = nv_public.attributes ^ (COUNTER_ATTRIBUTES | NvAttributes.WRITTEN)
    if wrong:
        raise _counter_invalid(f"attribute bits {wrong:#010x} of the counter differ ({wrong!r})")
    if nv_public.auth_policy:
        raise _counter_invalid("the counter has an authorisation policy")
    if nv_public.name_alg != AlgorithmId.SHA256:
        raise _counter_invalid("the nameAlg of the counter is not SHA-256")


def _counter_invalid(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.COUNTER_INVALID, sentence)


def _wrong_type(statement: Attest, wanted: str) -> VerificationError:
    return VerificationError(
        RejectionCode.ATTESTATION_TYPE, f"the statement is {statement.type.name}, a {wanted} is wanted"
    )


def _check_qualifying_data(statement: Attest, qualifying_data: bytes) -> None:
    if not hmac.compare_digest(statement.extra_data, qualifying_data):
        raise VerificationError(
            RejectionCode.QUALIFYING_DATA_MISMATCH,
            "the statement was made for other qualifying data: another nonce, device, purpose or payload",
            expected=qualifying_data.hex(),
            found=statement.extra_data.hex(),
        )


def _check_signer(ak: Public, statement: Attest) -> None:
    expected = qualified_name(Hierarchy.ENDORSEMENT, ak.name)
    if statement.qualified_signer != expected:
        raise VerificationError(
            RejectionCode.SIGNER_NOT_ENDORSEMENT,
            "the signing key is not a primary key of the Endorsement hierarchy",
            expected=expected.hex(),
            found=statement.qualified_signer.hex(),
        )


def _check_selection(selections: tuple[PcrSelection, ...], wanted: tuple[int, ...], bank: int) -> None:
    """Compare with the one encoding that we ask for: one bank, a bitmap of exactly three octets for 24 PCRs.

    A TPM puts into the quote what it was asked for, so a longer bitmap or a second, empty bank never comes from our
    box. Allowing them would give one selection several signed forms, and nothing needs that.
    """
    if selections != (PcrSelection(bank, wanted, SELECT_SIZE),):
        found = "; ".join(f"{algorithm_name(s.bank)}:{','.join(map(str, s.pcrs))}" for s in selections) or "nothing"
        raise VerificationError(
            RejectionCode.PCR_SELECTION_MISMATCH,
            f"the quote is over {found}, wanted is {algorithm_name(bank)}:{','.join(map(str, wanted))}",
            expected=wanted,
            found=tuple(s.pcrs for s in selections),
        )


def _selected_values(pcrs: Mapping[int, bytes], wanted: tuple[int, ...], bank: int) -> dict[int, bytes]:
    if bank not in DIGEST_SIZES or any(not 0 <= index < PCR_COUNT for index in wanted):
        raise UnsupportedError(f"no PCR bank {algorithm_name(bank)} with PCRs {wanted} is known")
    values = {}
    for index in wanted:
        value = pcrs.get(index)
        if value is None or len(value) != DIGEST_SIZES[bank]:
            raise VerificationError(
                RejectionCode.PCR_DIGEST_MISMATCH,
                f"PCR {index} was quoted, but no {algorithm_name(bank)} value is given for it",
            )
        values[index] = value
    return values
