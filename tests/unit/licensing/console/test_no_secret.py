"""Of a login and a change at the console, no secret stands in the log, the journal or the service's log lines."""

from __future__ import annotations

import base64
import logging
from pathlib import Path

from sealwright_licensing.logs import formatter
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.records import LogEntryRecord, Operation
from sealwright_testing.console_desk import ConsoleVisitor
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OperatorDesk


def test_neither_token_nor_cookie_nor_csrf_token_is_kept(world: LicenseWorld, tmp_path: Path) -> None:
    """Neither as it is nor in hex or base64; the cookie opens a session and the change is made."""
    license_, _ = world.issue()
    lines = tmp_path / "service.log"
    handler = logging.FileHandler(lines)
    handler.setFormatter(formatter())
    logging.getLogger().addHandler(handler)
    before = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        desk = OperatorDesk.open(world)
        token = desk.token("console of Ann", Role.OPERATOR)
        visitor = ConsoleVisitor.log_in(desk, token=token)
        csrf = visitor.csrf
        assert visitor.send(f"/licenses/{license_.license_id}/suspend").status_code == 303
        world.sequence()
    finally:
        logging.getLogger().setLevel(before)
        logging.getLogger().removeHandler(handler)
        handler.close()

    cookies = [value for value in visitor.client.cookies.values() if len(value) > 16]
    assert cookies
    secrets = []
    for text in (token, csrf, *cookies):
        raw = text.encode()
        secrets += [raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"=")]
    with world.store.read() as transaction:
        entries = [entry.leaf for entry in transaction.find(LogEntryRecord)]
        operations = [repr(one).encode() for one in transaction.find(Operation)]
    written = [*entries, *operations, lines.read_bytes()]
    assert any(license_.license_id.encode() in one for one in operations), "the search finds what is there"
    assert all(secret not in text for secret in secrets for text in written)
