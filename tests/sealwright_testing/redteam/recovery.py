"""A state volume as its owner reads it with the recovery key, on a machine of their own (LUKS2 On-Disk Format 1.1.3).

cryptsetup gives the volume key out; the data are deciphered here, since a device would have to be mapped for it.
"""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import XTS

from sealwright_appliance.volumes import DATA_OFFSET, STATE_SECTOR_SIZE
from sealwright_testing.tools_root import ToolsRoot

IV_UNIT = 512
"""Bytes: dm-crypt's ``plain64`` counts these, whatever the sectors."""


def deciphered(volume: bytes, recovery_key: str, folder: Path) -> bytes:
    """The file system on a volume. What was never written stays zero."""
    head, passphrase, key = folder / "head", folder / "recovery-key", folder / "volume-key"
    head.write_bytes(volume[: 2 * DATA_OFFSET])
    passphrase.write_text(recovery_key)
    dump = ("cryptsetup", "luksDump", "--batch-mode", "--dump-volume-key", "--volume-key-file", key)
    ToolsRoot.find().run_inside(*dump, "--key-file", passphrase, head, binds=[folder])
    cipher, zeros = AES(key.read_bytes()), bytes(STATE_SECTOR_SIZE)
    plain = bytearray(len(volume) - DATA_OFFSET)
    for at in range(0, len(plain), STATE_SECTOR_SIZE):
        sector = volume[DATA_OFFSET + at : DATA_OFFSET + at + STATE_SECTOR_SIZE]
        if sector != zeros:
            tweak = (at // IV_UNIT).to_bytes(16, "little")
            plain[at : at + STATE_SECTOR_SIZE] = Cipher(cipher, XTS(tweak)).decryptor().update(sector)
    return bytes(plain)
