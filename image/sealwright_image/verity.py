"""dm-verity trees of payload partitions: SHA-256, 4096-byte blocks, appended to the data, no superblock.

The salt is drawn at random for every partition. The root hash is the partition's id, and ids must not repeat: with a
fixed salt, two builds of one model would share an id while having different key shares, and the release key's word for
the one would count for the other.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from sealwright_image.run import Tools
from sealwright_policies.appraisal.reference_values import Verity
from sealwright_policies.errors import OperationError

BLOCK = 4096
_DIGESTS_PER_BLOCK = BLOCK // 32


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
