"""The state volume's header, with the real cryptsetup on a file: what this box writes, and what it refuses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance import volumes
from sealwright_appliance.binding import SLOT_SIZE, Slot, slot_bytes
from sealwright_appliance.files import overwrite
from sealwright_appliance.run import run
from sealwright_appliance.state_header import (
    SECTOR_SIZE,
    StateVolumeError,
    check_luks_metadata,
    checked_header,
    complete_header,
    is_blank,
    is_torn_write,
    make_header,
    read_header,
)
from sealwright_appliance.state_volume import RECOVERY_ALPHABET, draw_recovery_key, load_bound_state
from sealwright_policies.errors import FormatError

PASSPHRASE = bytes(range(64))
RECOVERY = draw_recovery_key(bytes(range(32)))


@pytest.fixture(scope="session")
def header(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The header that a first boot makes."""
    return make_header(tmp_path_factory.mktemp("luks") / "header", PASSPHRASE, RECOVERY)


@pytest.fixture
def blank(tmp_path: Path) -> Path:
    """A device never used."""
    device = tmp_path / "blank"
    with device.open("wb") as file:
        file.truncate(2 * volumes.DATA_OFFSET)
    return device


def digest(header: bytes) -> bytes:
    """What the TPM would give for this header."""
    return hashlib.sha256(header).digest()


def test_the_header_that_was_written_is_accepted(header: bytes, blank: Path, tmp_path: Path) -> None:
    """The copy is byte for byte the header, and both passphrases open by it a device that has none yet."""
    copy = checked_header(header, digest(header), tmp_path / "copy")
    assert copy.read_bytes() == header
    test = ["cryptsetup", "open", "--test-passphrase", "--type", "luks2", "--header", str(copy)]
    for secret in (PASSPHRASE, RECOVERY.encode()):
        run([*test, "--key-file", "{secret0}", str(blank)], secrets=[secret])


def test_the_recovery_key_opens_the_disk_alone(header: bytes, blank: Path) -> None:
    """On another machine there is no copy of the header: the one on the disk is a whole one."""
    complete_header(blank, header, digest(header))
    test = ["cryptsetup", "open", "--test-passphrase", "--type", "luks2", "--key-file", "{secret0}", str(blank)]
    run(test, secrets=[RECOVERY.encode()])


def test_the_header_is_all_that_lies_before_the_data(tmp_path: Path) -> None:
    """Nothing that cryptsetup writes is left out of what is pinned, and the data begin where blank disks are judged."""
    file = tmp_path / "file"
    with file.open("wb") as stream:
        stream.truncate(2 * volumes.DATA_OFFSET)
    run(volumes.format_luks(file), secrets=[PASSPHRASE])
    assert not any(file.read_bytes()[volumes.HEADER_SIZE :])
    metadata = json.loads(run(volumes.dump_luks_metadata(file)))
    assert int(metadata["segments"]["0"]["offset"]) == volumes.DATA_OFFSET


@pytest.mark.parametrize("offset", [8, 4096, 16384, 32768, 300_000, volumes.HEADER_SIZE - 1])
def test_a_changed_header_is_refused(header: bytes, tmp_path: Path, offset: int) -> None:
    """Any byte of it, the unused ones included."""
    changed = bytearray(header)
    changed[offset] ^= 1
    with pytest.raises(StateVolumeError, match="not the one that this box wrote"):
        checked_header(bytes(changed), digest(header), tmp_path / "copy")


def test_a_header_that_is_gone_is_said(header: bytes, blank: Path, tmp_path: Path) -> None:
    with pytest.raises(StateVolumeError, match="is gone"):
        checked_header(read_header(blank), digest(header), tmp_path / "copy")


def test_a_header_made_by_somebody_who_knows_the_digest_is_still_judged(tmp_path: Path) -> None:
    """Another cipher, with a digest that fits: refused for what it asks for."""
    device = tmp_path / "device"
    with device.open("wb") as file:
        file.truncate(2 * volumes.DATA_OFFSET)
    argv = ["aes-cbc-essiv:sha256" if word == volumes.STATE_CIPHER else word for word in volumes.format_luks(device)]
    argv[argv.index("--key-size") + 1] = "256"
    run(argv, secrets=[PASSPHRASE])
    header = read_header(device)
    with pytest.raises(StateVolumeError, match="never makes"):
        checked_header(header, digest(header), tmp_path / "copy")


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
def test_metadata_of_another_kind_is_refused(header: bytes, change: Callable[[Any], None], tmp_path: Path) -> None:
    """Whatever LUKS2 could do beside one plain segment."""
    (tmp_path / "header").write_bytes(header)
    metadata = json.loads(run(volumes.dump_luks_metadata(tmp_path / "header")))
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
def binding(tmp_path: Path) -> Path:
    """A binding partition without a record."""
    device = tmp_path / "binding"
    with device.open("wb") as file:
        file.truncate(2 * SLOT_SIZE)
    return device


def test_a_blank_disk_is_a_first_boot(blank: Path, binding: Path) -> None:
    """Both partitions unused."""
    assert is_blank(blank)
    assert load_bound_state(blank, binding) is None


@pytest.mark.parametrize("offset", [0, 16384, volumes.HEADER_SIZE, volumes.DATA_OFFSET - 1])
def test_a_used_disk_without_a_record_is_never_formatted(blank: Path, binding: Path, offset: int) -> None:
    """Whoever empties `binding`, or leaves anything else there, does not get the state volume made anew."""
    overwrite(blank, offset, b"x")
    for content in (b"", b"formatting", slot_bytes(Slot(1, b"{}"))):
        overwrite(binding, SLOT_SIZE, content)
        with pytest.raises((StateVolumeError, FormatError)):
            load_bound_state(blank, binding)


def test_data_behind_the_header_do_not_make_a_disk_used(blank: Path, binding: Path) -> None:
    """The first boot makes its file system before it writes the record."""
    overwrite(blank, volumes.DATA_OFFSET, b"x")
    assert load_bound_state(blank, binding) is None


@pytest.mark.parametrize("written", [0, SECTOR_SIZE, 16384, 300 * SECTOR_SIZE, volumes.HEADER_SIZE])
def test_a_header_that_was_cut_off_is_completed(header: bytes, blank: Path, written: int) -> None:
    """From its beginning, or from its end."""
    for part in (slice(0, written), slice(volumes.HEADER_SIZE - written, volumes.HEADER_SIZE)):
        overwrite(blank, 0, bytes(volumes.HEADER_SIZE))
        overwrite(blank, part.start, header[part])
        complete_header(blank, header, digest(header))
        assert read_header(blank) == header


def test_a_header_is_completed_over_nothing_else(header: bytes, blank: Path, tmp_path: Path) -> None:
    """A record from before, or of somebody else, never writes over a volume in use."""
    other = make_header(tmp_path / "other", PASSPHRASE, RECOVERY)
    complete_header(blank, other, digest(other))
    for sealed in (digest(header), digest(other)):
        with pytest.raises(StateVolumeError, match="cannot be completed"):
            complete_header(blank, header, sealed)
    assert read_header(blank) == other
    assert not is_torn_write(b"", header)


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
