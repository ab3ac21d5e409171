"""The Merkle tree of the log (policies/spec/transparency.md, 1 and 3): hashes, proofs and their verification.

Proofs are made from the hashes of perfect subtrees, which the caller reads from wherever they are stored. What this
does not do: vouch for a root, which is a checkpoint's part (:mod:`.checkpoint`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sealwright_policies.errors import RejectionCode, VerificationError

HASH_SIZE = 32
MOST_ENTRIES = 2**62
"""A log has fewer; bounds what a proof may claim before anything is computed."""
MOST_INCLUSION_HASHES = 62
MOST_CONSISTENCY_HASHES = 63

EMPTY_ROOT = hashlib.sha256().digest()

ReadNode = Callable[[int, int], bytes]
"""The hash of the perfect subtree at (level, index)."""


@dataclass(frozen=True, slots=True)
class Node:
    """The hash of a perfect subtree."""

    level: int
    index: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Hash of an entry as a leaf."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The perfect subtrees that a log of some size consists of: all that appending to it needs."""

    def __init__(self, size: int = 0, nodes: Iterable[bytes] = ()) -> None:
        """``nodes`` as :func:`frontier_of` lists them."""
        self.size = size
        self._nodes = list(nodes)

    def append(self, leaf: bytes) -> Iterator[Node]:
        """Append a leaf's hash; gives the perfect subtrees that it completes, itself first."""
        level, index, found = 0, self.size, leaf
        yield Node(level, index, found)
        while index & 1:
            level, index, found = level + 1, index >> 1, node_hash(self._nodes.pop(), found)
            yield Node(level, index, found)
        self._nodes.append(found)
        self.size += 1

    def root(self) -> bytes:
        """Root of the tree."""
        return _folded(self._nodes)


def frontier_of(size: int) -> list[tuple[int, int]]:
    """Level and index of each perfect subtree that a log of this size consists of, largest first."""
    return list(_perfect_subtrees(0, size))


def inclusion_proof(read: ReadNode, index: int, size: int) -> list[bytes]:
    """The inclusion proof of an entry in the tree of a size (RFC 9162, 2.1.3.1)."""
    return [_range_root(read, *part) for part in _inclusion_parts(index, size)]


def nodes_of_inclusion(index: int, size: int) -> list[tuple[int, int]]:
    """Level and index of each perfect subtree that the proof is made from."""
    return [place for part in _inclusion_parts(index, size) for place in _perfect_subtrees(*part)]


def consistency_proof(read: ReadNode, first: int, second: int) -> list[bytes]:
    """The proof that the tree of the second size has that of the first as its beginning (RFC 9162, 2.1.4.1)."""
    return [_range_root(read, *part) for part in _consistency_parts(first, second)]


def nodes_of_consistency(first: int, second: int) -> list[tuple[int, int]]:
    """Level and index of each perfect subtree that the proof is made from."""
    return [place for part in _consistency_parts(first, second) for place in _perfect_subtrees(*part)]


def root_at(read: ReadNode, size: int) -> bytes:
    """The root of the tree of a size, which may be smaller than the log."""
    return _range_root(read, 0, size)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Verify that a leaf is in the tree (RFC 9162, 2.1.3.2).

    Args:
        leaf: its hash.

    Raises:
        VerificationError: ``LOG_PROOF_INVALID``.
    """
    if not 0 <= index < size < MOST_ENTRIES or len(path) > MOST_INCLUSION_HASHES:
        raise _invalid("the entry is beyond the log's end")
    fn, sn, found = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            raise _invalid("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            found = node_hash(sibling, found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            found = node_hash(found, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or found != root:
        raise _invalid("the inclusion proof does not lead from the entry to the checkpoint's root")


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, path: Sequence[bytes]) -> None:
    """Verify that the second tree has the first as its beginning (RFC 9162, 2.1.4.2).

    Raises:
        VerificationError: ``LOG_PROOF_INVALID``.
    """
    if not 0 <= first <= second < MOST_ENTRIES or len(path) > MOST_CONSISTENCY_HASHES:
        raise _invalid("the earlier log is larger than the later one")
    if first in (0, second):
        expected = EMPTY_ROOT if first == 0 else second_root
        if path or first_root != expected:
            raise _invalid("the two checkpoints are of one size and have different roots")
        return
    hashes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not hashes:
        raise _invalid("the consistency proof is too short")
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    earlier = later = hashes[0]
    for sibling in hashes[1:]:
        if sn == 0:
            raise _invalid("the consistency proof is too long")
        if fn & 1 or fn == sn:
            earlier, later = node_hash(sibling, earlier), node_hash(sibling, later)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            later = node_hash(later, sibling)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0 or earlier != first_root or later != second_root:
        raise _invalid("the later log does not begin with the earlier one")


def _inclusion_parts(index: int, size: int) -> list[tuple[int, int]]:
    """PATH of RFC 9162 as ranges of entries, in the proof's order."""
    parts: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((start, middle))
            start = middle
    return parts[::-1]


def _consistency_parts(first: int, second: int) -> list[tuple[int, int]]:
    """SUBPROOF of RFC 9162 as ranges of entries, in the proof's order."""
    if first in (0, second):
        return []
    parts: list[tuple[int, int]] = []
    start, end, is_known = 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((start, middle))
            start, is_known = middle, False
    if not is_known:
        parts.append((start, end))
    return parts[::-1]


def _split(size: int) -> int:
    """The largest power of two below the size."""
    return 1 << (size - 1).bit_length() - 1


def _perfect_subtrees(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Those that [start, end) consists of; ``start`` is a multiple of every one's size."""
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def _range_root(read: ReadNode, start: int, end: int) -> bytes:
    return _folded([read(level, index) for level, index in _perfect_subtrees(start, end)])


def _folded(nodes: Sequence[bytes]) -> bytes:
    if not nodes:
        return EMPTY_ROOT
    root = nodes[-1]
    for left in reversed(nodes[:-1]):
        root = node_hash(left, root)
    return root


def _invalid(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.LOG_PROOF_INVALID, sentence)
