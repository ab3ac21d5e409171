"""An operator's work in a real browser, by keyboard; and what the browser must not let others do."""

from __future__ import annotations

import re

from playwright.sync_api import Browser

from sealwright_licensing.operators.browser import COOKIE
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_licensing.records import Device, DeviceStatus, License, LicenseStatus, ReleaseRecord
from sealwright_testing.browser import PATIENCE_MS
from sealwright_testing.console_browser import DRAWN, Visitor
from sealwright_testing.license_server import LicenseServer
from sealwright_testing.license_world import OPERATOR

TWICE = """
() => {
  const button = document.querySelector('main button.main');
  button.click();
  setTimeout(() => button.click(), 1);
}
"""
ELSEWHERE = "https://127.0.0.1:1/elsewhere"


def license_of(visitor: Visitor, license_id: str) -> License:
    with visitor.fleet.world.store.read() as transaction:
        found = transaction.get(License, license_id)
    assert found is not None
    return found


def device_of(visitor: Visitor, device_id: str) -> Device:
    with visitor.fleet.world.store.read() as transaction:
        found = transaction.get(Device, device_id)
    assert found is not None
    return found


def issue(visitor: Visitor) -> str:
    """Issue a licence by keyboard; its id."""
    page = visitor.page
    visitor.goto("/licenses")
    visitor.follow("a[href='/licenses/issue']")
    visitor.tab_to("#field-product")
    page.keyboard.type("synthetic-box")
    visitor.tab_to("#field-seats")
    page.keyboard.press("Control+A")
    page.keyboard.type("2")
    visitor.tab_to("#field-tiers-software")
    page.keyboard.press("Space")
    visitor.tab_to("#field-note")
    page.keyboard.type("由键盘签发")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.locator(".codes code").count() == 2
    visitor.follow("main .action")
    return page.url.rsplit("/", 1)[1]


def test_a_licences_whole_life_by_keyboard(visitor: Visitor) -> None:
    visitor.log_in()
    license_id = issue(visitor)
    before = license_of(visitor, license_id)
    assert (before.seats, before.note) == (2, "由键盘签发")
    page = visitor.page

    visitor.follow("a[href$='/renew']")
    visitor.follow("main button")
    assert license_of(visitor, license_id).expires_at == before.expires_at + 365 * 86_400

    visitor.follow("a[href$='/change-terms']")
    visitor.tab_to("#field-overage")
    page.keyboard.press("ArrowDown")
    visitor.follow("main button")
    assert license_of(visitor, license_id).overage == "1.25"

    visitor.follow("a[href$='/set-floor']")
    visitor.tab_to("#field-version")
    page.keyboard.press("Control+A")
    page.keyboard.type("1.5")
    visitor.follow("main button")
    assert license_of(visitor, license_id).version_floor == "1.5"

    visitor.follow("a[href$='/add-code']")
    visitor.follow("main button")
    assert page.locator(".codes code").count() == 1
    visitor.follow("main .action")

    for name, status in (("suspend", LicenseStatus.SUSPENDED), ("reinstate", LicenseStatus.ACTIVE)):
        visitor.follow(f"a[href$='/{name}']")
        visitor.follow("main button")
        assert license_of(visitor, license_id).status is status
        assert page.locator(".done").is_visible()

    visitor.follow("a[href$='/revoke']")
    assert license_id in page.locator("main").inner_text()
    visitor.tab_to("main button")
    page.keyboard.press("Enter")  # the browser asks for the tick
    assert license_of(visitor, license_id).status is LicenseStatus.ACTIVE
    visitor.tab_to("#confirm", back=True)
    page.keyboard.press("Space")
    visitor.follow("main button")
    assert license_of(visitor, license_id).status is LicenseStatus.REVOKED


