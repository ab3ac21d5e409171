"""Every page in both languages, at a desk and on a telephone: nothing overflows, contrast and focus are to be seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.records import Decision, ReleaseRecord
from sealwright_testing.browser import CONTRAST
from sealwright_testing.console_browser import MOST_TABS, Visitor
from sealwright_testing.troubled_fleet import Fleet

TINY = """
() => [...document.querySelectorAll('svg text')].filter(one => one.getBoundingClientRect().height < 10)
  .map(one => one.textContent)
"""
OVERLAPPING = """
() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')].map(one => [one.textContent, one.getBoundingClientRect()]);
  return texts.flatMap(([text, a], at) => texts.slice(at + 1)
    .filter(([, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom - 3 && b.top < a.bottom - 3)
    .map(([other]) => text + ' / ' + other));
})
"""
CUT = """
() => [...document.querySelectorAll('svg text')].filter(one => {
  const [text, svg] = [one.getBoundingClientRect(), one.ownerSVGElement.getBoundingClientRect()];
  return text.left < svg.left - 1 || text.right > svg.right + 1
    || text.top < svg.top - 3 || text.bottom > svg.bottom + 3;
}).map(one => one.textContent)
"""
SQUEEZED = """
() => [...document.querySelectorAll('td')].filter(one => {
  const range = document.createRange();
  range.selectNodeContents(one);
  const box = range.getBoundingClientRect();
  return box.height > 200 && box.height > 2 * box.width;
}).map(one => one.textContent.slice(0, 80))
"""
REACH = """
() => {
  document.activeElement.dataset.reached = 1;
  return getComputedStyle(document.activeElement).outlineStyle;
}
"""
UNREACHED = """
() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary')]
  .filter(one => one.checkVisibility() && !one.dataset.reached)
  .map(one => one.outerHTML.slice(0, 120))
"""


def pages(fleet: Fleet) -> dict[str, str]:
    """Every kind of page by a name for its picture."""
    with fleet.world.store.read() as transaction:
        (release,) = transaction.find(ReleaseRecord)
        denied = transaction.find(Decision, code="ROLLED_BACK")[0]
        (token,) = transaction.find(ApiToken, name=Role.AUDITOR.value)
    license_ = f"/licenses/{fleet.license_id}"
    return {
        "overview": "/",
        "licences": "/licenses",
        "licence": license_,
        "issue": "/licenses/issue",
        "revoke": f"{license_}/revoke",
        "devices": "/devices",
        "device": f"/devices/{fleet.healthy}",
        "device-firmware": f"/devices/{fleet.changed}",
        "device-held": f"/devices/{fleet.held}",
        "approve": f"/devices/{fleet.changed}/approve-firmware",
        "releases": "/releases",
        "release": f"/releases/{release.release_id}",
        "metering": "/metering",
        "decisions": "/decisions",
        "decision": f"/decisions/{denied.decision_id}",
        "operations": "/operations",
        "log": "/log",
        "tokens": "/tokens",
        "token": f"/tokens/{token.token_id}",
        "not-found": "/devices/none",
    }


def be_looked_at(visitor: Visitor, picture: Path, language: str) -> None:
    """The page that is shown: in its language, and all of it can be read; takes its picture."""
    assert visitor.script("() => document.documentElement.lang") == language
    assert visitor.page.title() != "owned"
    for fault in (CONTRAST, TINY, OVERLAPPING, CUT, SQUEEZED):
        assert visitor.script(fault) == [], picture.name
    width = visitor.script("() => innerWidth")
    assert visitor.script("() => document.documentElement.scrollWidth") <= width, picture.name
    visitor.page.screenshot(path=picture, full_page=True)


@pytest.mark.parametrize("width", [1200, 360], ids=["desk", "telephone"])
@pytest.mark.parametrize("language", ["en", "zh-Hans"])
def test_every_page(visitor: Visitor, screenshots: Path, language: str, width: int) -> None:
    """In both languages, at a desk and on a telephone; the first is where one logs in, the others as operator."""
    visitor.page.set_viewport_size({"width": width, "height": 900})
    visitor.goto("/login")
    visitor.speak(language)
    be_looked_at(visitor, screenshots / f"login-{language}-{width}.png", language)
    visitor.log_in()
    for name, path in pages(visitor.fleet).items():
        visitor.goto(path)
        be_looked_at(visitor, screenshots / f"{name}-{language}-{width}.png", language)
    for name, product in (("refused", "two words"), ("codes", "synthetic-box")):
        visitor.goto("/licenses/issue")
        visitor.page.locator("#field-product").fill(product)
        visitor.page.locator("#field-seats").fill("3")
        visitor.page.locator("main button.main").click()
        visitor.page.wait_for_selector(".problem" if name == "refused" else ".codes")
        be_looked_at(visitor, screenshots / f"{name}-{language}-{width}.png", language)


def test_tab_reaches_everything_and_shows_where_it_is(visitor: Visitor) -> None:
    """In the order of the page; first of all the way past the navigation."""
    visitor.log_in()
    for path in ("/", "/devices", f"/devices/{visitor.fleet.changed}", "/licenses/issue"):
        visitor.goto(path)
        visitor.page.keyboard.press("Tab")
        assert visitor.script("() => document.activeElement.className") == "skip"
        outlines = set()
        for _ in range(MOST_TABS):
            if visitor.script("() => document.activeElement === document.body"):
                break
            outlines.add(visitor.script(REACH))
            visitor.page.keyboard.press("Tab")
        assert outlines == {"solid"}, path
        assert visitor.script(UNREACHED) == [], path


def test_the_skip_link_leads_past_the_navigation(visitor: Visitor) -> None:
    visitor.log_in()
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.press("Enter")
    assert visitor.script("() => document.activeElement.id") == "main"


def test_others_than_operators_are_shown_no_buttons(visitor: Visitor) -> None:
    visitor.log_in(Role.READ_ONLY)
    for path in ("/", f"/licenses/{visitor.fleet.license_id}", f"/devices/{visitor.fleet.held}"):
        visitor.goto(path)
        assert visitor.page.locator(".action").count() == 0
    visitor.goto(f"/licenses/{visitor.fleet.license_id}/revoke")
    assert "FORBIDDEN" in visitor.page.locator("main").inner_text()
