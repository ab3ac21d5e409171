"""Ids as people type them: the beginning is enough where only one begins so, and a slip is answered with what is near.

A command that cannot be taken back asks first, and shows the whole id; where nobody can be asked it takes whole ids
only, with ``--yes``.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from dataclasses import dataclass

from sealwright_licensing.paging import PageQuery
from sealwright_licensing.records import Decision, Device, License, ReleaseRecord
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import RejectionCode, UsageError, VerificationError

SHORTEST = 6
"""Characters of the shortest beginning that is taken for an id."""
_NEAR, _MOST_COMPARED = 3, 5000


@dataclass(frozen=True, slots=True)
class _Kind:
    noun: str
    record: type[License] | type[Device] | type[ReleaseRecord]
    order: str
    code: RejectionCode


_KINDS = {
    "license_id": _Kind("licence", License, "issued_at", RejectionCode.LICENSE_UNKNOWN),
    "device_id": _Kind("device", Device, "enrolled_at", RejectionCode.DEVICE_UNKNOWN),
    "release_id": _Kind("release", ReleaseRecord, "imported_at", RejectionCode.RELEASE_UNKNOWN),
}
"""By the argument that holds the id, which is called like the record's field."""


def add_confirmation(leaf: argparse.ArgumentParser, question: str) -> None:
    """Have a command ask before it does what cannot be taken back.

    Args:
        question: with the arguments' names in braces.
    """
    leaf.add_argument("--yes", action="store_true", help="do not ask; takes whole ids only")
    leaf.set_defaults(question=question)


def complete_ids(store: Store, arguments: argparse.Namespace) -> None:
    """Put whole ids in the place of beginnings, and ask where the command has a question.

    Raises:
        VerificationError: nothing begins so; the sentence names what is near.
        UsageError: several begin so; nobody can be asked, or the answer was no.
    """
    question = getattr(arguments, "question", None)
    with store.read() as transaction:
        for field, kind in _KINDS.items():
            given = getattr(arguments, field, None)
            if given is not None:
                whole_only = question is not None and arguments.yes
                setattr(arguments, field, _whole(transaction, field, kind, given, whole_only=whole_only))
    if question is not None and not arguments.yes:
        _ask(question.format(**vars(arguments)))


def _whole(transaction: Transaction, field: str, kind: _Kind, given: str, *, whole_only: bool) -> str:
    if transaction.get(kind.record, given) is not None:
        return given
    if field == "device_id" and transaction.find(Decision, limit=1, device_id=given):
        return given  # never enrolled, but there is something to show
    query = PageQuery(kind.order, field, _NEAR + 1, prefix={field: given})
    found = [getattr(one, field) for one in transaction.page(kind.record, query)] if len(given) >= SHORTEST else []
    if len(found) == 1 and not whole_only:
        return str(found[0])
    if len(found) == 1:
        raise UsageError(f"With --yes give the whole id of the {kind.noun}: {found[0]}.")
    if found:
        raise UsageError(f"Several {kind.noun}s begin with {given}: {', '.join(found[:_NEAR])}. Give more of the id.")
    known = [getattr(one, field) for one in transaction.page(kind.record, PageQuery(kind.order, field, _MOST_COMPARED))]
    near = difflib.get_close_matches(given, known, n=_NEAR)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise VerificationError(kind.code, f"there is no {kind.noun} {given}{hint}")


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can be asked here: give --yes if you mean it.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was changed.")