def test_a_boxs_troubles_by_keyboard(visitor: Visitor) -> None:
    """From the first page to the box whose firmware changed, then the one that is held, then a transfer."""
    visitor.log_in()
    fleet, page = visitor.fleet, visitor.page
    visitor.follow(f"a[href^='/devices/{fleet.changed}']")
    visitor.follow("a[href$='/approve-firmware']")
    digest = page.locator("main form input[name=digest]").input_value()
    assert digest in page.locator("main").inner_text()
    assert page.locator("tr.changed").count() == 1
    visitor.follow("main button")
    assert device_of(visitor, fleet.changed).approved_pcrs != "{}"

    visitor.goto("/")
    visitor.follow(f"a[href='/devices/{fleet.held}']")
    assert "ROLLED_BACK" in page.locator("main").inner_text()
    visitor.follow("a[href$='/resume']")
    visitor.follow("main button")
    assert device_of(visitor, fleet.held).status is DeviceStatus.LIVE

    visitor.follow("a[href$='/transfer']")
    visitor.follow("main button")
    assert page.locator(".codes code").count() == 1
    visitor.follow("main .action")
    visitor.follow("a[href$='/retire']")
    visitor.tab_to("#confirm")
    page.keyboard.press("Space")
    visitor.follow("main button")
    assert device_of(visitor, fleet.held).status is DeviceStatus.RETIRED


def test_a_release_is_retired_by_keyboard(visitor: Visitor) -> None:
    visitor.log_in(path="/releases")
    visitor.follow("tbody a")
    visitor.follow("a[href$='/withdraw']")
    visitor.tab_to("#confirm")
    visitor.page.keyboard.press("Space")
    visitor.follow("main button")
    with visitor.fleet.world.store.read() as transaction:
        assert all(one.withdrawn for one in transaction.find(ReleaseRecord))


def test_a_double_click_issues_one_licence_and_shows_its_codes(visitor: Visitor) -> None:
    """The second submission is stopped in the browser; past it the service would do nothing either."""
    visitor.log_in(path="/licenses/issue")
    page, store = visitor.page, visitor.fleet.world.store
    with store.read() as transaction:
        before = transaction.count(License)
    page.fill("#field-product", "synthetic-box")
    page.click("#field-tiers-software")
    sent = len(visitor.seen.urls)
    with page.expect_navigation():
        page.evaluate(TWICE)
    assert page.locator(".codes code").count() == 1
    assert [one.rpartition("/")[2] for one in visitor.seen.urls[sent:]].count("issue") == 1
    with store.read() as transaction:
        assert transaction.count(License) == before + 1


def test_a_token_is_revoked_by_keyboard(visitor: Visitor) -> None:
    store = visitor.fleet.world.store
    record, _ = create_token(store, OPERATOR, "of a colleague", Role.AUDITOR, now=visitor.fleet.world.now)
    visitor.log_in(path="/tokens")
    visitor.speak("zh-Hans")
    visitor.follow(f"a[href='/tokens/{record.token_id}']")
    assert "of a colleague" in visitor.heading()
    visitor.follow("a[href$='/revoke']")
    assert record.token_id in visitor.page.locator("main").inner_text()
    visitor.tab_to("#confirm")
    visitor.page.keyboard.press("Space")
    visitor.follow("main button")
    assert "令牌已吊销" in visitor.page.locator(".done").inner_text()
    with store.read() as transaction:
        revoked = transaction.get(ApiToken, record.token_id)
    assert revoked is not None
    assert revoked.revoked_at is not None


def test_decisions_of_a_day(visitor: Visitor) -> None:
    """A day is chosen in the browser's own field, and the list follows."""
    visitor.log_in(path="/decisions")
    page = visitor.page
    assert page.locator("tbody tr").count() > 1
    page.fill("#filter-first_day", "2099-01-01")
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 0")
    page.wait_for_url("**first_day=2099-01-01*")
    assert page.locator("#list .empty").is_visible()


def test_a_list_follows_what_is_typed(visitor: Visitor) -> None:
    """With htmx, without loading the page again; the address keeps up, and the focus stays."""
    visitor.log_in(path="/devices")
    page = visitor.page
    page.evaluate("() => { window.same = true; }")
    assert page.locator("tbody tr").count() == 3
    visitor.tab_to("#filter-prefix")
    page.keyboard.type(visitor.fleet.healthy[:10])
    page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
    page.wait_for_url(f"**prefix={visitor.fleet.healthy[:10]}*")
    assert page.evaluate("() => window.same && document.activeElement.id") == "filter-prefix"
    page.reload()
    assert page.locator("tbody tr").count() == 1


