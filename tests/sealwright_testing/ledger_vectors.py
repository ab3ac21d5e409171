"""Writes the vectors of ``tests/vectors/ledger/``: what a build has measured, and ledgers that allow it or do not.

Run ``python -m sealwright_testing.ledger_vectors tests/vectors/ledger`` after a change of the rule. What each must
come to is written here by hand.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sealwright_policies.errors import RejectionCode as Code
from sealwright_testing.vectors import Vector

FIRST = '[[entry]]\nreason = "First record."\n[entry.most]\npackages = 185\nexecutables = 34\n'
MORE = '\n[[entry]]\nreason = "A packet filter."\n[entry.most]\npackages = 187\n'
LESS = '\n[[entry]]\nreason = "It went."\n[entry.most]\npackages = 184\n'


def vectors() -> Iterator[Vector]:
    """Each rule of the section by itself."""

    def vector(name: str, words: str, ledger: str, code: Code | None = None, **measured: int) -> Vector:
        given = {"measured": measured, "ledger": ledger}
        return Vector(name, words, "manifest.md 5", "require_recorded", given, code)

    def malformed(name: str, words: str, ledger: str) -> Vector:
        given = {"measured": {"packages": 1}, "ledger": ledger}
        return Vector(name, words, "manifest.md 5", "require_recorded", given, outcome="malformed")

    grew = Code.TRUSTED_BASE_GREW
    yield vector("at-the-limit", "as much as is recorded", FIRST, packages=185, executables=34)
    yield vector("below-the-limit", "less than is recorded", FIRST, packages=3, executables=0)
    yield vector("one-above", "one package more", FIRST, grew, packages=186, executables=34)
    yield vector("not-recorded", "a quantity that no entry names", FIRST, grew, packages=1, setuid_files=0)
    yield vector("raised", "a later entry allows more", FIRST + MORE, packages=187, executables=34)
    yield vector("lowered", "a later entry allows less", FIRST + LESS, grew, packages=185, executables=34)
    yield malformed("without-reason", "an entry has none", FIRST.replace('"First record."', '" "'))
    yield malformed("reason-left-open", "no word in it", FIRST.replace('"First record."', '"…"'))
    yield malformed("without-most", "nothing is allowed", '[[entry]]\nreason = "Why."\n[entry.most]\n')
    yield malformed("further-key", "an entry has another key", FIRST.replace("[entry.most]", "by = 1\n[entry.most]"))
    yield malformed("negative", "less than none", FIRST.replace("185", "-1"))
    yield malformed("text-for-number", "a number in quotes", FIRST.replace("185", '"185"'))


def write(directory: Path) -> None:
    """Write every vector, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    for vector in vectors():
        vector.write(directory)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
