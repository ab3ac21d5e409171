"""Ledgers of what has to be trusted in a box: the most that is allowed of each quantity, and why it had to grow.

The project's is image/tcb-ledger.toml, of a box without additions. A product may have one of its own, whose entries
follow the project's. The last entry that names a quantity counts. A build refuses what is above it
(policies/spec/manifest.md, 5).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sealwright_policies.cli_files import read_file
from sealwright_policies.errors import FormatError, OperationError, RejectionCode, UsageError, VerificationError
from sealwright_policies.toml_location import parse_toml

LEDGER = Path(__file__).resolve().parents[1] / "tcb-ledger.toml"
LEDGER_LIMIT = 1024 * 1024
"""Bytes."""
OWN_NAME = "tcb-ledger.toml"
"""What a build proposes to call a product's."""

Quantities = Mapping[str, int]


def parse_ledger(text: str) -> dict[str, int]:
    """The most that is allowed of each quantity, by the last entry that names it.

    Raises:
        FormatError: not as described; every entry needs a reason and something that it allows.
    """
    most: dict[str, int] = {}
    entries = parse_toml(text)
    if entries.keys() != {"entry"} or not isinstance(entries["entry"], list):
        raise FormatError("A ledger is a list of [[entry]], and nothing else.")
    for number, entry in enumerate(entries["entry"], start=1):
        most |= _entry(number, entry)
    return most


def _entry(number: int, entry: object) -> dict[str, int]:
    if not isinstance(entry, dict) or entry.keys() != {"reason", "most"}:
        raise FormatError(f"[[entry]] {number}: has `reason` and `most`, and nothing else.")
    reason, most = entry["reason"], entry["most"]
    if not isinstance(reason, str) or not any(map(str.isalpha, reason)):
        raise FormatError(f"[[entry]] {number}: `reason` says in words why it has to grow.")
    if not isinstance(most, dict) or not most:
        raise FormatError(f"[[entry]] {number}: `most` names the quantities that it allows.")
    for name, value in most.items():
        if type(value) is not int or value < 0:
            raise FormatError(f"[[entry]] {number}: most.{name} is a number from 0 on.")
    return most


def load_limits(own: Path | None) -> dict[str, int]:
    """What a product may have of each quantity.

    Args:
        own: The product's ledger, if it has one.

    Raises:
        UsageError: it cannot be read, or names a quantity that no build measures.
        FormatError: malformed, with its name.
    """
    project = _load(LEDGER)
    if own is None:
        return project
    added = _load(own)
    if unknown := sorted(added.keys() - project.keys()):
        raise UsageError(f"{own}: no build measures {', '.join(unknown)}; {', '.join(project)} are measured.")
    return project | added


def _load(path: Path) -> dict[str, int]:
    try:
        return parse_ledger(read_file(path, max_size=LEDGER_LIMIT).decode("utf-8"))
    except UnicodeDecodeError:
        raise FormatError(f"{path}: not UTF-8.") from None
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error


def growth(measured: Quantities, most: Quantities) -> dict[str, int]:
    """What is above its limit, or has none, with its measure; empty if nothing is."""
    return {name: value for name, value in measured.items() if value > most.get(name, -1)}


def require_recorded(measured: Quantities, most: Quantities, own: Path | None, product_file: Path) -> None:
    """Demand that nothing has grown without an entry.

    Args:
        measured: Of a build.
        most: Of :func:`load_limits`.
        own: The product's ledger, if it has one.
        product_file: Whose build it is.

    Raises:
        VerificationError: TRUSTED_BASE_GREW; says of each quantity how much there is and how much is allowed, and what
            to write into which file.
    """
    grown = growth(measured, most)
    if grown:
        raise VerificationError(RejectionCode.TRUSTED_BASE_GREW, _advice(grown, most, own, product_file), grown=grown)


def _advice(grown: Quantities, most: Quantities, own: Path | None, product_file: Path) -> str:
    sentences = (f"  {name}: {value}, and {most.get(name, 'none')} recorded" for name, value in grown.items())
    ledger = own or product_file.with_name(OWN_NAME)
    first = "" if own else f'Name a ledger of its own in {product_file}: ledger = "{OWN_NAME}". '
    return "\n".join(
        (
            "What has to be trusted in the box has grown, and no ledger says why.",
            *sentences,
            f"{first}If it has to grow, add to {ledger} and build again:",
            "",
            "[[entry]]",
            'reason = "…"',
            "[entry.most]",
            *(f"{name} = {value}" for name, value in grown.items()),
            "",
            "A change of Sealwright's own sources is recorded in image/tcb-ledger.toml instead.",
        )
    )


def load_measured(path: Path) -> dict[str, int]:
    """What a build has measured of its OS part.

    Raises:
        OperationError: the file is damaged.
    """
    try:
        return {str(name): int(value) for name, value in json.loads(path.read_bytes()).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise OperationError(f"{path}: damaged.", cure="Build with --refresh-os.") from error
