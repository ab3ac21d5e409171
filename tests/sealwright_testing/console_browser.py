"""Somebody who looks at a fleet with a browser and a keyboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page, expect

from sealwright_licensing.operators.roles import Role
from sealwright_testing.browser import PATIENCE_MS, VIOLATED, SeenRequests
from sealwright_testing.troubled_fleet import Fleet

MOST_TABS = 120
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class Visitor:
    """Somebody at a browser."""

    page: Page
    fleet: Fleet
    seen: SeenRequests

    def log_in(self, role: Role = Role.OPERATOR, path: str = "/") -> None:
        """By keyboard alone: the field has the focus."""
        self.goto(path)
        token = self.page.locator("#token")
        expect(token).to_be_focused(timeout=PATIENCE_MS)
        self.page.keyboard.type(self.fleet.tokens[role])
        expect(token).to_have_value(self.fleet.tokens[role], timeout=PATIENCE_MS)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        assert self.page.url.endswith(path), self.page.locator("main").inner_text()

    def goto(self, path: str) -> None:
        """A page, until it is drawn: a browser gives the focus to a field no sooner."""
        self.page.goto(path)
        self.script(DRAWN)

    def speak(self, language: str) -> None:
        """Choose the language."""
        with self.page.expect_navigation():
            self.page.locator(f"button[value={language}]").click()

    def tab_to(self, selector: str, *, back: bool = False) -> None:
        """Press Tab until an element has the focus."""
        wanted = self.page.locator(selector).first
        for _ in range(MOST_TABS):
            if wanted.evaluate("one => one === document.activeElement"):
                return
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"{selector} cannot be reached by Tab on {self.page.url}")

    def follow(self, selector: str) -> None:
        """Go to an element by Tab and press Enter; wait for the page that comes."""
        self.tab_to(selector)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        self.script(DRAWN)

    def heading(self) -> str:
        """What the page is called."""
        return self.page.locator("h1").inner_text()

    def script(self, code: str, argument: Any = None) -> Any:
        """Ask the page something."""
        return self.page.evaluate(code, argument)

    def expect_violation(self) -> None:
        """Wait for the browser to say that the content security policy was violated; it may say so more than once."""
        if not any(VIOLATED in one for one in self.seen.complaints):
            self.page.wait_for_event("console", lambda one: VIOLATED in one.text)
        self.seen.provoked = True