def test_all_of_it_works_without_script(chromium: Browser, server: LicenseServer, visitor: Visitor) -> None:
    context = chromium.new_context(base_url=server.url, ignore_https_errors=True, java_script_enabled=False)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto("/devices")
    page.fill("#token", visitor.fleet.tokens[Role.OPERATOR])
    page.press("#token", "Enter")
    page.wait_for_url("**/devices")
    page.fill("#filter-prefix", visitor.fleet.healthy[:10])
    page.press("#filter-prefix", "Enter")
    page.wait_for_url("**prefix=*")
    assert page.locator("tbody tr").count() == 1
    page.goto(f"/licenses/{visitor.fleet.license_id}/suspend")
    page.click("main button")
    page.wait_for_url(f"**/licenses/{visitor.fleet.license_id}")
    assert license_of(visitor, visitor.fleet.license_id).status is LicenseStatus.SUSPENDED
    context.close()


def test_another_sites_page_can_do_nothing(visitor: Visitor, server: LicenseServer) -> None:
    """A form elsewhere that posts to us, in the browser of somebody who is logged in; even with a good token."""
    visitor.log_in()
    page, license_id = visitor.page, visitor.fleet.license_id
    before = license_of(visitor, license_id)
    csrf = page.locator("input[name=csrf_token]").first.input_value()
    elsewhere = page.context.new_page()
    elsewhere.set_content(
        f'<form method="post" action="{server.url}/licenses/{license_id}/renew"><input name="days" value="9">'
        f'<input name="csrf_token" value="{csrf}"><button>win</button></form>'
    )
    with elsewhere.expect_navigation():
        elsewhere.click("button")
    assert elsewhere.locator("form[action='/logout']").count() == 0
    assert re.search("CROSS_SITE|UNAUTHENTICATED", elsewhere.locator("main").inner_text())
    assert license_of(visitor, license_id) == before


def test_an_injected_script_does_not_run(visitor: Visitor) -> None:
    """Should something get into a page in spite of escaping, the policy stops it."""
    visitor.log_in()
    visitor.script(
        "() => { const one = document.createElement('script'); one.textContent = 'window.owned = 1';"
        " document.body.append(one);"
        " const two = document.createElement('div'); two.innerHTML = '<img src=x onerror=\"window.owned = 2\">'"
        " + '<p style=\"position:fixed\" id=styled>x</p>'; document.body.append(two); }"
    )
    visitor.script(DRAWN)
    assert visitor.script("() => window.owned") is None
    assert visitor.script("() => getComputedStyle(document.getElementById('styled')).position") == "static"
    visitor.expect_violation()


def test_nothing_is_fetched_from_elsewhere(visitor: Visitor) -> None:
    visitor.log_in()
    visitor.script(
        """url => new Promise(done => {
          const one = document.createElement('script');
          one.src = url;
          one.onerror = one.onload = done;
          document.head.append(one);
        })""",
        ELSEWHERE,
    )
    visitor.expect_violation()
    visitor.seen.urls[:] = [one for one in visitor.seen.urls if one != ELSEWHERE]


def test_the_session_ends_with_logout_and_with_its_cookie(visitor: Visitor) -> None:
    visitor.log_in()
    (cookie,) = (one for one in visitor.page.context.cookies() if one["name"] == COOKIE)
    assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Strict")
    assert visitor.script("() => document.cookie").count(COOKIE) == 0
    visitor.follow("form.session button")
    assert visitor.heading() == "Log in"
    visitor.page.go_back()
    visitor.page.wait_for_load_state()
    assert visitor.heading() == "Log in"  # no-store: the browser asks again
    visitor.page.context.add_cookies([cookie])  # type: ignore[list-item]
    visitor.goto("/licenses")
    assert visitor.heading() == "Log in"
