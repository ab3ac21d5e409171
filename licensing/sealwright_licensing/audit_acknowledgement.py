"""A finding of the audit that a person has judged becomes an operation in the log and blocks no more
(policies/spec/transparency.md, 7). Works on any schema that has a log, since an upgrade may be what it blocks."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict

from sqlalchemy import Connection, insert

from sealwright_licensing.actors import Actor
from sealwright_licensing.audit import Finding, audit
from sealwright_licensing.audit_keys import AuditKeys
from sealwright_licensing.audit_source import DatabaseSource
from sealwright_licensing.baseline import LOGGED_SINCE, add_waiting, lock_rows
from sealwright_licensing.records import Operation
from sealwright_licensing.row_changes import ACKNOWLEDGE, named_entry, queue_item, row_change
from sealwright_licensing.tables import operations
from sealwright_policies.errors import OperationError, UsageError

LEAST_DIGITS = 8
LONGEST_JUDGEMENT = 1000
"""Characters."""


def acknowledge_finding(
    connection: Connection, keys: AuditKeys, actor: Actor, named: str, judgement: str, *, schema: str, now: int
) -> Finding:
    """Audit, and enter that a person has judged one of the findings.

    Args:
        connection: a transaction that nobody else writes beside.
        named: the beginning of the finding's id.
        judgement: what the person says of it.
        schema: revision of the database.

    Raises:
        UsageError: no such finding, several, or one that cannot be acknowledged; nothing is said of it.
        OperationError: the database is from before there was a log.
    """
    said = judgement.strip()
    if not 1 <= len(said) <= LONGEST_JUDGEMENT or not said.isprintable():
        raise UsageError(f"--sentence: say in 1 to {LONGEST_JUDGEMENT} characters, on one line, what was found out.")
    if schema < LOGGED_SINCE:
        raise OperationError("The database is from before there was a log.", cure="There is nothing to acknowledge.")
    lock_rows(connection)
    report = audit(DatabaseSource(connection), keys.keys, keys.origin, schema=schema)
    finding = _find(report.findings, named)
    detail = {"place": finding.place, "finding": finding.sentence, "judgement": said}
    words = json.dumps(detail, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    operation = Operation(
        secrets.token_hex(16), actor.kind.value, actor.name, ACKNOWLEDGE, finding.finding_id, words, now
    )
    connection.execute(insert(operations), asdict(operation))
    (row,) = [one for one in DatabaseSource(connection).rows(Operation) if one.state.key == operation.operation_id]
    add_waiting(connection, queue_item(named_entry(operation, [row_change(Operation, None, row.columns)])))
    return finding


def _find(findings: list[Finding], named: str) -> Finding:
    wanted = named.lower()
    found = [one for one in findings if one.finding_id.startswith(wanted)] if len(wanted) >= LEAST_DIGITS else []
    if len({one.finding_id for one in found}) != 1:
        raise UsageError(
            f"{named!r} names {len(found)} findings; give {LEAST_DIGITS} digits or more of an id of `audit verify`. "
            "What is wrong with the log itself cannot be acknowledged."
        )
    return found[0]
