"""Attempts on keys: of volumes, in the kernel's keyrings, in the TPM. None of them prints a byte of a key."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from intruder.calls import STATE, called, content, nothing, refused

ADD_KEY, KEYCTL, READ_KEY = 248, 250, 11
PROCESS_KEYRING = -2
KEY_BYTES = 4096
# linux/dm-ioctl.h: struct dm_ioctl, struct dm_target_spec, DM_TABLE_STATUS.
DM_TABLE = 0xC138_FD0C
DM_ASKS_FOR_TABLE = 1 << 4
DM_HEADER = struct.Struct("<3I7IQ128s129s7x")
DM_SPEC = struct.Struct("<QQiI16s")
DM_BYTES = 16384
# TCG, TPM 2.0 Library, part 2 (6.5.2, 6.9, 7.4) and part 3 (PCR_Extend, PCR_Reset).
TPM_DEVICE = Path("/dev/tpmrm0")
EXTEND, RESET, SHA256, PASSWORD = 0x182, 0x13D, 0xB, 0x4000_0009
SESSIONS = 0x8002
"""TPM_ST_SESSIONS."""
DEBUG_PCR, UNLOCK_PCR = 16, 15
BOOT_PCRS = range(16)
"""What a boot is measured into; none of them may be reset before the next (PC Client Platform TPM Profile, 4.6)."""


UNSEALS = ("unseal-state-again", "unseal-volumes-again", "unseal-domain-key-again")
"""What hangs on PCRs of the boot."""


def volume_key(name: str) -> str:
    """The key of an open volume out of device-mapper's table, as ``dmsetup table --showkeys`` prints it."""
    header = DM_HEADER.pack(4, 0, 0, DM_BYTES, DM_HEADER.size, 0, 0, DM_ASKS_FOR_TABLE, 0, 0, 0, name.encode(), b"")
    buffer = bytearray(header.ljust(DM_BYTES, b"\0"))
    descriptor = os.open("/dev/mapper/control", os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, DM_TABLE, buffer)
    finally:
        os.close(descriptor)
    start = DM_HEADER.unpack_from(buffer)[4] + DM_SPEC.size
    words = bytes(buffer[start : buffer.index(0, start)]).decode().split()
    if words[1].startswith(":") or not words[1].strip("0-"):
        raise refused("a reference to the keyring")
    return f"{len(words[1])} hex digits"


def own_volume_key() -> str:
    """The same of a volume that was opened with a key in its table."""
    table = f"0 8 crypt aes-xts-plain64 {'5a' * 64} 0 /dev/vdb 0"
    dmsetup("create", "planted", "--readonly", "--noudevsync", "--table", table)
    try:
        return volume_key("planted")
    finally:
        dmsetup("remove", "--noudevsync", "planted")


