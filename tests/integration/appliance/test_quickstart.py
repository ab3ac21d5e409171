"""The printed quick start, walked in a browser: activation, the three secrets, their acknowledgement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from sealwright_appliance.activation import FIRST_KEY_NAME
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.serve.pages import catalogue
from sealwright_policies.languages import Language
from sealwright_testing.browser import PATIENCE_MS, look, telephone
from sealwright_testing.running_box import RunningBox, wait_until

DOCS = Path(__file__).parents[3] / "docs"
GUIDES = {Language.ENGLISH: "quickstart.md", Language.CHINESE: "quickstart.zh-Hans.md"}
WORDS_OF_THE_PAGE = ("front.by_file", "secrets.saved", "front.chat")
"""What the guide calls by its name on the page."""


@pytest.fixture(params=list(Language))
def page(request: pytest.FixtureRequest, browser: Browser, running: RunningBox) -> Iterator[Page]:
    """Of an administrator with a telephone."""
    with telephone(browser, running.url, request.param) as opened:
        yield opened


def test_from_the_claim_code_to_the_api_key(page: Page, running: RunningBox, screenshots: Path) -> None:
    """By keyboard alone; what the page shows is what the box keeps, until the button is pressed."""
    page.goto("/")
    language = Language(page.locator("html").get_attribute("lang") or "")
    look(page, screenshots / f"box-activation-{language}.png")
    expect(page.locator("[name=claim_code]")).to_be_focused(timeout=PATIENCE_MS)
    claim_code = running.claim_code
    for typed in (claim_code, running.simulated.vendor.issue().activation_code):
        page.keyboard.type(typed)
        page.keyboard.press("Tab")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    kept = running.claim.opened_with(claim_code)
    shown = page.locator(".secrets dd").all_inner_texts()
    assert [one.strip() for one in shown] == [kept.api_key, kept.recovery_key, kept.customer_key_pem.strip()]
    look(page, screenshots / f"box-secrets-{language}.png")
    with page.expect_navigation():
        page.get_by_role("button", name=catalogue(language)["secrets.saved"]).press("Enter")
    assert page.locator("h1").inner_text() == catalogue(language)["erased.title"]
    assert ApiKeys(running.simulated.paths.api_keys).holds(FIRST_KEY_NAME)
    wait_until(lambda: len(running.restarts) == 1)


@pytest.mark.parametrize("language", Language)
def test_the_guide_calls_things_as_the_page_does(language: Language) -> None:
    """And each language's guide leads to the other."""
    guide = (DOCS / GUIDES[language]).read_text()
    texts = catalogue(language)
    assert [key for key in WORDS_OF_THE_PAGE if f"*{texts[key]}*" not in guide] == []
    assert all(name in guide for one, name in GUIDES.items() if one is not language)
