"""One encrypted partition: erofs with its verity tree inside plain dm-crypt (policies/spec/manifest.md, 2).

    payload ─▶ erofs ─▶ ‖ verity tree ‖ zeros to a whole MiB ─▶ AES-256-XTS ─▶ its place in the disk image

Constant memory throughout. The plaintext image lies in the work folder until it is encrypted, then it is deleted.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.config import PayloadConfig
from sealwright_image.context import Context
from sealwright_image.custodians import Custodians
from sealwright_image.dm_crypt import DM_CRYPT, Extent, encrypt_extent
from sealwright_image.erofs import FileDigest, make_erofs, stage_file
from sealwright_image.payload_tree import stage_root, stage_tree, tree_bytes
from sealwright_image.shares import KeyShares
from sealwright_image.verity import append_tree, draw_salt, tree_blocks
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares, Payload, PayloadKind, Verity
from sealwright_policies.wire.volume_key import key_check

MIB = 1024 * 1024
MODEL_FILE = "model.gguf"
LICENSE_LIMIT = 256 * 1024
"""Bytes of the longest licence text."""


@dataclass(frozen=True, slots=True)
class PlainPartition:
    """The content of a partition before encryption."""

    image: Path
    size: int
    """Bytes, whole MiB."""
    verity: Verity
    content_sha256: str
    """Of a model file as it was packed; of the whole file system where the payload is a folder."""

    @property
    def partition_id(self) -> bytes:
        return bytes.fromhex(self.verity.root_hash)


@dataclass(frozen=True, slots=True)
class SealedPartition:
    """What remains of an encrypted partition beside its ciphertext."""

    payload: Payload
    shares: PartitionWrappedShares
    offset: int
    """Bytes from the start of the disk."""
    content_sha256: str


def whole_mib(size: int) -> int:
    """Round up to whole MiB, the alignment of partitions."""
    return -(-size // MIB) * MIB


def predicted_size(file_sizes: int) -> int:
    """Upper bound for a partition that holds files of this size together, bytes."""
    blocks = -(-file_sizes // 4096) + 16
    return whole_mib((blocks + tree_blocks(blocks)) * 4096) + MIB


def build_plain_partition(context: Context, payload: PayloadConfig, identity: uuid.UUID) -> PlainPartition:
    """Pack a payload and append its verity tree, in the work folder."""
    return pack_payload(context, payload.kind, payload.path, context.work / f"{payload.payload_id}.plain", identity)


def pack_payload(context: Context, kind: PayloadKind, source: Path, image: Path, identity: uuid.UUID) -> PlainPartition:
    """Pack a model's file or a folder into an image with its verity tree; what is staged lies in the work folder."""
    stage = context.work / f"{image.stem}.stage"
    stage.mkdir()
    if kind is PayloadKind.MODEL:
        stage_file(source, stage / MODEL_FILE)
    elif kind is PayloadKind.WORKLOAD:
        stage_root(source, stage)
    else:
        stage_tree(source, stage)
    size = tree_bytes(stage)
    with context.progress.step(f"{image.stem}: file system", size):
        digest = FileDigest(stage / MODEL_FILE) if kind is PayloadKind.MODEL else None
        make_erofs(context.tools, stage, image, identity, context.epoch)
        content_sha256 = (digest or FileDigest(image)).result()
    shutil.rmtree(stage)
    with context.progress.step(f"{image.stem}: integrity tree", size):
        verity = append_tree(context.tools, image, draw_salt())
    whole = whole_mib(image.stat().st_size)
    with image.open("r+b") as stream:
        stream.truncate(whole)
    return PlainPartition(image, whole, verity, content_sha256)


def seal_partition(
    plain: PlainPartition,
    payload: PayloadConfig,
    shares: KeyShares,
    custodians: Custodians,
    *,
    disk: Path,
    offset: int,
    identity: uuid.UUID,
    owner_key_id: bytes | None,
    advance: Callable[[int], object] = lambda _: None,
) -> SealedPartition:
    """Encrypt a partition into its place on the disk and delete its plaintext.

    Args:
        owner_key_id: of the key that the payload's domain names; the volume key is bound to it.
    """
    extent = Extent(plain.image, disk, offset, plain.size)
    key = shares.volume_key(plain.partition_id, owner_key_id)
    ciphertext_sha256 = encrypt_extent(extent, key, advance=advance)
    plain.image.unlink()
    description = Payload(
        payload_id=payload.payload_id,
        kind=payload.kind,
        domain=payload.domain,
        partition_label=payload.partition_label,
        partition_uuid=str(identity),
        size=plain.size,
        file_system="erofs",
        file_name=MODEL_FILE if payload.kind is PayloadKind.MODEL else "",
        license_text=payload.license.read_text("utf-8"),
        ciphertext_sha256=ciphertext_sha256,
        key_check=key_check(key.value, plain.partition_id),
        dm_crypt=DM_CRYPT,
        verity=plain.verity,
    )
    return SealedPartition(description, shares.wrap(custodians, plain.partition_id), offset, plain.content_sha256)
