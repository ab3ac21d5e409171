"""A log of a few entries with one release in it, made without a service."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, sign_checkpoint
from sealwright_policies.transparency.entries import entry_bytes, release_entry
from sealwright_policies.transparency.merkle import Frontier, inclusion_proof, leaf_hash
from sealwright_policies.transparency.release_proof import ReleaseProof

PLACE, SIZE = 2, 5


def release_proof(
    key: Ed25519PrivateKey,
    release_id: str,
    *,
    service_id: str = "service-1",
    product: str = "sealed-advisor",
    product_version: str = "1.0",
) -> ReleaseProof:
    """The proof that a log signed by this key gives for a release."""
    entries = [b"entry %d" % number for number in range(SIZE)]
    entries[PLACE] = entry_bytes(release_entry(release_id, product, product_version))
    frontier = Frontier()
    nodes = {(node.level, node.index): node.hash for entry in entries for node in frontier.append(leaf_hash(entry))}
    path = inclusion_proof(lambda level, index: nodes[level, index], PLACE, SIZE)
    return ReleaseProof(
        product=product,
        product_version=product_version,
        index=PLACE,
        path=[one.hex() for one in path],
        checkpoint=sign_checkpoint(Checkpoint(log_origin(service_id), SIZE, frontier.root()), key),
    )
