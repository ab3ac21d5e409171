"""The state volume's header, with the real cryptsetup on a file: what this box writes, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance import volumes
from sealwright_appliance.run import run
from sealwright_appliance.state_volume import (
    BLANK_SIZE,
    FORMATTING_FILE,
    RECOVERY_ALPHABET,
    SEALED_FILE,
    StateVolumeError,
    UnsealedState,
    check_luks_metadata,
    checked_header,
    draw_recovery_key,
    is_blank,
    needs_formatting,
    read_header,
)

PASSPHRASE = bytes(range(64))
RECOVERY = draw_recovery_key(bytes(range(32)))


@pytest.fixture(scope="session")
def formatted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A device with the header that a first boot writes. Not to be changed."""
    device = tmp_path_factory.mktemp("luks") / "device"
    device.write_bytes(b"")
    with device.open("r+b") as file:
        file.truncate(16 * 1024 * 1024)
    run(volumes.format_luks(device), secrets=[PASSPHRASE])
    run(volumes.add_luks_passphrase(device), secrets=[PASSPHRASE, RECOVERY.encode()])
    return device


@pytest.fixture
def device(formatted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "device"
    copy.write_bytes(formatted.read_bytes())
    return copy


def unsealed(device: Path) -> UnsealedState:
    """What the TPM would give for this header."""
    return UnsealedState(PASSPHRASE, hashlib.sha256(read_header(device)).digest())


def test_the_header_that_was_written_is_accepted(device: Path, tmp_path: Path) -> None:
    """The copy is byte for byte the header, and both passphrases open by it."""
    copy = checked_header(device, unsealed(device), tmp_path / "copy")
    assert copy.read_bytes() == read_header(device)
    test = ["cryptsetup", "open", "--test-passphrase", "--type", "luks2", "--header", str(copy)]
    for secret in (PASSPHRASE, RECOVERY.encode()):
        run([*test, "--key-file", "{secret0}", str(device)], secrets=[secret])


@pytest.mark.parametrize("offset", [8, 4096, 16384, 32768, 300_000, volumes.HEADER_SIZE - 1])
def test_a_changed_header_is_refused(device: Path, tmp_path: Path, offset: int) -> None:
    """Any byte of it, the unused ones included."""
    state = unsealed(device)
    with device.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(StateVolumeError, match="not the one that this box wrote"):
        checked_header(device, state, tmp_path / "copy")


def test_a_header_made_by_somebody_who_knows_the_digest_is_still_judged(tmp_path: Path) -> None:
    """Another cipher, with a digest that fits: refused for what it asks for."""
    device = tmp_path / "device"
    with device.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    argv = ["aes-cbc-essiv:sha256" if word == volumes.STATE_CIPHER else word for word in volumes.format_luks(device)]
    argv[argv.index("--key-size") + 1] = "256"
    run(argv, secrets=[PASSPHRASE])
    with pytest.raises(StateVolumeError, match="never makes"):
        checked_header(device, unsealed(device), tmp_path / "copy")


def _cipher(metadata: Any) -> None:
    metadata["segments"]["0"]["encryption"] = "cipher_null-ecb"


def _reencryption(metadata: Any) -> None:
    metadata["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}


def _second_segment(metadata: Any) -> None:
    metadata["segments"]["1"] = dict(metadata["segments"]["0"], type="linear")


def _flag(metadata: Any) -> None:
    metadata["segments"]["0"]["flags"] = ["in-reencryption"]


def _part_of_the_device(metadata: Any) -> None:
    metadata["segments"]["0"]["size"] = "4096"


def _token(metadata: Any) -> None:
    metadata["tokens"]["0"] = {"type": "systemd-tpm2", "keyslots": ["0"]}


@pytest.mark.parametrize("change", [_cipher, _reencryption, _second_segment, _flag, _part_of_the_device, _token])
def test_metadata_of_another_kind_is_refused(formatted: Path, change: Callable[[Any], None]) -> None:
    """Whatever LUKS2 could do beside one plain segment."""
    metadata = json.loads(run(volumes.dump_luks_metadata(formatted)))
    check_luks_metadata(json.dumps(metadata))
    change(metadata)
    with pytest.raises(StateVolumeError):
        check_luks_metadata(json.dumps(metadata))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"segments": 1}', '{"segments": {"0": 1}, "config": {}, "tokens": {}}']
)
def test_unreadable_metadata_is_refused(text: str) -> None:
    """In words."""
    with pytest.raises(StateVolumeError):
        check_luks_metadata(text)


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """A device never used."""
    device = tmp_path / "blank"
    with device.open("wb") as file:
        file.truncate(BLANK_SIZE)
    return device


def test_a_blank_disk_is_formatted(blank: Path, tmp_path: Path) -> None:
    """Both partitions unused: the first boot."""
    assert is_blank(blank)
    assert needs_formatting(blank, tmp_path)


def test_an_interrupted_first_boot_is_done_again(device: Path, tmp_path: Path) -> None:
    """The marker stands until everything is made; nothing of value can be there yet."""
    (tmp_path / FORMATTING_FILE).touch()
    assert needs_formatting(device, tmp_path)


def test_a_used_disk_is_never_formatted(device: Path, tmp_path: Path) -> None:
    """It opens, or it does not."""
    (tmp_path / SEALED_FILE).touch()
    assert not needs_formatting(device, tmp_path)


def test_half_a_disk_is_refused(blank: Path, device: Path, tmp_path: Path) -> None:
    """A header without its sealed key, and the other way round: something is lost, nothing is overwritten."""
    with pytest.raises(StateVolumeError, match="sealed key"):
        needs_formatting(device, tmp_path)
    (tmp_path / SEALED_FILE).touch()
    with pytest.raises(StateVolumeError, match="header"):
        needs_formatting(blank, tmp_path)


def test_a_secondary_header_alone_is_not_blank(blank: Path) -> None:
    """LUKS2 keeps two; one that is left says that the disk was used."""
    with blank.open("r+b") as file:
        file.seek(4 * 1024 * 1024)
        file.write(b"SKUL")
    assert not is_blank(blank)


def test_the_recovery_key_can_be_read_from_paper() -> None:
    """200 bits, eight groups of five, no letters that look like digits."""
    key = draw_recovery_key(bytes([255] * 64))
    assert key == "-".join(["ZZZZZ"] * 8)
    assert len(RECOVERY_ALPHABET) == 32
    assert draw_recovery_key(bytes(64)) != key
