"""API tokens: their form, what is stored of them, and when they let nobody in any more."""

from __future__ import annotations

import pytest

from sealwright_licensing.operators import tokens
from sealwright_licensing.operators.errors import OperatorError
from sealwright_licensing.operators.principals import Principal, PrincipalKind
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import authenticate_token, create_token, last_uses, revoke_token
from sealwright_licensing.records import Operation
from sealwright_policies.errors import RejectionCode, UsageError
from sealwright_testing.denials import denied
from sealwright_testing.license_checks import stored_text
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OPERATOR


def refused(world: LicenseWorld, token: str, *, later: int = 0) -> str:
    """Demand that a token lets nobody in."""
    with pytest.raises(OperatorError) as caught:
        authenticate_token(world.store, token, now=world.now + later)
    assert (caught.value.status, caught.value.code) == (401, "UNAUTHENTICATED")
    return str(caught.value)


def test_a_token_has_a_prefix_and_a_checksum_that_scanners_can_test() -> None:
    token_id, token = tokens.new_token()
    assert tokens.TOKEN.fullmatch(token)
    assert token.startswith(f"swl_{token_id}_")
    assert tokens.checksum(token[:-7]) == token[-7:]
    assert len({tokens.new_token() for _ in range(100)}) == 100


def test_whoever_brings_it_is_who_it_was_made_for(world: LicenseWorld) -> None:
    _, token = create_token(world.store, OPERATOR, "console", Role.AUDITOR, now=world.now)
    found = authenticate_token(world.store, token, now=world.now)
    assert found == Principal("console", Role.AUDITOR, PrincipalKind.TOKEN, found.token_id)


def test_the_database_holds_no_token(world: LicenseWorld) -> None:
    """Neither whole nor its secret part, in any table."""
    _, token = create_token(world.store, OPERATOR, "console", Role.OPERATOR, now=world.now)
    dump = stored_text(world)
    assert token not in dump
    assert token.rsplit("_", 1)[1] not in dump
    assert "console" in dump


def test_another_secret_under_the_same_id_is_refused(world: LicenseWorld) -> None:
    record, token = create_token(world.store, OPERATOR, "console", Role.OPERATOR, now=world.now)
    body = f"swl_{record.token_id}_{'a' * 52}"
    refused(world, body + tokens.checksum(body))
    refused(world, token[:-1])
    refused(world, token.upper())
    refused(world, "")
    refused(world, tokens.new_token()[1])
    refused(world, "swl_\ud800")


def test_a_token_ends(world: LicenseWorld) -> None:
    _, token = create_token(world.store, OPERATOR, "console", Role.OPERATOR, now=world.now, days=2)
    authenticate_token(world.store, token, now=world.now + 2 * 86_400 - 1)
    assert "expired" in refused(world, token, later=2 * 86_400)


def test_a_revoked_token_is_refused_and_its_name_is_free(world: LicenseWorld) -> None:
    record, token = create_token(world.store, OPERATOR, "console", Role.OPERATOR, now=world.now)
    with pytest.raises(UsageError, match="already"):
        create_token(world.store, OPERATOR, "console", Role.AUDITOR, now=world.now)
    first = revoke_token(world.store, OPERATOR, record.token_id, now=world.now + 5)
    refused(world, token)
    assert revoke_token(world.store, OPERATOR, record.token_id, now=world.now + 9) == first
    create_token(world.store, OPERATOR, "console", Role.AUDITOR, now=world.now)
    with pytest.raises(OperatorError, match="no token"):
        revoke_token(world.store, OPERATOR, "none", now=world.now)


def test_the_last_use_is_noted_once_a_minute(world: LicenseWorld) -> None:
    record, token = create_token(world.store, OPERATOR, "console", Role.OPERATOR, now=world.now)
    seen = []
    for later in (10, 30, 69, 70, 75):
        authenticate_token(world.store, token, now=world.now + later)
        with world.store.read() as transaction:
            used = last_uses(transaction, [record.token_id])
        seen.append(used[record.token_id] - world.now)
    assert seen == [10, 10, 10, 70, 70]


def test_a_name_is_plain(world: LicenseWorld) -> None:
    for name in ("", " x", "a\n", "a" * 65, "é", "-x"):
        with pytest.raises(UsageError, match="name"):
            create_token(world.store, OPERATOR, name, Role.OPERATOR, now=world.now)


def test_a_token_is_bound_to_licences_that_exist(world: LicenseWorld) -> None:
    denied(
        RejectionCode.LICENSE_UNKNOWN,
        lambda: create_token(world.store, OPERATOR, "x", Role.OPERATOR, now=world.now, licenses=["lic-none"]),
    )
    license_, _ = world.issue()
    _, token = create_token(world.store, OPERATOR, "x", Role.OPERATOR, now=world.now, licenses=[license_.license_id])
    assert authenticate_token(world.store, token, now=world.now).licenses == frozenset({license_.license_id})


def test_making_and_revoking_stand_in_the_journal(world: LicenseWorld) -> None:
    record, _ = create_token(world.store, OPERATOR, "x", Role.OPERATOR, now=world.now)
    for _ in range(2):
        revoke_token(world.store, OPERATOR, record.token_id, now=world.now + 1)
    with world.store.read() as transaction:
        found = transaction.find(Operation, newest_first="performed_at", subject=record.token_id)
    assert [one.operation for one in found] == ["token.revoke", "token.create"]
