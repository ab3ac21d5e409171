"""Sessions in a browser: how they begin and end, and that no other site's page can act in one."""

from __future__ import annotations

import pytest

from sealwright_licensing.operators.browser import COOKIE
from sealwright_licensing.operators.roles import Role
from sealwright_testing.license_checks import stored_text
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import ORIGIN, SAME_ORIGIN, OperatorDesk, Reply, problem_code

PATH = "/api/v1/session"


@pytest.fixture
def desk(world: LicenseWorld) -> OperatorDesk:
    return OperatorDesk.open(world)


def login(desk: OperatorDesk, token: str = "", headers: dict[str, str] = SAME_ORIGIN) -> Reply:
    """Log in, by default as operator."""
    reply: Reply = desk.client.post(PATH, json={"token": token or desk.tokens[Role.OPERATOR]}, headers=headers)
    return reply


def test_a_session_is_the_tokens(desk: OperatorDesk) -> None:
    begun = login(desk, desk.tokens[Role.AUDITOR])
    assert begun.status_code == 201
    assert begun.json() == desk.client.get(PATH).json()
    assert (begun.json()["name"], begun.json()["role"]) == ("auditor", "auditor")


def test_the_cookie_is_for_this_host_and_for_no_script(desk: OperatorDesk) -> None:
    cookie = login(desk).headers["set-cookie"]
    assert cookie.startswith("__Host-")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert attributes == {"secure", "httponly", "samesite=strict", "path=/"}


def test_the_database_holds_no_cookie(desk: OperatorDesk) -> None:
    begun = login(desk)
    dump = stored_text(desk.world)
    assert desk.client.cookies[COOKIE] not in dump
    assert begun.json()["csrf_token"] not in dump
    assert "operator" in dump


def test_logging_out_ends_it(desk: OperatorDesk) -> None:
    token = login(desk).json()["csrf_token"]
    cookie = desk.client.cookies[COOKIE]
    assert desk.client.delete(PATH, headers=SAME_ORIGIN | {"X-CSRF-Token": token}).status_code == 204
    assert COOKIE not in desk.client.cookies
    reply = desk.client.get(PATH, headers={"Cookie": f"{COOKIE}={cookie}"})
    assert problem_code(reply, 401) == "UNAUTHENTICATED"


ELSEWHERE: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "https://evil.test"},
    {"Origin": "null"},
    {"Origin": f"{ORIGIN}:8445"},
    {"Origin": ORIGIN.replace("https", "http")},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": ORIGIN},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.test"},
)


def test_a_page_of_another_site_can_neither_log_in_nor_out(desk: OperatorDesk) -> None:
    for headers in ELSEWHERE:
        assert problem_code(login(desk, headers=headers), 403) == "CROSS_SITE", headers
    token = login(desk).json()["csrf_token"]
    for headers in ELSEWHERE:
        reply = desk.client.delete(PATH, headers=headers | {"X-CSRF-Token": token})
        assert problem_code(reply, 403) == "CROSS_SITE", headers
    assert desk.client.get(PATH).status_code == 200


def test_a_change_needs_the_sessions_own_token(desk: OperatorDesk) -> None:
    """Neither none, nor another session's, even from our own page."""
    foreign = login(desk).json()["csrf_token"]
    desk.client.cookies.clear()
    login(desk)
    for given in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": foreign}, {"X-CSRF-Token": "é".encode()}):
        reply = desk.client.delete(PATH, headers=[*SAME_ORIGIN.items(), *given.items()])
        assert problem_code(reply, 403) == "CROSS_SITE"
    assert desk.client.get(PATH).status_code == 200


def test_it_ends_when_nothing_is_asked(desk: OperatorDesk) -> None:
    login(desk)
    for _ in range(4):
        desk.world.now += 1700
        assert desk.client.get(PATH).status_code == 200
    desk.world.now += 1800
    assert problem_code(desk.client.get(PATH), 401) == "UNAUTHENTICATED"


def test_it_ends_after_half_a_day_in_any_case(desk: OperatorDesk) -> None:
    end = login(desk).json()["expires_at"]
    while desk.world.now + 1700 < end:
        desk.world.now += 1700
        assert desk.client.get(PATH).status_code == 200
    desk.world.now = end
    assert problem_code(desk.client.get(PATH), 401) == "UNAUTHENTICATED"


def test_it_ends_with_its_token(desk: OperatorDesk) -> None:
    """Revoked from elsewhere; and expired by itself."""
    login(desk, desk.tokens[Role.AUDITOR])
    (auditor,) = (one for one in desk.get("/tokens")["items"] if one["name"] == "auditor")
    assert desk.ask(f"/tokens/{auditor['token_id']}/revoke", method="POST").status_code == 200
    assert problem_code(desk.client.get(PATH), 401) == "UNAUTHENTICATED"
    desk.client.cookies.clear()
    login(desk, desk.token("short", Role.OPERATOR, days=1))
    desk.world.now += 1000
    assert desk.client.get(PATH).status_code == 200


def test_a_session_ends_when_its_token_runs_out(desk: OperatorDesk) -> None:
    token = desk.token("short", Role.OPERATOR, days=1)
    desk.world.now += 86_400 - 60
    assert login(desk, token).status_code == 201
    desk.world.now += 60
    assert problem_code(desk.client.get(PATH), 401) == "UNAUTHENTICATED"


def test_wrong_tokens_are_counted(desk: OperatorDesk) -> None:
    """Twenty wrong ones, then a right one waits too; the API itself does not."""
    for _ in range(20):
        assert problem_code(login(desk, "swl_wrong"), 401) == "UNAUTHENTICATED"
    assert problem_code(login(desk), 429) == "RATE_LIMITED"
    assert desk.ask("/status").status_code == 200


def test_a_cookie_opens_nothing_but_the_session(desk: OperatorDesk) -> None:
    login(desk)
    assert problem_code(desk.client.get("/api/v1/licenses"), 401) == "UNAUTHENTICATED"
