"""Block devices of the box: what to run to open, mount and close them. Pure; :mod:`.run` executes.

Payload partitions are plain dm-crypt with a verity tree inside, every parameter from the signed manifest: there is no
header on the disk that somebody could change (policies/spec/manifest.md). Secrets stand as ``{secret0}`` and go by file
descriptor.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from sealwright_appliance.paths import MAPPER
from sealwright_policies.appraisal.reference_values import Payload, Verity
from sealwright_policies.mounts import MountOption

Argv = list[str]

READ_WRITE = "rw,nodev,nosuid,noexec,nosymfollow"
"""No links: whoever owns the disk could have root write through them. Nothing of ours makes any."""
DEVICE_WAIT_S = 30
DM_SECTOR = 512
"""Bytes: the unit of every size in a device-mapper table, whatever the sectors of the device."""


def crypt_name(payload_id: str) -> str:
    """Name of the decrypted, not yet verified device of a payload."""
    return f"sealwright-crypt-{payload_id}"


def verity_name(payload_id: str) -> str:
    """Name of the verified device of a payload."""
    return f"sealwright-{payload_id}"


def wait_for(device: Path) -> Argv:
    """Wait until udev has announced a device."""
    return ["udevadm", "wait", f"--timeout={DEVICE_WAIT_S}", str(device)]


def key_name(payload_id: str) -> str:
    """Name of a payload's volume key in the kernel's keyring, while its device is made."""
    return f"sealwright:{payload_id}"


def open_crypt(payload: Payload, device: Path) -> Argv:
    """Make a plain dm-crypt device, read-only, of the key in the keyring, taken as it is.

    cryptsetup would do it with the key itself, which the table then shows to root (``dmsetup table --showkeys``). The
    UUID is of the form that cryptsetup gives, by which udev's rules know such a device.
    """
    name, parameters = crypt_name(payload.payload_id), payload.dm_crypt
    key = f":{parameters.key_bits // 8}:logon:{key_name(payload.payload_id)}"
    size = payload.size // DM_SECTOR
    return [
        *("dmsetup", "create", name, "--readonly", "--uuid", f"CRYPT-PLAIN-{name}", "--table"),
        f"0 {size} crypt {parameters.cipher} {key} 0 {device} 0 1 sector_size:{parameters.sector_size}",
    ]


def open_verity(device: Path, name: str, parameters: Verity) -> Argv:
    """Open a dm-verity device whose data and tree are on one device, without a superblock."""
    return [
        *("veritysetup", "open", "--no-superblock", "--format", "1"),
        *("--hash", parameters.hash_algorithm, "--salt", parameters.salt),
        *("--data-block-size", str(parameters.data_block_size), "--hash-block-size", str(parameters.hash_block_size)),
        *("--data-blocks", str(parameters.data_blocks), "--hash-offset", str(parameters.hash_offset)),
        *(str(device), name, str(device), parameters.root_hash),
    ]


def verity_status(name: str) -> Argv:
    """Ask the kernel whether a verity device has seen a block that is not what was built."""
    return ["veritysetup", "status", name]


def is_corrupted(status: str) -> bool:
    """Whether the output of :func:`verity_status` reports corruption."""
    return any(line.split() == ["status:", "corrupted"] for line in status.splitlines())


def mount(device: Path, mount_point: Path, file_system: str, options: str) -> Argv:
    """Mount a file system."""
    return ["mount", "--types", file_system, "--options", options, str(device), str(mount_point)]


READ_ONLY_VIEW = "bind,ro,nodev,nosuid,noexec,nosymfollow"


def bind(folder: Path, mount_point: Path) -> Argv:
    """Show a folder, read-only, at another place, which whoever owns the folder cannot change."""
    return ["mount", "--options", READ_ONLY_VIEW, str(folder), str(mount_point)]


def unmount(mount_point: Path) -> Argv:
    """Unmount a file system."""
    return ["umount", str(mount_point)]


def close_verity(name: str) -> Argv:
    """Close a verity device."""
    return ["veritysetup", "close", name]


def close_crypt(name: str) -> Argv:
    """Close a dm-crypt device; the kernel forgets its key."""
    return ["dmsetup", "remove", "--retry", name]


def open_payload(payload: Payload, device: Path, mount_point: Path, options: Iterable[MountOption]) -> list[Argv]:
    """All steps that make a payload readable; the first wants the volume key in the keyring, as :func:`key_name`."""
    crypt, verity = crypt_name(payload.payload_id), verity_name(payload.payload_id)
    return [
        open_crypt(payload, device),
        open_verity(MAPPER / crypt, verity, payload.verity),
        mount(MAPPER / verity, mount_point, payload.file_system, ",".join(options)),
    ]


def close_payload(payload_id: str, mount_point: Path) -> list[Argv]:
    """The way back."""
    return [unmount(mount_point), close_verity(verity_name(payload_id)), close_crypt(crypt_name(payload_id))]


def list_devices() -> Argv:
    """List every device-mapper device in the kernel, a name a line."""
    return ["dmsetup", "info", "--columns", "--noheadings", "--options", "name"]


def is_open(listing: str, payload_id: str) -> bool:
    """Whether the output of :func:`list_devices` names a device of a payload: the kernel may still hold its key."""
    return not {crypt_name(payload_id), verity_name(payload_id)}.isdisjoint(listing.split())


def make_ext4(device: Path, label: str) -> Argv:
    """Make an ext4 file system that can encrypt folders."""
    return ["mkfs.ext4", "-q", "-F", "-O", "encrypt", "-L", label, "-E", "nodiscard", str(device)]


RESULT_FILES_PER_MIB, RESULT_FILES_MOST = 64, 65_536
"""Files and folders on a volume of results; each of them is looked at when what is over is removed."""


def make_results(file: Path, size: int, uuid: UUID, label: str) -> Argv:
    """Make the file system that a domain's workloads write on; ``size`` is in bytes.

    Tables of inodes are written here: a kernel that does it later punches holes in the file, through the loop device.
    """
    files = min(size // 2**20 * RESULT_FILES_PER_MIB, RESULT_FILES_MOST)
    marks = ("-U", str(uuid), "-L", label)
    return ["mkfs.ext4", "-q", "-F", "-N", str(files), *marks, "-E", "nodiscard,lazy_itable_init=0", str(file)]


# The state volume (LUKS2): made by the box at its first boot.

LUKS_NAME = "sealwright-state"
HEADER_SIZE = 2 * 1024 * 1024
"""Bytes that are pinned: two binary headers of 16 KiB with JSON areas, room for three key slots, zeros."""
DATA_OFFSET = 8 * 1024 * 1024
"""Bytes before the data. Every place that LUKS2 knows for a header lies in them, so they tell whether a disk was used,
and what the first boot writes behind them does not change that."""
PBKDF_ITERATIONS = 1000
"""The least that cryptsetup takes: both passphrases are random and long, nothing is gained by stretching them."""
STATE_CIPHER = "aes-xts-plain64"
STATE_SECTOR_SIZE = 4096


def format_luks(device: Path) -> Argv:
    """Write a LUKS2 header; the passphrase is ``{secret0}``. The data need not be on the same device."""
    return [
        *("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2"),
        *("--cipher", STATE_CIPHER, "--key-size", "512", "--hash", "sha256"),
        *("--sector-size", str(STATE_SECTOR_SIZE), "--offset", str(DATA_OFFSET // 512)),
        *("--luks2-metadata-size", "16k", "--luks2-keyslots-size", "1m"),
        *("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", str(PBKDF_ITERATIONS)),
        *("--key-file", "{secret0}", str(device)),
    ]


def add_luks_passphrase(device: Path) -> Argv:
    """Add ``{secret1}`` as a second passphrase beside ``{secret0}``."""
    return [
        *("cryptsetup", "luksAddKey", "--batch-mode"),
        *("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", str(PBKDF_ITERATIONS)),
        *("--key-file", "{secret0}", str(device), "{secret1}"),
    ]


def dump_luks_metadata(header: Path) -> Argv:
    """Print the JSON area of a LUKS2 header."""
    return ["cryptsetup", "luksDump", "--dump-json-metadata", str(header)]


def open_luks(device: Path, header: Path) -> Argv:
    """Open the state volume by a copy of its header, which the disk cannot change any more; ``{secret0}`` opens it."""
    return [
        *("cryptsetup", "open", "--batch-mode", "--type", "luks2", "--disable-external-tokens"),
        *("--header", str(header), "--key-file", "{secret0}", str(device), LUKS_NAME),
    ]