def dmsetup(*arguments: str) -> None:
    done = subprocess.run(["dmsetup", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise refused(done.stderr.strip().replace("\n", " "))


def own_key() -> int:
    """Put a key into a keyring, and read it."""
    mine = called(ADD_KEY, b"user", b"planted", b"known", ctypes.c_long(5), ctypes.c_long(PROCESS_KEYRING))
    return read_key(mine)


def keyring() -> str:
    """Keys of others that can be read, but for what systemd leaves in each unit's keyring (systemd.exec(5))."""
    found = []
    for line in Path("/proc/keys").read_text().splitlines():
        number, *_, kind, description = line.split(maxsplit=8)
        if kind not in ("user", "logon", "encrypted", "trusted") or description.startswith("invocation_id"):
            continue
        try:
            read_key(int(number, 16))
            found.append(description)
        except OSError:
            continue
    return nothing(found)


def read_key(number: int) -> int:
    size = ctypes.c_long(KEY_BYTES)
    buffer = ctypes.create_string_buffer(KEY_BYTES)
    return called(KEYCTL, ctypes.c_long(READ_KEY), ctypes.c_long(number), buffer, size, ctypes.c_long(0))


def state_unsealed_again() -> str:
    """Ask the TPM for the state volume's key by the box's own code, which got it earlier in this boot."""
    appliance()
    from sealwright_appliance.binding import load_binding  # noqa: PLC0415  only where the TPM can be opened
    from sealwright_appliance.paths import Paths  # noqa: PLC0415
    from sealwright_appliance.state_volume import unseal_state  # noqa: PLC0415
    from sealwright_appliance.tpm_provision import open_provisioned_tpm  # noqa: PLC0415
    from sealwright_policies.appraisal.release import read_unverified_release  # noqa: PLC0415
    from sealwright_policies.errors import OperationError  # noqa: PLC0415

    paths = Paths()
    content(paths.agents_binding)
    bound = load_binding(paths.agents_binding)
    assert bound is not None
    release = read_unverified_release(paths.manifest.read_bytes())
    with open_provisioned_tpm(paths.tcti) as tpm:
        try:
            unseal_state(tpm, bound, release.release_id)
        except OperationError as error:
            raise by_the_tpm(str(error)) from None
    return "the state volume's key"


def volumes_unsealed_again() -> str:
    """The same for the volume keys of the models, by the leases and shares on the state volume."""
    appliance()
    from sealwright_appliance.lease_store import LeaseStore  # noqa: PLC0415
    from sealwright_appliance.paths import Paths  # noqa: PLC0415
    from sealwright_appliance.payloads import UnsealRefusedError, lease_volume_keys  # noqa: PLC0415
    from sealwright_appliance.release_files import load_service  # noqa: PLC0415
    from sealwright_appliance.status import release_status  # noqa: PLC0415
    from sealwright_appliance.tpm_provision import open_provisioned_tpm  # noqa: PLC0415
    from sealwright_policies.appraisal.release import read_unverified_release  # noqa: PLC0415

    paths = Paths()
    nothing([path.name for path in paths.leases.iterdir()])
    release = read_unverified_release(paths.manifest.read_bytes())
    store = LeaseStore(paths.leases, paths.shares, paths.identity, load_service(paths), release_status(release))
    with open_provisioned_tpm(paths.tcti) as tpm:
        (lease, *_) = store.load_leases()
        try:
            keys = lease_volume_keys(tpm, release, store, lease)
        except UnsealRefusedError as error:
            raise refused(" ".join(obstacle.sentence for obstacle in error.obstacles)) from None
    return nothing(sorted(keys))


def domain_key_unsealed_again() -> str:
    """The same for the key of what domains have on the state volume, by the release key's word for the boot that made
    it: this one. The box's own code would not ask, since it sees what is in the PCRs."""
    appliance()
    kept = (STATE / "domain-key.json").read_bytes()
    from sealwright_appliance.domain_key import LIMIT, StoredDomainKey  # noqa: PLC0415
    from sealwright_appliance.paths import Paths  # noqa: PLC0415
    from sealwright_appliance.tpm_errors import TpmError  # noqa: PLC0415
    from sealwright_appliance.tpm_provision import open_provisioned_tpm  # noqa: PLC0415
    from sealwright_appliance.tpm_unseal import Authorization, SealedObject, state_assertions, unseal  # noqa: PLC0415
    from sealwright_policies.tcg.policy import external_signing_key  # noqa: PLC0415
    from sealwright_policies.wire.encoding import parse_json, pcr_bytes  # noqa: PLC0415
    from sealwright_policies.wire.envelope import load_p256_public_key  # noqa: PLC0415
    from sealwright_policies.wire.framing import domain_key_id, release_share_reference  # noqa: PLC0415
    from sealwright_policies.wire.release_approval import release_approval_policy  # noqa: PLC0415

    paths, stored = Paths(), parse_json(StoredDomainKey, kept, limit=LIMIT)
    pcrs = pcr_bytes(stored.made_in.pcrs)
    authorization = Authorization(
        key=external_signing_key(load_p256_public_key(paths.release_key.read_text())),
        policy_ref=release_share_reference(domain_key_id()),
        approved_policy=release_approval_policy(pcrs),
        signature=stored.made_in.signature,
    )
    sealed = SealedObject(stored.public, stored.private)
    with open_provisioned_tpm(paths.tcti) as tpm:
        try:
            unseal(tpm.device, tpm.srk, sealed, state_assertions(pcrs), authorization, srk_name=tpm.srk.public.name)
        except TpmError as error:
            raise by_the_tpm(str(error)) from None
    return "the key of domains"


def appliance() -> None:
    """Make the box's own packages importable, where there is a TPM to open."""
    content(TPM_DEVICE, os.O_RDWR)
    os.environ["TSS2_LOG"] = "all+NONE"
    sys.path.insert(0, "/usr/lib/sealwright/python")


def by_the_tpm(sentence: str) -> OSError:
    """Only a response code of the TPM is a refusal; else the attempt was none."""
    if "TPM_RC_" not in sentence:
        raise AssertionError(sentence)
    return refused(sentence)


def tpm_command(code: int, handle: int, parameters: bytes) -> str:
    """A command with an empty password, straight to the device.

    Raises:
        PermissionError: the TPM refuses.
    """
    authorization = struct.pack(">IHBH", PASSWORD, 0, 0, 0)
    body = struct.pack(">II", handle, len(authorization)) + authorization + parameters
    descriptor = os.open(TPM_DEVICE, os.O_RDWR)
    try:
        os.write(descriptor, struct.pack(">HII", SESSIONS, 10 + len(body), code) + body)
        _, _, response = struct.unpack(">HII", os.read(descriptor, 4096)[:10])
    finally:
        os.close(descriptor)
    if response:
        raise refused(f"response code {response:#x}")
    return f"PCR {handle}"


def extended(pcr: int) -> str:
    return tpm_command(EXTEND, pcr, struct.pack(">IH", 1, SHA256) + bytes(32))


def extended_by_nothing(pcr: int) -> str:
    """By no digest at all: who may do that may extend. Later attempts find the PCR as it was."""
    return tpm_command(EXTEND, pcr, struct.pack(">I", 0))


def reset(pcr: int) -> str:
    return tpm_command(RESET, pcr, b"")


def reset_any_of_the_boot() -> str:
    """All of them: whoever takes back one measures another boot into it."""
    done = []
    for pcr in BOOT_PCRS:
        with suppress(PermissionError):
            done.append(reset(pcr))
    if not done:
        raise refused("no PCR of the boot")
    return " ".join(done)


def spoiling(other: str) -> dict[str, Callable[[], str]]:
    """Extend what keys hang on, and ask for them once more: the last attempts of a boot."""
    return {
        **{f"extend-pcr-{pcr}": partial(extended, pcr) for pcr in (11, 12, UNLOCK_PCR)},
        **{name: attempts(other)[name] for name in UNSEALS},
    }


def attempts(other: str) -> dict[str, Callable[[], str]]:
    return {
        "state-volume-key": lambda: volume_key("sealwright-state"),
        "payload-volume-key": lambda: volume_key(f"sealwright-crypt-{other}"),
        "own-volume-key": own_volume_key,
        "own-key": lambda: f"{own_key()} bytes",
        "keyring": keyring,
        "unseal-state-again": state_unsealed_again,
        "unseal-volumes-again": volumes_unsealed_again,
        "unseal-domain-key-again": domain_key_unsealed_again,
        "extend-pcr": lambda: extended(DEBUG_PCR),
        "extend-pcr-4": lambda: extended_by_nothing(4),
        "extend-pcr-7": lambda: extended_by_nothing(7),
        "extend-pcr-11": lambda: extended_by_nothing(11),
        "extend-pcr-12": lambda: extended_by_nothing(12),
        "extend-pcr-13": lambda: extended_by_nothing(13),
        "extend-pcr-15": lambda: extended_by_nothing(UNLOCK_PCR),
        "reset-debug-pcr": lambda: reset(DEBUG_PCR),
        "reset-pcr-15": lambda: reset(UNLOCK_PCR),
        "reset-boot-pcr": reset_any_of_the_boot,
    }
