"""Old copies of the state volume, against the counter in a real TPM."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sealwright_appliance.boot import BoxState
from sealwright_appliance.claim import Claim
from sealwright_testing.simulated_disk import Disk

pytestmark = pytest.mark.redteam


def code(disk: Disk) -> str | None:
    """The claim code that the box would take."""
    return Claim(disk.box.paths.claim).code()


def claimed(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box that was claimed and restarted; returns a copy of its state volume from before."""
    disk.boot(monkeypatch)
    copy = disk.box.directory / "copy"
    shutil.copytree(disk.box.paths.state, copy)
    Claim(disk.box.paths.claim).spend()
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    return copy


def test_an_unclaimed_box_shows_its_code_at_every_boot(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the power failed before the secrets were handed out."""
    disk.boot(monkeypatch)
    shown = code(disk)
    for _ in range(2):
        disk.boot(monkeypatch)
        assert code(disk) == shown is not None
        assert f"claim code {shown}" in disk.console.read_text()


def test_a_disk_copy_from_before_the_claim_offers_no_claim(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the state volume is put back: it opens, and the secrets in it are erased before anybody is asked."""
    copy = claimed(disk, monkeypatch)
    shutil.rmtree(disk.box.paths.state)
    shutil.copytree(copy, disk.box.paths.state)
    assert code(disk) is not None
    assert disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION
    said = disk.console.read_text()
    assert "claim: The claim on this disk is from before it was used; it was erased." in said
    assert "claim code" not in said
    assert code(disk) is None
    assert b"PRIVATE KEY" not in disk.box.paths.claim.read_bytes()


@pytest.mark.parametrize("noted", [None, b"", b"\xff" * 512])
def test_a_note_that_is_lost_or_damaged_does_not_help(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, noted: bytes | None
) -> None:
    """Whoever overwrites a sector of the encrypted volume makes noise of it."""
    copy = claimed(disk, monkeypatch)
    shutil.copy(copy / "claim.json", disk.box.paths.claim)
    disk.box.paths.claim_counter.unlink()
    if noted is not None:
        disk.box.paths.claim_counter.write_bytes(noted)
    disk.boot(monkeypatch)
    assert code(disk) is None


def test_the_counter_moves_once(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """NV wears: not at every boot."""
    claimed(disk, monkeypatch)
    first = disk.claim_counter()
    disk.boot(monkeypatch)
    assert disk.claim_counter() == first
