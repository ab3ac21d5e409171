"""The power fails at any moment of a first boot; and nobody gets a volume in use formatted (spec/binding.md, 3).

Real TPM, real LUKS header; what is mounted is only noted.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from sealwright_appliance.binding import SLOT_SIZE, load_binding
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.volumes import DATA_OFFSET, HEADER_SIZE
from sealwright_testing.simulated_disk import Disk, PowerCutError


@pytest.mark.parametrize("word", ["luks2", "mkfs.ext4", "mount"])
def test_power_fails_before_the_record_is_written(disk: Disk, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """Whatever was made so far is nobody's: the next boot begins anew, and the one after formats nothing."""
    disk.cut_before = word
    with pytest.raises(PowerCutError):
        disk.boot(monkeypatch)
    assert load_binding(disk.binding_device) is None
    disk.cut_before = ""
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert "mkfs.ext4" in disk.programs()
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert "mkfs.ext4" not in disk.programs()


def cut_write(monkeypatch: pytest.MonkeyPatch, number: int, sectors: int) -> Callable[[], None]:
    """Let the power fail in the n-th write to a block device, after some sectors; returns what gives power again."""
    really, count = os.pwrite, 0

    def write(descriptor: int, content: bytes, offset: int) -> int:
        nonlocal count
        count += 1
        if count == number:
            really(descriptor, content[: 512 * sectors], offset)
            raise PowerCutError
        return really(descriptor, content, offset)

    monkeypatch.setattr(os, "pwrite", write)
    return lambda: monkeypatch.setattr(os, "pwrite", really)


WHOLE = SLOT_SIZE
RECORD, HEADER, RECORD_WITHOUT_HEADER = 1, 2, 3


@pytest.mark.parametrize(
    ("write", "sectors", "made"),
    [
        (RECORD, 0, False),
        (RECORD, 1, False),
        (RECORD, 3000, False),
        (RECORD, WHOLE, True),
        (HEADER, 0, True),
        (HEADER, 1, True),
        (HEADER, 33, True),
        (HEADER, WHOLE, True),
        (RECORD_WITHOUT_HEADER, 0, True),
        (RECORD_WITHOUT_HEADER, 2, True),
        (RECORD_WITHOUT_HEADER, WHOLE, True),
    ],
)
def test_power_fails_in_each_write_of_the_first_boot(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, write: int, sectors: int, *, made: bool
) -> None:
    """Once the record is whole, the volume is made: the next boot completes it, and loses no claim."""
    power = cut_write(monkeypatch, write, sectors)
    with pytest.raises(PowerCutError):
        disk.boot(monkeypatch)
    power()
    assert not disk.box.paths.boot_result.exists()
    code = Claim(disk.box.paths.claim).code()

    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert ("mkfs.ext4" not in disk.programs()) == made
    assert (Claim(disk.box.paths.claim).code() == code) == made
    assert disk.binding.pending_header is None
    header = disk.header

    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert "mkfs.ext4" not in disk.programs()
    assert disk.header == header


def test_power_fails_again_while_the_header_is_completed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    power = cut_write(monkeypatch, HEADER, 10)
    with pytest.raises(PowerCutError):
        disk.boot(monkeypatch)
    power()
    power = cut_write(monkeypatch, 1, 700)
    with pytest.raises(PowerCutError):
        disk.boot(monkeypatch)
    power()
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    assert "mkfs.ext4" not in disk.programs()


@pytest.mark.parametrize("left", [b"", b"formatting", b"\xff" * 4096])
def test_a_used_volume_is_never_formatted(disk: Disk, monkeypatch: pytest.MonkeyPatch, left: bytes) -> None:
    """Whatever somebody leaves on `binding`: the box says that the sealed key is gone, and touches nothing."""
    disk.boot(monkeypatch)
    before = disk.header
    disk.binding_device.write_bytes(left + bytes(2 * SLOT_SIZE - len(left)))
    result = disk.boot(monkeypatch)
    assert (result.state, result.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
    assert "sealed key of the state volume is gone" in result.sentence
    assert disk.header == before
    assert not {"mkfs.ext4", "mount"} & set(disk.programs())


def test_a_header_of_somebody_else_is_not_completed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """He empties the header's place and leaves one of his own in the record: it is not the sealed one."""
    disk.boot(monkeypatch)
    with disk.state_device.open("r+b") as file:
        file.write(bytes(DATA_OFFSET))
    disk.bind(pending_header=b"his own".ljust(HEADER_SIZE, b"\0"))
    result = disk.boot(monkeypatch)
    assert result.code == BoxCode.STATE_VOLUME
    assert "cannot be completed" in result.sentence
    assert not any(disk.header)


def test_a_header_that_is_gone_is_said(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formatted only if there is no record either."""
    disk.boot(monkeypatch)
    with disk.state_device.open("r+b") as file:
        file.write(bytes(DATA_OFFSET))
    result = disk.boot(monkeypatch)
    assert "header of the state volume is gone" in result.sentence
    assert not any(disk.header)
