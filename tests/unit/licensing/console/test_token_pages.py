"""Pages of API tokens, lists by day, and the way in through an OpenID provider."""

from __future__ import annotations

import datetime
import re

import pytest

from sealwright_licensing.config import load_config
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.operators.records import ApiToken, OperatorSession
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.sequencer import Sequencer
from sealwright_testing.console_desk import ConsoleVisitor
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import LicenseWorld


def token_of(visitor: ConsoleVisitor, role: Role) -> ApiToken:
    with visitor.desk.world.store.read() as transaction:
        (found,) = transaction.find(ApiToken, name=role.value)
    return found


def test_tokens_are_listed_and_shown(visitor: ConsoleVisitor) -> None:
    page = visitor.page("/tokens")
    assert re.findall(r'<a href="/tokens/(\w+)">', page)
    assert not [one for one in visitor.desk.tokens.values() if one in page or one.split("_")[2] in page]
    auditor = token_of(visitor, Role.AUDITOR)
    assert page.count("<tr>") == 4
    assert auditor.token_id in visitor.page("/tokens?role=auditor")
    assert token_of(visitor, Role.OPERATOR).token_id not in visitor.page("/tokens?role=auditor")
    shown = visitor.page(f"/tokens/{auditor.token_id}")
    assert auditor.token_hash not in shown
    assert "token made" in shown
    assert "令牌" in visitor.page("/tokens", **{"Accept-Language": "zh"})
    assert visitor.ask("/tokens/none").status_code == 404


def test_a_token_is_revoked_with_its_sessions(visitor: ConsoleVisitor) -> None:
    auditor = ConsoleVisitor.log_in(visitor.desk, Role.AUDITOR)
    record = token_of(visitor, Role.AUDITOR)
    path = f"/tokens/{record.token_id}"
    assert visitor.send(f"{path}/revoke").status_code == 400
    assert auditor.ask("/").status_code == 200
    assert visitor.send(f"{path}/revoke", confirm="yes").status_code == 303
    assert token_of(visitor, Role.AUDITOR).revoked_at is not None
    assert auditor.ask("/").headers["location"] == "/login"
    with visitor.desk.world.store.read() as transaction:
        assert transaction.count(OperatorSession, token_id=record.token_id) == 0
    assert f"{path}/revoke" not in visitor.page(path)


def test_who_may_see_and_revoke_tokens(quiet: dict[Role, ConsoleVisitor]) -> None:
    path = f"/tokens/{token_of(quiet[Role.OPERATOR], Role.READ_ONLY).token_id}"
    assert quiet[Role.READ_ONLY].ask("/tokens").status_code == 403
    assert "/tokens" not in quiet[Role.READ_ONLY].page("/")
    assert "/revoke" not in quiet[Role.AUDITOR].page(path)
    assert quiet[Role.AUDITOR].send(f"{path}/revoke", confirm="yes").status_code == 403


@pytest.mark.parametrize("path", ["/decisions", "/operations", "/log"])
def test_lists_of_days(visitor: ConsoleVisitor, box: EnrolledDevice, path: str) -> None:
    """Both days are included, in UTC."""
    world = box.world
    Sequencer(world.store, load_log_keys(world.folder.keys), load_config(world.folder).service_id).run()
    with world.store.read() as transaction:
        tokens = transaction.find(ApiToken)
    assert {one.created_at for one in tokens} == {world.now}

    def rows(first: int | None, last: int | None) -> int:
        days = {"first_day": first, "last_day": last}
        query = "&".join(f"{name}={_day(world.now + at * DAY)}" for name, at in days.items() if at is not None)
        return visitor.page(f"{path}?{query}").count("<tr>")

    everything = visitor.page(path).count("<tr>")
    assert rows(0, 0) > 1
    assert rows(-1, 1) == rows(0, None) == rows(0, 0)
    assert rows(1, None) == rows(-9, -1) == 0
    assert rows(None, 0) == everything
    page = visitor.page(f"{path}?first_day={_day(world.now)}")
    assert f'type="date" value="{_day(world.now)}"' in page
    for wrong in ("yesterday", f"{20_833 * DAY}", "2026-13-01"):
        assert visitor.ask(f"{path}?first_day={wrong}").status_code == 400


@pytest.mark.parametrize("path", ["/decisions", "/operations", "/log"])
def test_a_day_is_from_midnight_to_the_last_second(visitor: ConsoleVisitor, path: str) -> None:
    """One thing happens in the last second of a day, two in the first of the next."""
    world = visitor.desk.world
    midnight = world.now - world.now % DAY + 2 * DAY
    for number, world.now in enumerate((midnight - 1, midnight, midnight)):
        _, (code,) = world.issue()
        world.enroll(world.device(number), code)
    Sequencer(world.store, load_log_keys(world.folder.keys), load_config(world.folder).service_id).run()
    later = ConsoleVisitor.log_in(visitor.desk)

    def rows(day: int) -> int:
        named = _day(day)
        return later.page(f"{path}?first_day={named}&last_day={named}").count("<tr>") - 1

    of_one = 2 if path == "/log" else 1
    assert (rows(midnight - 1), rows(midnight)) == (of_one, 2 * of_one)


def _day(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date().isoformat()


def test_a_provider_is_offered_where_there_is_one(world: LicenseWorld, quiet: dict[Role, ConsoleVisitor]) -> None:
    link = 'href="/api/v1/session/oidc"'
    assert link not in quiet[Role.OPERATOR].page("/login")
    with world.folder.config_file.open("a") as config:
        config.write(
            '[operators.oidc]\nissuer = "https://login.example"\nclient_id = "sealwright"\n'
            'own_url = "https://license.example"\nroles = { admins = "operator" }\n'
        )
    page = ConsoleVisitor.open(world).page("/login")
    assert page.index(link) < page.index('id="token"')
