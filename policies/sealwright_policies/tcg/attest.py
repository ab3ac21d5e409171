"""TPMS_ATTEST: what a TPM says and signs (TPM 2.0 Library, Part 2, 10.12).

Parsing here is strict, but trusts nothing: whether the signature is good and the statement is the wanted one is decided
in :mod:`sealwright_policies.tcg.attestation`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.algorithms import MAX_DIGEST_SIZE
from sealwright_policies.tcg.reader import Reader

TPM_GENERATED_VALUE = 0xFF544347
"""TPM_GENERATED (Part 2, 6.2): a restricted key never signs outside data that begins so."""

MAX_ATTEST_SIZE = 1024
"""Well over sizeof(TPMS_ATTEST) of any TPM; ours are under 200 bytes."""

MAX_NAME_SIZE = 2 + MAX_DIGEST_SIZE
"""nameAlg and a digest."""

MAX_NV_CONTENTS = 512
"""Counters hold 8 bytes; this only bounds the parser."""

_CLOCK_INFO = struct.Struct(">QIIB")
"""clock, resetCount, restartCount, safe."""

MAX_BANKS = 16
MAX_SELECT_SIZE = 32


class StructureTag(IntEnum):
    """TPM_ST of attestation structures (Part 2, 6.9)."""

    ATTEST_NV = 0x8014
    ATTEST_COMMAND_AUDIT = 0x8015
    ATTEST_SESSION_AUDIT = 0x8016
    ATTEST_CERTIFY = 0x8017
    ATTEST_QUOTE = 0x8018
    ATTEST_TIME = 0x8019
    ATTEST_CREATION = 0x801A
    ATTEST_NV_DIGEST = 0x801C


@dataclass(frozen=True, slots=True)
class ClockInfo:
    """TPMS_CLOCK_INFO (Part 2, 10.11.1)."""

    clock_ms: int
    reset_count: int
    restart_count: int
    safe: bool


@dataclass(frozen=True, slots=True)
class PcrSelection:
    """TPMS_PCR_SELECTION (Part 2, 10.6.1): a bank, the PCRs whose bit is set, and the octets of the bitmap as sent."""

    bank: int
    pcrs: tuple[int, ...]
    size_of_select: int = 3


@dataclass(frozen=True, slots=True)
class QuoteInfo:
    """TPMS_QUOTE_INFO (Part 2, 10.12.4)."""

    pcr_selections: tuple[PcrSelection, ...]
    pcr_digest: bytes


@dataclass(frozen=True, slots=True)
class CertifyInfo:
    """TPMS_CERTIFY_INFO (Part 2, 10.12.3)."""

    name: bytes
    qualified_name: bytes


@dataclass(frozen=True, slots=True)
class NvCertifyInfo:
    """TPMS_NV_CERTIFY_INFO (Part 2, 10.12.8)."""

    index_name: bytes
    offset: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class TimeAttestInfo:
    """TPMS_TIME_ATTEST_INFO (Part 2, 10.12.2)."""

    time_ms: int
    clock_info: ClockInfo
    firmware_version: int


Attested = QuoteInfo | CertifyInfo | NvCertifyInfo | TimeAttestInfo


@dataclass(frozen=True, slots=True)
class Attest:
    """TPMS_ATTEST (Part 2, 10.12.12), unverified."""

    type: StructureTag
    qualified_signer: bytes
    extra_data: bytes
    clock_info: ClockInfo
    firmware_version: int
    attested: Attested


def parse_attest(data: bytes) -> Attest:
    """Parse the bytes of a TPMS_ATTEST (without the TPM2B length).

    Raises:
        FormatError: truncated, trailing or impossible fields.
        VerificationError: NOT_TPM_GENERATED if the magic is another one; ATTESTATION_TYPE if it is of a type that no
            statement of ours has (audit, creation, NV digest, unknown).
    """
    reader = Reader(data, "TPMS_ATTEST", max_size=MAX_ATTEST_SIZE)
    magic = reader.u32()
    if magic != TPM_GENERATED_VALUE:
        raise VerificationError(
            RejectionCode.NOT_TPM_GENERATED,
            f"the statement begins with {magic:#010x}, not with TPM_GENERATED_VALUE: no TPM made it",
        )
    tag = _accepted_tag(reader.u16())
    qualified_signer = reader.sized(MAX_NAME_SIZE, "qualifiedSigner")
    extra_data = reader.sized(MAX_NAME_SIZE, "extraData")
    clock_info = _read_clock_info(reader)
    firmware_version = reader.u64()
    attested = _read_attested(reader, tag)
    reader.finish()
    return Attest(tag, qualified_signer, extra_data, clock_info, firmware_version, attested)


def _accepted_tag(value: int) -> StructureTag:
    if value in (
        StructureTag.ATTEST_QUOTE,
        StructureTag.ATTEST_CERTIFY,
        StructureTag.ATTEST_NV,
        StructureTag.ATTEST_TIME,
    ):
        return StructureTag(value)
    raise VerificationError(RejectionCode.ATTESTATION_TYPE, f"no statement of type {value:#06x} is accepted")


def _read_attested(reader: Reader, tag: StructureTag) -> Attested:
    if tag is StructureTag.ATTEST_QUOTE:
        return QuoteInfo(_read_selections(reader), reader.sized(MAX_DIGEST_SIZE, "pcrDigest"))
    if tag is StructureTag.ATTEST_CERTIFY:
        return CertifyInfo(reader.sized(MAX_NAME_SIZE, "name"), reader.sized(MAX_NAME_SIZE, "qualifiedName"))
    if tag is StructureTag.ATTEST_NV:
        return NvCertifyInfo(
            reader.sized(MAX_NAME_SIZE, "indexName"), reader.u16(), reader.sized(MAX_NV_CONTENTS, "nvContents")
        )
    return TimeAttestInfo(reader.u64(), _read_clock_info(reader), reader.u64())


def _read_clock_info(reader: Reader) -> ClockInfo:
    clock_ms, reset_count, restart_count, safe = reader.fields(_CLOCK_INFO)
    if safe > 1:
        raise FormatError(f"TPMS_CLOCK_INFO: safe is {safe}, a TPMI_YES_NO is 0 or 1")
    return ClockInfo(clock_ms, reset_count, restart_count, bool(safe))


def _read_selections(reader: Reader) -> tuple[PcrSelection, ...]:
    count = reader.u32()
    if count > MAX_BANKS:
        raise FormatError(f"TPML_PCR_SELECTION: {count} banks, the limit is {MAX_BANKS}")
    return tuple(_read_selection(reader) for _ in range(count))


def _read_selection(reader: Reader) -> PcrSelection:
    bank, size = reader.u16(), reader.u8()
    if size > MAX_SELECT_SIZE:
        raise FormatError(f"TPMS_PCR_SELECTION: a bitmap of {size} bytes, the limit is {MAX_SELECT_SIZE}")
    bitmap = int.from_bytes(reader.take(size), "little")
    return PcrSelection(bank, tuple(index for index in range(bitmap.bit_length()) if bitmap >> index & 1), size)
