"""Findings of the audit and what persons have said of them, as commands print them."""

from __future__ import annotations

from collections.abc import Sequence

from sealwright_licensing.audit import Finding, Report
from sealwright_licensing.audit_judgements import Judgement

Acknowledged = Sequence[tuple[Finding, Judgement]]


def finding_line(finding: Finding) -> str:
    """A finding, and by what it may be acknowledged."""
    named = f" [{finding.finding_id[:16]}]" if finding.finding_id else ""
    return f"{finding.place}: {finding.sentence}.{named}"


def acknowledged_lines(acknowledged: Acknowledged) -> list[str]:
    """Findings that are still to be seen, each with who judged it."""
    return [f"Acknowledged: {finding_line(finding)} {one.line()}" for finding, one in acknowledged]


def acknowledged_documents(acknowledged: Acknowledged) -> list[dict[str, object]]:
    """The same for ``--json``."""
    return [{**judgement.document(), **finding.document()} for finding, judgement in acknowledged]


def past_lines(report: Report) -> list[str]:
    """Judgements of what is not to be seen any more: the row has changed since, or an upgrade has entered it."""
    seen = {id(judgement) for _, judgement in report.acknowledged}
    return [
        f"Acknowledged before: {one.detail.place if one.detail else one.finding_id[:16]}. {one.line()}"
        for one in report.judgements
        if id(one) not in seen
    ]
