"""UEFI structures inside events: variables and signature databases (UEFI 2.10, 32.4.1; Platform Profile, 10.2.6)."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from cryptography import x509

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.reader import LittleEndianReader

MAX_VARIABLE_SIZE = 1 << 20
CERT_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
CERT_SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")


@dataclass(frozen=True, slots=True)
class VariableData:
    """UEFI_VARIABLE_DATA: what EV_EFI_VARIABLE_* events record and hash."""

    guid: uuid.UUID
    name: str
    content: bytes


def parse_variable_data(data: bytes) -> VariableData:
    """Parse the data of a variable event. Raises FormatError if it is not exactly one UEFI_VARIABLE_DATA."""
    reader = LittleEndianReader(data, "UEFI_VARIABLE_DATA", max_size=MAX_VARIABLE_SIZE)
    guid = uuid.UUID(bytes_le=reader.take(16))
    name_units, content_size = reader.u64(), reader.u64()
    try:
        name = reader.take(2 * name_units).decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise FormatError("UEFI_VARIABLE_DATA: the name is not UTF-16") from error
    content = reader.take(content_size)
    reader.finish()
    return VariableData(guid, name, content)


def describe_signature_database(content: bytes) -> list[str]:
    """The entries of PK, KEK, db or dbx in words, for people; hashes are only counted.

    Raises:
        FormatError: not a sequence of EFI_SIGNATURE_LISTs.
    """
    reader = LittleEndianReader(content, "EFI_SIGNATURE_LIST", max_size=MAX_VARIABLE_SIZE)
    entries: list[str] = []
    hashes = 0
    while reader.remaining:
        kind = uuid.UUID(bytes_le=reader.take(16))
        list_size, header_size, entry_size = reader.u32(), reader.u32(), reader.u32()
        body = list_size - 28 - header_size
        if body < 0 or entry_size < 16 or body % entry_size:
            raise FormatError("EFI_SIGNATURE_LIST: the sizes do not agree")
        reader.take(header_size)
        if kind != CERT_X509:
            reader.take(body)
            hashes += body // entry_size
            continue
        for _ in range(body // entry_size):
            entries.append(describe_certificate(reader.take(entry_size)[16:]))
    return entries + ([f"{hashes} hashes"] if hashes else [])


def describe_certificate(der: bytes) -> str:
    """A certificate's subject, or its fingerprint where the subject cannot be read."""
    try:
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except ValueError:
        subject = ""
    return subject or f"certificate sha256:{hashlib.sha256(der).hexdigest()[:16]}"
