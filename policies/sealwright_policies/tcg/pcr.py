"""Platform Configuration Registers: their initial values, extending, and selections as people write them.

TCG PC Client Platform TPM Profile 1.05, 4.6: PCR 0–16 and 23 begin as zeros at TPM2_Startup(CLEAR), PCR 17–22 as ones
until a dynamic launch makes them zeros.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sealwright_policies.errors import FormatError, UnsupportedError, UsageError
from sealwright_policies.tcg.algorithms import DIGEST_SIZES, AlgorithmId, algorithm_name, hash_available, hash_bytes

__all__ = [
    "DIGEST_SIZES",
    "PCR_COUNT",
    "SELECT_SIZE",
    "bank_by_name",
    "bank_name",
    "extend",
    "initial_value",
    "parse_selection",
    "replay_digests",
    "replayable",
    "selection_bytes",
]

PCR_COUNT = 24
"""PCRs of a PC Client TPM."""

SELECT_SIZE = 3
"""Octets of a PCR bitmap: one bit for each of 24 PCRs."""

DYNAMIC_PCRS = range(17, 23)
"""PCRs that begin as all ones, and as zeros after a dynamic launch."""

DYNAMIC_LAUNCH_PCR = 17
"""What a dynamic launch measures first; nothing else can extend it: its localities are 4, 3 and 2."""

_BANKS = {algorithm_name(algorithm): AlgorithmId(algorithm) for algorithm in DIGEST_SIZES}


def bank_name(algorithm: int) -> str:
    """Return a bank's name as tpm2-tools and the JSON of this project write it."""
    return algorithm_name(algorithm)


def bank_by_name(name: str) -> AlgorithmId:
    """Return the hash algorithm of a bank by its name. Raises UnsupportedError for an unknown one."""
    try:
        return _BANKS[name]
    except KeyError:
        raise UnsupportedError(f"PCR bank {name!r} is not one of {', '.join(_BANKS)}") from None


def replayable(bank: int) -> bool:
    """Say whether values of a bank can be computed on this host."""
    return hash_available(bank)


def initial_value(
    index: int, bank: int = AlgorithmId.SHA256, *, startup_locality: int = 0, dynamic_launch: bool = False
) -> bytes:
    """Return the value before the first extend; the startup locality ends up in the last byte of PCR 0."""
    size = DIGEST_SIZES[bank]
    if index in DYNAMIC_PCRS and not dynamic_launch:
        return b"\xff" * size
    if index == 0:
        return bytes(size - 1) + bytes((startup_locality,))
    return bytes(size)


def extend(value: bytes, digest: bytes, bank: int = AlgorithmId.SHA256) -> bytes:
    """Return H(value ‖ digest). Raises FormatError if a length is not that of the bank."""
    if len(value) != len(digest) or len(digest) != DIGEST_SIZES.get(bank):
        raise FormatError(f"a digest of {len(digest)} bytes cannot extend a {algorithm_name(bank)} PCR")
    return hash_bytes(bank, value + digest)


def replay_digests(
    events: Iterable[tuple[int, bytes]], bank: int = AlgorithmId.SHA256, start: dict[int, bytes] | None = None
) -> dict[int, bytes]:
    """Extend (PCR, digest) pairs in order, from ``start`` where given; return only PCRs in ``start`` or extended."""
    values = dict(start or {})
    if bank != AlgorithmId.SHA256:
        for index, digest in events:
            value = values.get(index)
            values[index] = extend(initial_value(index, bank) if value is None else value, digest, bank)
        return values
    size, sha256 = DIGEST_SIZES[bank], hashlib.sha256  # as above, at a third of the time: every appraisal passes here
    for index, digest in events:
        value = values.get(index)
        if value is None:
            value = initial_value(index)
        if len(digest) != size or len(value) != size:
            raise FormatError(f"a digest of {len(digest)} bytes cannot extend a sha256 PCR")
        values[index] = sha256(value + digest).digest()
    return values


def selection_bytes(pcrs: Iterable[int], bank: int = AlgorithmId.SHA256) -> bytes:
    """Marshal a TPML_PCR_SELECTION of one bank."""
    bitmap = 0
    for index in pcrs:
        bitmap |= 1 << index
    return (
        b"\x00\x00\x00\x01" + bank.to_bytes(2, "big") + bytes((SELECT_SIZE,)) + bitmap.to_bytes(SELECT_SIZE, "little")
    )


def parse_selection(text: str) -> tuple[AlgorithmId, tuple[int, ...]]:
    """Parse 'sha256:0,1,2,7' (also ranges, '0-7,11') as the command line takes it; return the bank and sorted PCRs.

    Raises:
        UsageError: not of that form, a PCR over 23, one named twice, or none at all.
        UnsupportedError: an unknown bank, or several ('sha1:0+sha256:0').
    """
    if "+" in text:
        raise UnsupportedError("a selection over several banks is not supported: a quote is judged in one bank")
    name, separator, listed = text.partition(":")
    if not separator:
        raise UsageError(f"PCR selection {text!r} is not of the form sha256:0,1,2")
    bank = bank_by_name(name)
    pcrs: list[int] = []
    for part in listed.split(","):
        first, dash, last = part.strip().partition("-")
        pcrs.extend(range(_index(first, text), _index(last if dash else first, text) + 1))
    if len(set(pcrs)) != len(pcrs) or not pcrs:
        raise UsageError(f"PCR selection {text!r} names a PCR twice, or none")
    return bank, tuple(sorted(pcrs))


def _index(text: str, selection: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and int(text) < PCR_COUNT):
        raise UsageError(f"PCR selection {selection!r}: {text!r} is not a PCR from 0 to {PCR_COUNT - 1}")
    return int(text)
