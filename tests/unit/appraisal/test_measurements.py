"""Predictions: what is extended, in which order. The judges are real boots, in ``tests/vectors/boots``."""

from __future__ import annotations

import hashlib

import pytest

from sealwright_policies.appraisal.measurements import (
    RUNNING_PHASES,
    UNSEAL_PHASES,
    ZERO,
    combined_initrd,
    load_options,
    predict_boot_applications,
    predict_boot_phases,
    predict_measurements,
    predict_pcr9,
    predict_secure_boot,
)
from sealwright_policies.appraisal.pe import authenticode_sha256
from sealwright_policies.errors import FormatError
from sealwright_testing.event_logs import replay
from sealwright_testing.evidence_factory import boot_events, secure_boot_keys, userspace_events
from sealwright_testing.software_tpm import ALG_SHA256
from sealwright_testing.synthetic_uki import SECTIONS, build_uki

CALLING = b"Calling EFI Application from Boot Option"
RETURNING = b"Returning from EFI Application from Boot Option"
UKI = build_uki()
KEYS = secure_boot_keys()


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def extended(*contents: bytes) -> str:
    value = bytes(32)
    for content in contents:
        value = sha256(value + sha256(content))
    return value.hex()


def test_pcr4_is_the_action_the_separator_and_the_uki() -> None:
    application = predict_boot_applications(UKI)[0]
    before = bytes.fromhex(extended(CALLING, bytes(4)))

    assert application.pcr4 == sha256(before + authenticode_sha256(UKI)).hex()
    assert application.events[-1] == authenticode_sha256(UKI).hex()


def test_each_way_through_pcr4_is_predicted_with_and_without_the_kernel() -> None:
    """What EDK II and firmware without actions measure, spelled out."""
    before = {
        "boot-option": (CALLING, bytes(4)),
        "second-boot-option": (CALLING, bytes(4), RETURNING, CALLING),
        "third-boot-option": (CALLING, bytes(4), RETURNING, CALLING, RETURNING, CALLING),
        "no-action": (bytes(4),),
    }
    image, kernel = authenticode_sha256(UKI), authenticode_sha256(SECTIONS[".linux"])
    expected = {}
    for suffix, images in (("", [image]), ("-and-kernel", [image, kernel])):
        for name, contents in before.items():
            value = bytes.fromhex(extended(*contents))
            for digest in images:
                value = sha256(value + digest)
            expected[name + suffix] = value.hex()

    assert {one.name: one.pcr4 for one in predict_boot_applications(UKI)} == expected


def test_a_kernel_that_firmware_could_not_measure_is_malformed() -> None:
    with pytest.raises(FormatError, match="The kernel in the unified kernel image: Not a PE file"):
        predict_boot_applications(build_uki(SECTIONS | {".linux": b"no kernel"}))


def test_pcr7_is_what_firmware_with_these_keys_measures() -> None:
    """Against the synthetic log, which is shaped like a real one."""
    firmware = replay(boot_events(UKI, KEYS), ALG_SHA256)

    assert predict_secure_boot(KEYS).pcr7 == firmware[7].hex()


def test_pcr11_is_name_and_content_of_each_section_and_then_the_phases() -> None:
    contents = [part for name in SECTIONS for part in (name.encode() + b"\0", SECTIONS[name])]

    phases = predict_boot_phases(UKI)

    assert phases.unseal == extended(*contents, *(word.encode() for word in UNSEAL_PHASES))
    assert phases.running == extended(*contents, *(word.encode() for word in RUNNING_PHASES))
    assert len(phases.sections) == 2 * len(SECTIONS)


def test_pcr9_is_load_options_and_initrd() -> None:
    line = "roothash=5a lockdown=confidentiality systemd.import_credentials=no"

    assert predict_pcr9(UKI)[0] == sha256((line + "\0").encode("utf-16-le")).hex()


@pytest.mark.parametrize(
    ("section", "passed"),
    [
        (b"quiet", "quiet"),
        (b"  quiet\tx \n", "quiet x"),
        (b"quiet\0ignored", "quiet"),
        (b"\x7f a", "a"),
        ("sprache=ä".encode(), "sprache=ä"),
        (b"", ""),
    ],
)
def test_the_command_line_is_tidied_as_systemd_stub_does(section: bytes, passed: str) -> None:
    assert load_options({".cmdline": section}) == (passed + "\0").encode("utf-16-le")


def test_a_command_line_that_is_not_utf8_is_malformed() -> None:
    with pytest.raises(FormatError):
        load_options({".cmdline": b"\xff"})


def test_a_single_initrd_is_passed_on_as_it_is() -> None:
    assert combined_initrd({".initrd": b"12345"}) == b"12345"


def test_initrds_are_padded_and_joined_in_the_stub_s_order() -> None:
    joined = combined_initrd({".initrd": b"12345", ".ucode": b"u", ".osrel": b"ID=x\n", ".pcrpkey": b"key"})

    assert joined.startswith(b"u\0\0\0" + b"12345\0\0\0" + b"070701")
    assert joined.index(b".extra/tpm2-pcr-public-key.pem") < joined.index(b".extra/os-release")
    assert len(joined) % 4 == 0


def test_the_archive_around_os_release_is_a_cpio_archive() -> None:
    """Read back by the newc format: magic, thirteen hexadecimal fields, name, content, each padded to four bytes."""
    archive, entries = combined_initrd({".osrel": b"ID=x\n"}), []
    offset = 0
    while offset < len(archive):
        assert archive[offset : offset + 6] == b"070701"
        fields = [int(archive[offset + 6 + 8 * i : offset + 14 + 8 * i], 16) for i in range(13)]
        name = archive[offset + 110 : offset + 110 + fields[11] - 1]
        start = offset + (110 + fields[11] + 3) // 4 * 4
        entries.append((name, oct(fields[1]), archive[start : start + fields[6]]))
        offset = (start + fields[6] + 3) // 4 * 4

    assert entries == [
        (b".extra", "0o40555", b""),
        (b".extra/os-release", "0o100444", b"ID=x\n"),
        (b"TRAILER!!!", "0o0", b""),
    ]


def test_a_whole_prediction_is_what_a_boot_measures() -> None:
    measurements = predict_measurements(UKI, KEYS)
    firmware = replay(boot_events(UKI, KEYS), ALG_SHA256)

    assert measurements.unseal["9"] == firmware[9].hex()
    assert {measurements.unseal[pcr] for pcr in ("12", "13", "14", "15")} == {ZERO.hex()}
    assert measurements.running["15"] == extended(b"sealwright/v1/unlocked")
    assert measurements.running["11"] != measurements.unseal["11"]
    assert [word for pcr, word in userspace_events() if pcr == 11] == measurements.boot_phases.running_phases
