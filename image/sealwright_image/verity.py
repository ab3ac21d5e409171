"""dm-verity trees of payload partitions: SHA-256, 4096-byte blocks, appended to the data, no superblock.

The salt is drawn at random for every partition. The root hash is the partition's id, and ids must not repeat: with a
fixed salt, two builds of one model would share an id while having different key shares, and the release key's word for
the one would count for the other. An image that was packed once (workload_image.py) has one id in all builds, and may:
it is the same bytes, which whoever has that word opens anyway.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from sealwright_image.run import Tools
from sealwright_policies.appraisal.reference_values import Verity
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError

BLOCK = 4096
DIGEST = 32
"""Bytes of SHA-256."""
PADDING_LIMIT = 1024 * 1024
"""Bytes; fewer zeros stand behind a tree, to the next whole MiB."""
_DIGESTS_PER_BLOCK = BLOCK // DIGEST


def draw_salt() -> bytes:
    """A new salt, 32 bytes."""
    return secrets.token_bytes(32)


def tree_blocks(data_blocks: int) -> int:
    """Blocks of the hash tree over that many data blocks."""
    total, level = 0, data_blocks
    while level > 1 or total == 0:
        level = -(-level // _DIGESTS_PER_BLOCK)
        total += level
    return total


def append_tree(tools: Tools, image: Path, salt: bytes) -> Verity:
    """Append the hash tree to an image and return all its parameters.

    Args:
        tools: The tools root.
        image: The data, a whole number of blocks.
        salt: 32 bytes.
    """
    size = image.stat().st_size
    if size % BLOCK:
        raise OperationError(f"{image}: {size} bytes are not whole {BLOCK}-byte blocks.")
    root_hash_file = image.with_suffix(".roothash")
    tools.run(
        [
            "veritysetup",
            "format",
            *_parameters(size, salt.hex()),
            f"--root-hash-file={root_hash_file}",
            image,
            image,
        ],
        binds=[image.parent],
    )
    root_hash = root_hash_file.read_text("ascii").strip()
    root_hash_file.unlink()
    return Verity(
        root_hash=root_hash,
        salt=salt.hex(),
        hash_algorithm="sha256",
        data_block_size=4096,
        hash_block_size=4096,
        data_blocks=size // BLOCK,
        hash_offset=size,
    )


def verify_tree(tools: Tools, image: Path, verity: Verity) -> None:
    """Check every block of a decrypted partition against its root hash.

    Raises:
        OperationError: a block differs, or the tool failed.
    """
    parameters = _parameters(verity.hash_offset, verity.salt)
    tools.run(["veritysetup", "verify", *parameters, image, image, verity.root_hash], binds=[image.parent])


def require_tree(image: Path, verity: Verity) -> None:
    """Check an image in the clear against its root hash, block by block, without any tool: for whoever is to sign it.

    Raises:
        VerificationError: MANIFEST_MISMATCH, it is not the image of that root hash.
        OSError: it cannot be read.
    """
    salt = bytes.fromhex(verity.salt)
    with image.open("rb") as stream:
        levels = [_hashes(iter(lambda: stream.read(BLOCK), b""), salt, verity.data_blocks)]
        while len(levels) == 1 or len(levels[-1]) > DIGEST:
            blocks = (levels[-1][at : at + BLOCK] for at in range(0, len(levels[-1]), BLOCK))
            levels.append(_hashes(blocks, salt))
        # The tree: from the level below the root hash to the one above the data (dm-verity format 1).
        stream.seek(verity.hash_offset)
        tree = b"".join(_whole_blocks(level) for level in reversed(levels[:-1]))
        same = stream.read(len(tree)) == tree
        behind = stream.read(PADDING_LIMIT)
    placed = verity.hash_offset == verity.data_blocks * BLOCK
    padded = len(behind) < PADDING_LIMIT and not behind.strip(b"\0")
    if levels[-1].hex() != verity.root_hash or not (placed and same and padded):
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH, f"{image} is not the image of root hash {verity.root_hash[:16]}."
        )


def _hashes(blocks: Iterator[bytes], salt: bytes, most: int | None = None) -> bytes:
    return b"".join(hashlib.sha256(salt + block.ljust(BLOCK, b"\0")).digest() for block in islice(blocks, most))


def _whole_blocks(level: bytes) -> bytes:
    return level.ljust(-(-len(level) // BLOCK) * BLOCK, b"\0")


def _parameters(data_size: int, salt: str) -> list[str]:
    return [
        "--no-superblock",
        "--format=1",
        "--hash=sha256",
        f"--data-block-size={BLOCK}",
        f"--hash-block-size={BLOCK}",
        f"--data-blocks={data_size // BLOCK}",
        f"--hash-offset={data_size}",
        f"--salt={salt}",
    ]
