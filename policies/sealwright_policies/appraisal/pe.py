"""PE32+ files as a unified kernel image has them: sections and the Authenticode digest.

Microsoft PE format, rev. 11 ("Optional Header", "Section Table", "The Attribute Certificate Table") and "Windows
Authenticode Portable Executable Signature Format", 1.0, "Calculating the PE Image Hash". Strict: only what ukify and
sbsign write is read; whatever would be hashed differently by different firmware is refused.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from sealwright_policies.errors import FormatError, UnsupportedError

MAX_SECTIONS = 96
"""The Windows loader's limit; a UKI has some fifteen."""
MAX_PE_SIZE = 1 << 30
"""Bytes. A UKI has some 50 MiB."""

UKI_SECTIONS = (
    ".linux",
    ".osrel",
    ".cmdline",
    ".initrd",
    ".ucode",
    ".splash",
    ".dtb",
    ".uname",
    ".sbat",
    ".pcrsig",
    ".pcrpkey",
)
"""Sections that systemd-stub knows, in the order in which it measures them (systemd 257, unified_sections[] in uki.c,
"PLEASE DO NOT REORDER"); ``.pcrsig`` alone is not measured."""
UNSUPPORTED_SECTIONS = (".profile", ".dtbauto", ".hwids", ".efifw")
"""Several profiles or device trees in one UKI: more than one prediction, which a release of ours never needs."""

_MACHINE_X86_64 = 0x8664
_MAGIC_PE32_PLUS = 0x20B
_CERTIFICATE_ENTRY = 4
"""Index of the attribute certificate table among the data directories."""


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    virtual_size: int
    raw_size: int
    raw_offset: int


@dataclass(frozen=True, slots=True)
class _Layout:
    checksum_offset: int
    certificate_entry_offset: int
    headers_size: int
    certificate_offset: int
    certificate_size: int
    sections: tuple[_Section, ...]


def authenticode_sha256(pe: bytes) -> bytes:
    """The digest by which firmware measures and verifies a PE file, 32 bytes.

    Raises:
        FormatError: no PE32+ file, or its parts overlap or lie outside the file.
        UnsupportedError: not for x86-64.
    """
    layout = _parse_layout(pe)
    view = memoryview(pe)
    digest = hashlib.sha256()
    digest.update(view[: layout.checksum_offset])
    digest.update(view[layout.checksum_offset + 4 : layout.certificate_entry_offset])
    digest.update(view[layout.certificate_entry_offset + 8 : layout.headers_size])
    end = layout.headers_size
    for section in layout.sections:
        digest.update(view[section.raw_offset : section.raw_offset + section.raw_size])
        # By the standard, what lies between sections is not hashed in place but counted, and the rest of the file is
        # hashed from the sum of the sizes on. Only without gaps is that the whole file.
        end += section.raw_size
    digest.update(view[end : layout.certificate_offset])
    return digest.digest()


def uki_sections(pe: bytes) -> dict[str, bytes]:
    """The sections that systemd-stub uses, as it finds them in memory, in the order in which it measures them.

    Raises:
        FormatError: no PE32+ file, a section twice, or no ``.linux``.
        UnsupportedError: profiles or device trees to choose from.
    """
    found: dict[str, bytes] = {}
    for section in _parse_layout(pe).sections:
        if section.name in UNSUPPORTED_SECTIONS:
            raise UnsupportedError(f"A unified kernel image with a {section.name} section has no single prediction.")
        if section.name not in UKI_SECTIONS:
            continue
        if section.name in found:
            raise FormatError(f"The unified kernel image has two {section.name} sections.")
        if section.virtual_size > section.raw_size:
            raise FormatError(f"Section {section.name} is larger in memory than in the file.")
        if section.virtual_size:
            found[section.name] = pe[section.raw_offset : section.raw_offset + section.virtual_size]
    if ".linux" not in found:
        raise FormatError("Not a unified kernel image: there is no .linux section.")
    return {name: found[name] for name in UKI_SECTIONS if name in found}


def measured_sections(sections: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those that the stub extends into PCR 11: all but the signatures of expected values."""
    return {name: content for name, content in sections.items() if name != ".pcrsig"}


def _parse_layout(pe: bytes) -> _Layout:
    if len(pe) > MAX_PE_SIZE:
        raise FormatError(f"PE file: {len(pe)} bytes, at most {MAX_PE_SIZE} are read.")
    if pe[:2] != b"MZ":
        raise FormatError("Not a PE file: it does not begin with MZ.")
    signature_offset = _u32(pe, 0x3C)
    coff = signature_offset + 4
    if pe[signature_offset:coff] != b"PE\0\0":
        raise FormatError("Not a PE file: no PE signature.")
    machine, section_count = _u16(pe, coff), _u16(pe, coff + 2)
    if machine != _MACHINE_X86_64:
        raise UnsupportedError(f"PE file for machine {machine:#06x}, only x86-64 (0x8664) is supported.")
    if section_count > MAX_SECTIONS:
        raise FormatError(f"PE file: {section_count} sections, at most {MAX_SECTIONS} are read.")
    optional_size = _u16(pe, coff + 16)
    optional = coff + 20
    if _u16(pe, optional) != _MAGIC_PE32_PLUS:
        raise FormatError("PE file: not PE32+.")
    directories = _u32(pe, optional + 108)
    if directories <= _CERTIFICATE_ENTRY or optional_size < 112 + 8 * (_CERTIFICATE_ENTRY + 1):
        raise FormatError("PE file: no entry for the certificate table.")
    entry = optional + 112 + 8 * _CERTIFICATE_ENTRY
    headers_size = _u32(pe, optional + 60)
    table = optional + optional_size
    if not table + 40 * section_count <= headers_size <= len(pe):
        raise FormatError("PE file: the headers do not hold the section table or exceed the file.")
    certificate_offset, certificate_size = _u32(pe, entry), _u32(pe, entry + 4)
    if certificate_size == 0:
        certificate_offset = len(pe)
    elif certificate_offset + certificate_size != len(pe):
        raise FormatError("PE file: the certificate table is not the end of the file.")
    sections = _parse_sections(pe, table, section_count, headers_size, certificate_offset)
    return _Layout(optional + 64, entry, headers_size, certificate_offset, certificate_size, sections)


def _parse_sections(pe: bytes, table: int, count: int, headers_size: int, end_of_image: int) -> tuple[_Section, ...]:
    sections = []
    for index in range(count):
        name, virtual_size, _, raw_size, raw_offset = struct.unpack_from("<8sIIII", pe, table + 40 * index)
        if raw_size:
            sections.append(_Section(_section_name(name), virtual_size, raw_size, raw_offset))
    sections.sort(key=lambda section: section.raw_offset)
    position = headers_size
    for section in sections:
        if section.raw_offset != position:
            raise FormatError(f"PE file: section {section.name} does not begin where the one before it ends.")
        position += section.raw_size
    if position > end_of_image:
        raise FormatError("PE file: the sections exceed the file.")
    return tuple(sections)


def _section_name(raw: bytes) -> str:
    try:
        return raw.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError as error:
        raise FormatError("PE file: a section's name is not ASCII.") from error


def _u16(data: bytes, offset: int) -> int:
    return int.from_bytes(_field(data, offset, 2), "little")


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(_field(data, offset, 4), "little")


def _field(data: bytes, offset: int, size: int) -> bytes:
    if offset + size > len(data):
        raise FormatError("PE file: truncated in the headers.")
    return data[offset : offset + size]
