"""What is run on block devices, word for word: a missing option here is an open door."""

from __future__ import annotations

from pathlib import Path

from sealwright_appliance import volumes
from sealwright_policies.appraisal.reference_values import Payload
from sealwright_policies.domains.compiler.mounts import EVERY, INERT
from sealwright_testing.evidence_factory import payload_fields

PAYLOAD = Payload(**payload_fields())


def test_a_payload_is_opened_by_the_manifest_alone() -> None:
    """Plain dm-crypt, verity without superblock, a mount as it is told; of the key a reference alone."""
    crypt, verity, mount = volumes.open_payload(PAYLOAD, Path("/dev/p"), Path("/run/m"), (*EVERY, *INERT))
    assert crypt == [
        *("dmsetup", "create", "sealwright-crypt-medical", "--readonly"),
        *("--uuid", "CRYPT-PLAIN-sealwright-crypt-medical", "--table"),
        f"0 {PAYLOAD.size // 512} crypt aes-xts-plain64 :64:logon:sealwright:medical 0 /dev/p 0 1 sector_size:4096",
    ]
    assert verity == [
        *("veritysetup", "open", "--no-superblock", "--format", "1", "--hash", "sha256", "--salt", "5a" * 32),
        *("--data-block-size", "4096", "--hash-block-size", "4096", "--data-blocks", "240", "--hash-offset", "983040"),
        *("/dev/mapper/sealwright-crypt-medical", "sealwright-medical", "/dev/mapper/sealwright-crypt-medical"),
        "7e" * 32,
    ]
    assert mount == [
        *("mount", "--types", "erofs", "--options", "ro,nodev,nosuid,noexec,nosymfollow"),
        *("/dev/mapper/sealwright-medical", "/run/m"),
    ]


def test_a_payload_is_open_as_long_as_the_kernel_has_a_part_of_it() -> None:
    """The name of another payload is not enough."""
    assert volumes.list_devices() == ["dmsetup", "info", "--columns", "--noheadings", "--options", "name"]
    for name in ("sealwright-medical", "sealwright-crypt-medical"):
        assert volumes.is_open(f"root\n{name}\n", "medical")
        assert not volumes.is_open(f"root\n{name}-2\n", "medical")
    assert not volumes.is_open("No devices found\n", "medical")


def test_a_payload_is_closed_in_reverse() -> None:
    """Down to the key."""
    assert volumes.close_payload("medical", Path("/run/m")) == [
        ["umount", "/run/m"],
        ["veritysetup", "close", "sealwright-medical"],
        ["dmsetup", "remove", "--retry", "sealwright-crypt-medical"],
    ]


def test_the_state_volume_is_mounted_without_programs() -> None:
    """Nothing on it is ever executed."""
    argv = volumes.mount(Path("/dev/mapper/s"), Path("/var/lib/sealwright"), "ext4", volumes.READ_WRITE)
    assert "rw,nodev,nosuid,noexec,nosymfollow" in argv


def test_the_state_volume_opens_by_the_copied_header() -> None:
    """The disk cannot change it behind the check, and no token on the disk is asked."""
    argv = volumes.open_luks(Path("/dev/state"), Path("/run/header"))
    assert argv[argv.index("--header") + 1] == "/run/header"
    assert "--disable-external-tokens" in argv


def test_corruption_is_seen() -> None:
    """In the words of veritysetup."""
    status = "/dev/mapper/x is active.\n  type:        VERITY\n  status:      {}\n  hash type:   1\n"
    assert volumes.is_corrupted(status.format("corrupted"))
    assert not volumes.is_corrupted(status.format("verified"))
