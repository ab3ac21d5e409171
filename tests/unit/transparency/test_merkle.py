"""The log's tree against RFC 6962's definition, and its proofs against everything that is not so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.transparency.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    frontier_of,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
"""Leaves of the reference tree in Certificate Transparency's own tests (google/certificate-transparency)."""
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
MOST = 70


class Log:
    """A tree in memory."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = list(entries)
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.roots = [EMPTY_ROOT]
        frontier = Frontier()
        for entry in entries:
            for node in frontier.append(leaf_hash(entry)):
                self.nodes[node.level, node.index] = node.hash
            self.roots.append(frontier.root())

    def read(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


LOG = Log([bytes([number]) for number in range(MOST)])


def mth(entries: Sequence[bytes]) -> bytes:
    """RFC 6962, 2.1, as it is written there."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + mth(entries[:k]) + mth(entries[k:])).digest()


def refused(*arguments: object, of: object) -> None:
    with pytest.raises(VerificationError) as error:
        of(*arguments)  # type: ignore[operator]
    assert error.value.code is RejectionCode.LOG_PROOF_INVALID


def test_roots_are_those_of_certificate_transparency() -> None:
    log = Log(ENTRIES)

    assert [root.hex() for root in log.roots[1:]] == ROOTS
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.lists(st.binary(max_size=4), max_size=40))
def test_roots_are_those_of_the_definition(entries: list[bytes]) -> None:
    log = Log(entries)

    assert log.roots == [mth(entries[:size]) for size in range(len(entries) + 1)]


@pytest.mark.parametrize("size", range(MOST))
def test_a_frontier_read_back_goes_on_with_the_same_tree(size: int) -> None:
    """What is stored of a log is enough to append to it."""
    frontier = Frontier(size, [LOG.read(*place) for place in frontier_of(size)])

    assert frontier.root() == LOG.roots[size]
    for node in frontier.append(leaf_hash(bytes([size]))):
        assert node.hash == LOG.read(node.level, node.index)
    assert frontier.root() == LOG.roots[size + 1]


@pytest.mark.parametrize("size", range(1, MOST + 1))
def test_every_entry_has_a_proof_in_every_tree(size: int) -> None:
    for index in range(size):
        path = inclusion_proof(LOG.read, index, size)
        verify_inclusion(leaf_hash(LOG.entries[index]), index, size, path, LOG.roots[size])


@pytest.mark.parametrize("second", range(MOST + 1))
def test_every_tree_is_consistent_with_every_earlier_one(second: int) -> None:
    for first in range(second + 1):
        path = consistency_proof(LOG.read, first, second)
        verify_consistency(first, second, LOG.roots[first], LOG.roots[second], path)


@given(st.data())
def test_a_proof_shows_nothing_else(data: st.DataObject) -> None:
    """Another entry, place, size, root or path is refused."""
    size = data.draw(st.integers(2, MOST))
    index = data.draw(st.integers(0, size - 1))
    path, root, leaf = inclusion_proof(LOG.read, index, size), LOG.roots[size], leaf_hash(LOG.entries[index])

    refused(leaf_hash(b"other"), index, size, path, root, of=verify_inclusion)
    other = data.draw(st.integers(-1, MOST).filter(lambda number: number != index))
    refused(leaf, other, size, path, root, of=verify_inclusion)
    refused(leaf, index, size, path, LOG.roots[size - 1], of=verify_inclusion)
    refused(leaf, index, size, path[:-1], root, of=verify_inclusion)
    refused(leaf, index, size, [*path, bytes(32)], root, of=verify_inclusion)
    refused(leaf, index, size, path * 63, root, of=verify_inclusion)
    damaged = data.draw(st.integers(0, len(path) - 1))
    refused(leaf, index, size, [*path[:damaged], bytes(32), *path[damaged + 1 :]], root, of=verify_inclusion)


@given(st.data())
def test_a_consistency_proof_shows_nothing_else(data: st.DataObject) -> None:
    second = data.draw(st.integers(2, MOST))
    first = data.draw(st.integers(1, second - 1))
    path = consistency_proof(LOG.read, first, second)
    old, new = LOG.roots[first], LOG.roots[second]

    refused(first, second, node_hash(old, old), new, path, of=verify_consistency)
    refused(first, second, old, node_hash(new, new), path, of=verify_consistency)
    refused(first, second, old, new, path[:-1], of=verify_consistency)
    refused(first, second, old, new, [*path, bytes(32)], of=verify_consistency)
    refused(first, second, old, new, [], of=verify_consistency)
    refused(second, first, new, old, path, of=verify_consistency)
    damaged = data.draw(st.integers(0, len(path) - 1))
    refused(first, second, old, new, [*path[:damaged], bytes(32), *path[damaged + 1 :]], of=verify_consistency)


def test_two_roots_of_one_size_are_a_split_view() -> None:
    refused(5, 5, LOG.roots[5], LOG.roots[6], [], of=verify_consistency)
    refused(5, 5, LOG.roots[5], LOG.roots[5], [bytes(32)], of=verify_consistency)
    refused(0, 5, LOG.roots[1], LOG.roots[5], [], of=verify_consistency)
    refused(0, 5, EMPTY_ROOT, LOG.roots[5], [bytes(32)], of=verify_consistency)


def test_a_proof_in_a_smaller_tree_is_none_in_a_larger_one() -> None:
    """The root alone does not say how large its tree is."""
    path = inclusion_proof(LOG.read, 0, 4)
    verify_inclusion(leaf_hash(LOG.entries[0]), 0, 4, path, LOG.roots[4])
    refused(leaf_hash(LOG.entries[0]), 0, 8, path, LOG.roots[4], of=verify_inclusion)

    steps = consistency_proof(LOG.read, 2, 4)
    verify_consistency(2, 4, LOG.roots[2], LOG.roots[4], steps)
    refused(2, 8, LOG.roots[2], LOG.roots[4], steps, of=verify_consistency)


def test_a_leaf_is_no_node() -> None:
    """The prefixes keep two inner hashes from passing as one entry."""
    two = Log([b"a", b"b"])
    forged = leaf_hash(b"a") + leaf_hash(b"b")

    refused(leaf_hash(forged), 0, 1, [], two.roots[2], of=verify_inclusion)


@given(
    st.integers(-(2**70), 2**70),
    st.integers(-(2**70), 2**70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=80),
)
def test_no_proof_of_any_shape_raises_anything_else(first: int, second: int, path: list[bytes]) -> None:
    refused(bytes(32), first, second, path, b"", of=verify_inclusion)
    refused(first, second, b"old", b"new", path, of=verify_consistency)
