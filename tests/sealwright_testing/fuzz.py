"""Fuzzing of the parsers: mutated inputs, and no exception but ours. ``make test-fuzz`` runs it for ten minutes.

Mutations are drawn from a seed that is printed, so that a finding can be repeated.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sealwright_testing.parsers import Parser, all_parsers

VECTORS = Path(__file__).parent.parent / "vectors"
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 2**53, 2**64, 10**400, 1e308, "", "\0", "\ud800", "A" * 5000, "é", [], {}, [[]], {"a": 1},
)  # fmt: skip
_MOST_BYTES = 256 * 1024


class FuzzError(AssertionError):
    """A parser raised something that is not ours."""


def fuzz(parser: Parser, rng: random.Random, more: Callable[[int], bool]) -> int:
    """Give a parser mutated inputs while ``more`` of their number holds; returns the number.

    Raises:
        FuzzError: with the input, in hex.
    """
    number = 0
    while more(number):
        data = mutated(rng, parser.seeds)
        number += 1
        try:
            parser.run(data)
        except parser.raises:
            continue
        except Exception as error:
            raise FuzzError(f"{parser.name}: {error!r} with {data[:2000].hex()} ({len(data)} bytes)") from error
    return number


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the inputs, changed in a few places."""
    data = rng.choice(seeds)
    if data[:1] == b"{" and rng.random() < 0.5:
        return _mutated_json(rng, data)
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        rng.choice(_MUTATIONS)(rng, changed, seeds)
    return bytes(changed[:_MOST_BYTES])


def _flip(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = (rng.choice(_NUMBERS) % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))
    at = rng.randint(0, max(len(data) - size, 0))
    data[at : at + size] = value


def _insert(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.randbytes(rng.randint(1, 16))


def _delete(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    del data[at : at + rng.randint(1, 32)]


def _repeat(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = data[at : at + rng.randint(1, 64)] * rng.randint(1, 64)


def _cut(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[rng.randint(0, len(data)) :]


def _splice(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


_MUTATIONS = (_flip, _flip, _number, _number, _insert, _delete, _repeat, _cut, _splice)


def _mutated_json(rng: random.Random, data: bytes) -> bytes:
    """A member's value becomes another one, is doubled, or goes."""
    document = json.loads(data)
    places = list(_places(document))
    if places:
        container, key = rng.choice(places)
        if rng.random() < 0.2:
            del container[key]
        else:
            container[key] = rng.choice(_VALUES)
    return json.dumps(document, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")


def _places(node: Any) -> Any:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield node, key
        yield from _places(value)


def main() -> int:
    """Fuzz every parser for its part of the time."""
    parser = argparse.ArgumentParser(prog="python -m sealwright_testing.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**32)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sealwright-fuzz-") as folder:
        parsers = all_parsers(VECTORS, Path(folder))
        share_s = arguments.minutes * 60 / len(parsers)
        failed = 0
        for one in parsers:
            end = time.monotonic() + share_s
            try:
                number = fuzz(one, random.Random(f"{arguments.seed} {one.name}"), lambda _: time.monotonic() < end)  # noqa: B023
                print(f"{one.name}: {number} inputs", flush=True)
            except FuzzError as error:
                failed += 1
                print(f"FAILED {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
