"""PE files: the Authenticode digest, the sections of a UKI, and nothing but our errors from any bytes."""

from __future__ import annotations

import contextlib
import hashlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_policies.appraisal.pe import UKI_SECTIONS, authenticode_sha256, measured_sections, uki_sections
from sealwright_policies.errors import FormatError, SealwrightError, UnsupportedError
from sealwright_testing.synthetic_uki import SECTIONS, build_uki

UKI = build_uki()
CERTIFICATE = struct.pack("<IHH", 64, 0x200, 2) + bytes(56)
OPTIONAL = 64 + 24
SECTION_TABLE = OPTIONAL + 112 + 16 * 8


def patched(offset: int, form: str, value: int, image: bytes = UKI) -> bytes:
    changed = bytearray(image)
    struct.pack_into(form, changed, offset, value)
    return bytes(changed)


def test_the_digest_is_of_everything_but_checksum_and_certificates() -> None:
    """Spelled out for a file without gaps: cut out CheckSum and the certificate entry, stop before the certificates."""
    checksum, entry = OPTIONAL + 64, OPTIONAL + 112 + 32
    expected = hashlib.sha256(UKI[:checksum] + UKI[checksum + 4 : entry] + UKI[entry + 8 :]).digest()

    assert authenticode_sha256(UKI) == expected
    assert authenticode_sha256(build_uki(certificate=CERTIFICATE)) == expected
    assert authenticode_sha256(patched(checksum, "<I", 1)) == expected


@pytest.mark.parametrize("offset", [2, OPTIONAL + 16, SECTION_TABLE + 8, 1024, len(UKI) - 1])
def test_the_digest_depends_on_every_other_byte(offset: int) -> None:
    changed = UKI[:offset] + bytes([UKI[offset] ^ 1]) + UKI[offset + 1 :]

    assert authenticode_sha256(changed) != authenticode_sha256(UKI)


def test_data_behind_the_sections_is_hashed() -> None:
    assert authenticode_sha256(UKI + bytes(8)) != authenticode_sha256(UKI)


def test_sections_come_as_in_memory_and_in_the_stub_s_order() -> None:
    shuffled = build_uki(dict(reversed([*SECTIONS.items(), (".text", b"code"), (".pcrsig", b"{}")])))

    assert list(uki_sections(shuffled)) == [name for name in UKI_SECTIONS if name in SECTIONS or name == ".pcrsig"]
    assert {name: uki_sections(shuffled)[name] for name in SECTIONS} == SECTIONS


def test_the_signatures_of_expected_values_are_not_measured() -> None:
    assert ".pcrsig" not in measured_sections(uki_sections(build_uki(SECTIONS | {".pcrsig": b"{}"})))


@pytest.mark.parametrize("name", [".profile", ".dtbauto", ".hwids", ".efifw"])
def test_a_uki_with_alternatives_is_unsupported(name: str) -> None:
    with pytest.raises(UnsupportedError, match=name):
        uki_sections(build_uki(SECTIONS | {name: b"x"}))


@pytest.mark.parametrize(
    ("image", "error", "reason"),
    [
        (b"", FormatError, "MZ"),
        (b"MZ", FormatError, "truncated"),
        (UKI[:200], FormatError, "headers"),
        (patched(0x3C, "<I", 0xFFFFFFFF), FormatError, "PE signature"),
        (patched(64 + 4, "<H", 0xAA64), UnsupportedError, "x86-64"),
        (patched(64 + 6, "<H", 97), FormatError, "97 sections"),
        (patched(64 + 20, "<H", 8), FormatError, "certificate table"),
        (patched(OPTIONAL, "<H", 0x10B), FormatError, "PE32+"),
        (patched(OPTIONAL + 60, "<I", 16), FormatError, "section table"),
        (patched(OPTIONAL + 60, "<I", 1 << 30), FormatError, "exceed"),
        (patched(OPTIONAL + 108, "<I", 4), FormatError, "certificate table"),
        (patched(OPTIONAL + 112 + 36, "<I", 8), FormatError, "end of the file"),
        (patched(SECTION_TABLE + 16, "<I", 512 * 3), FormatError, "does not begin"),
        (patched(SECTION_TABLE + 20, "<I", 0), FormatError, "does not begin"),
        (UKI[:-1], FormatError, "exceed"),
        (patched(SECTION_TABLE + 8, "<I", 1 << 31), FormatError, "larger in memory"),
        (patched(SECTION_TABLE, "<B", 0xFF), FormatError, "ASCII"),
        (build_uki({".osrel": b"ID=x"}), FormatError, "no .linux"),
        (patched(SECTION_TABLE + 40, "<Q", int.from_bytes(b".linux\0\0", "little")), FormatError, "two .linux"),
    ],
)
def test_a_file_that_could_be_read_in_two_ways_is_refused(
    image: bytes, error: type[SealwrightError], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        uki_sections(image)


@settings(max_examples=300)
@given(st.binary(max_size=600), st.data())
def test_any_change_gives_a_digest_or_our_error(noise: bytes, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(UKI)))
    image = UKI[:offset] + noise + UKI[offset + len(noise) * data.draw(st.booleans()) :]
    for read in (authenticode_sha256, uki_sections):
        with contextlib.suppress(SealwrightError):
            read(image)
