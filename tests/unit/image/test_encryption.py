"""Plain dm-crypt without device-mapper: checked against the cryptography package, which shares no code with it."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealwright_image.config import PayloadConfig
from sealwright_image.custodians import load_custodians
from sealwright_image.dm_crypt import CHUNK, Extent, encrypt_extent
from sealwright_image.payload_partition import PlainPartition, seal_partition
from sealwright_image.shares import VolumeKey, draw_shares
from sealwright_policies.appraisal.reference_values import PayloadKind, Verity
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.custodian_wrap import unwrap_share
from sealwright_policies.wire.volume_key import derive_volume_key, key_check
from sealwright_testing.evidence_factory import payload_fields
from sealwright_testing.image_inputs import write_service

PARTITION_ID = bytes(range(32))
BEFORE = 8192
"""Bytes of the disk before the partition."""


def decrypt(ciphertext: bytes, key: bytes) -> bytes:
    """As dm-crypt reads aes-xts-plain64 with 4096-byte sectors and no iv_large_sectors."""
    plain = b""
    for offset in range(0, len(ciphertext), 4096):
        tweak = (offset // 512).to_bytes(16, "little")
        plain += Cipher(algorithms.AES(key), modes.XTS(tweak)).decryptor().update(ciphertext[offset : offset + 4096])
    return plain


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("size", [4096, CHUNK, 2 * CHUNK + 12288])
def test_the_ciphertext_is_what_dm_crypt_reads(tmp_path: Path, size: int, workers: int) -> None:
    plain, disk, key = os.urandom(size), tmp_path / "disk", VolumeKey(os.urandom(64))
    (tmp_path / "plain").write_bytes(plain)
    disk.write_bytes(b"\xaa" * (BEFORE + size + 4096))
    advanced: list[int] = []
    extent = Extent(tmp_path / "plain", disk, BEFORE, size)
    digest = encrypt_extent(extent, key, workers=workers, advance=advanced.append)
    content = disk.read_bytes()
    ciphertext = content[BEFORE : BEFORE + size]
    assert decrypt(ciphertext, key.value) == plain
    assert digest == hashlib.sha256(ciphertext).hexdigest()
    assert content[:BEFORE] + content[BEFORE + size :] == b"\xaa" * (BEFORE + 4096)
    assert sum(advanced) == size


def test_part_of_a_sector_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(bytes(5000))
    with pytest.raises(OperationError, match="not whole 4096-byte sectors"):
        encrypt_extent(Extent(tmp_path / "plain", tmp_path / "disk", 0, 5000), VolumeKey(os.urandom(64)))


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(bytes(8192))
    with pytest.raises(OperationError, match="No space left on device"):
        encrypt_extent(Extent(tmp_path / "plain", Path("/dev/full"), 0, 8192), VolumeKey(os.urandom(64)))


def test_a_source_that_shrinks_is_told(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(bytes(4096))
    (tmp_path / "disk").touch()
    with pytest.raises(OperationError, match="cannot be written"):
        encrypt_extent(Extent(tmp_path / "plain", tmp_path / "disk", 0, 8192), VolumeKey(os.urandom(64)), workers=1)


def test_secrets_do_not_show() -> None:
    shares = draw_shares()
    key = shares.volume_key(PARTITION_ID, None)
    for secret in (shares.lease, shares.release, key.value):
        for text in (repr(shares), str(shares), repr(key), f"{key}"):
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text


def test_every_build_draws_new_shares() -> None:
    assert len({share for _ in range(8) for share in (draw_shares().lease, draw_shares().release)}) == 16


def test_wrapped_shares_give_the_volume_key_to_both_custodians_together_only(tmp_path: Path) -> None:
    keys = write_service(tmp_path / "service.json")
    shares = draw_shares()
    wrapped = shares.wrap(load_custodians(tmp_path / "service.json"), PARTITION_ID)
    assert wrapped.partition_id == PARTITION_ID.hex()
    lease, release = keys.lease_custodian, keys.release_custodian
    lease_share = unwrap_share(
        lambda point: lease.exchange(ec.ECDH(), point),
        lease.public_key(),
        wrapped.lease_share,
        partition_id=PARTITION_ID,
        name="lease",
    )
    release_share = unwrap_share(
        lambda point: release.exchange(ec.ECDH(), point),
        release.public_key(),
        wrapped.release_share,
        partition_id=PARTITION_ID,
        name="release",
    )
    key = derive_volume_key(lease_share, release_share, PARTITION_ID, None)
    assert key == shares.volume_key(PARTITION_ID, None).value
    text = wrapped.model_dump_json()
    assert shares.lease.hex() not in text
    assert shares.release.hex() not in text


def test_a_sealed_partition_says_which_key_it_was_sealed_with(tmp_path: Path) -> None:
    """The licence service holds the shares of a release against it."""
    write_service(tmp_path / "service.json")
    for name in ("plain", "license"):
        (tmp_path / name).write_bytes(bytes(4096))
    (tmp_path / "disk").touch()
    verity = Verity(**payload_fields(PARTITION_ID.hex())["verity"])
    payload = PayloadConfig("medical", PayloadKind.MODEL, "medical", tmp_path, tmp_path / "license")
    shares = draw_shares()
    sealed = seal_partition(
        PlainPartition(tmp_path / "plain", 4096, verity, ""),
        payload,
        shares,
        load_custodians(tmp_path / "service.json"),
        disk=tmp_path / "disk",
        offset=0,
        identity=uuid.UUID(int=1),
        owner_key_id=None,
    )
    assert sealed.payload.key_check == key_check(shares.volume_key(PARTITION_ID, None).value, PARTITION_ID)
