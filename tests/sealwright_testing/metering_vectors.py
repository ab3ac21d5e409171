"""Writes the vectors of ``tests/vectors/metering/``: receipts as bytes, what is held, and what becomes of them.

Run ``python -m sealwright_testing.metering_vectors tests/vectors/metering`` after a change of the format. Nothing
is drawn: the same code writes the same vectors.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.metering.receipt import ModelUsage, SealedReceipt
from sealwright_policies.metering.report import head_of
from sealwright_testing.metering import HOUR_MS, PARTITION, ChainWriter, point, usage_row


@dataclass(frozen=True)
class Case:
    """Earlier reports, then the one that is judged."""

    description: str
    section: str
    before: Sequence[Sequence[SealedReceipt]]
    receipts: Sequence[SealedReceipt]
    codes: tuple[Code, ...] = ()
    """Findings of the last report."""
    stored: tuple[bool, ...] = ()
    """Of the last report's new receipts, whether each is disputed."""
    rejected: Code | None = None
    head: SealedReceipt | None = None
    """That the payload names, if not the last one."""
    refused_start: str = ""
    malformed: bool = False
    content: Sequence[bytes] = field(default_factory=list)
    """Instead of the receipts' own bytes."""


def cases() -> dict[str, Case]:
    """All of them."""
    return _chains() | _forks() | _times() | _reports()


def _written(count: int) -> tuple[ChainWriter, list[SealedReceipt]]:
    writer = ChainWriter()
    return writer, [writer.next() for _ in range(count)]


def _chains() -> dict[str, Case]:
    _, five = _written(5)
    first, rest, gap = five[:2], five[2:], (Code.METERING_GAP,)
    return {
        "first-report": Case("a chain begins", "metering.md 2", [], first, stored=(False, False)),
        "next-report": Case("it goes on", "metering.md 4", [first], rest, stored=(False,) * 3),
        "sent-again": Case("nothing is new", "metering.md 4", [first], first),
        "sent-again-and-more": Case("only the rest is new", "metering.md 4", [first], five, stored=(False,) * 3),
        "gap": Case("two numbers are missing", "metering.md 4", [five[:1]], five[3:], gap, (False, False)),
        "gap-at-the-start": Case("receipt 1 is missing", "metering.md 4", [], five[1:2], gap, (False,)),
    }  # fmt: skip


def _forks() -> dict[str, Case]:
    writer, _ = _written(2)
    copy = writer.copy()
    held = [*writer.receipts, writer.next()]
    forked = [copy.next(rows=[usage_row(requests=2)]), copy.next()]
    other, _ = _written(2)
    stray = other.next(previous="11" * 32)
    _, lone = _written(1)
    fork, both = (Code.METERING_FORK,), (True, True)
    return {
        "fork": Case("two receipts of one number", "metering.md 4", [held], forked, fork, both),
        "fork-goes-on": Case("it was found before", "metering.md 4", [held, forked[:1]], forked[1:], stored=(True,)),
        "fork-of-the-next-number": Case("another head before it", "metering.md 4", [held[:2]], [stray], fork, (True,)),
        "fork-second-chain": Case(
            "no enrolment came between", "metering.md 4", [], lone, fork, (True,), refused_start="A second chain."
        ),
    }


def _times() -> dict[str, Case]:
    implausible = (Code.METERING_IMPLAUSIBLE,)

    def case(description: str, codes: tuple[Code, ...], **changes: Any) -> Case:
        return Case(description, "metering.md 4", [], [ChainWriter().next(**changes)], codes, (False,))

    def model(lease_ms: int, copying_alarms: int) -> list[ModelUsage]:
        alone = ModelUsage(model="medical", partition_id=PARTITION, lease_ms=lease_ms, copying_alarms=copying_alarms)
        return [alone]

    long = model(3 * HOUR_MS + 1, 0)
    quiet: dict[str, Any] = {"running_ms": 0, "rows": [], "models": []}
    return {
        "running-as-long-as-ticks-allow": case("one tick and two to spare", (), running_ms=3 * HOUR_MS),
        "running-longer-than-ticks": case("a millisecond more", implausible, running_ms=3 * HOUR_MS + 1),
        "served-longer-than-ticks": case("a millisecond more", implausible, models=long),
        "copied": case("a domain has it told", (Code.METERING_COPYING,), models=model(HOUR_MS, 2)),
        "busy-longer-than-places": case("four places", implausible, rows=[usage_row(busy_ms=12 * HOUR_MS + 1)]),
        "unmetered-hour": case("an hour is allowed", (), **quiet),
        "unmetered-longer": case("and no more", (Code.METERING_GAP,), closed=point(HOUR_MS + 1), **quiet),
        "unmetered-over-a-reset": case("a quarter more", (), closed=point(HOUR_MS * 5 // 4, resets=13), **quiet),
    }


def _reports() -> dict[str, Case]:
    chain = Code.METERING_CHAIN
    _, three = _written(3)
    loose = ChainWriter()
    jump = [loose.next(), loose.next(opened=point(1, ticks=1))]
    spaced = three[0].content.replace(b",", b", ", 1)
    return {
        "report-skips-a-receipt": Case("2 is missing", "metering.md 3", [], [three[0], three[2]], rejected=chain),
        "report-out-of-order": Case("2 before 1", "metering.md 3", [], [three[1], three[0]], rejected=chain),
        "report-leaves-time-out": Case("2 opens behind 1", "metering.md 3", [], jump, rejected=chain),
        "report-with-another-head": Case("head is 2", "metering.md 3", [], three, rejected=chain, head=three[1]),
        "receipt-in-another-spelling": Case(
            "a space", "metering.md 2", [], three[:1], malformed=True, content=[spaced]
        ),
    }


def write(directory: Path) -> None:
    """Write every vector below a directory, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    for name, case in cases().items():
        folder = directory / name
        folder.mkdir(parents=True)
        operation = "report" if case.rejected or case.malformed else "judge"
        described = {"description": case.description, "spec": case.section, "operation": operation}
        content = case.content or [one.content for one in case.receipts]
        head = head_of([case.head or case.receipts[-1]])
        given = {
            "before": [[_text(one.content) for one in report] for report in case.before],
            "receipts": [_text(one) for one in content],
            "head": head.model_dump(mode="json"),
            "refused_start": case.refused_start,
        }
        _dump(folder / "manifest.json", described)
        _dump(folder / "input.json", given)
        _dump(folder / "expected.json", _expected(case))


def _expected(case: Case) -> dict[str, Any]:
    if case.malformed:
        return {"outcome": "malformed"}
    if case.rejected:
        return {"outcome": "rejected", "code": case.rejected.value}
    findings = {"codes": [code.value for code in case.codes]} if case.codes else {}
    return {"outcome": "accepted", "disputed": list(case.stored)} | findings


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _dump(path: Path, members: dict[str, Any]) -> None:
    path.write_text(json.dumps(members, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
