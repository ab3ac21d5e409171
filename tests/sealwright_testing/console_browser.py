"""Somebody who looks at a fleet with a browser and a keyboard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request, expect

from sealwright_licensing.operators.roles import Role
from sealwright_testing.troubled_fleet import Fleet

MOST_TABS = 120
VIOLATED = "Content Security Policy"
PATIENCE_MS = 60_000
"""How long a busy machine may take over one step."""
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class SeenRequests:
    """What a page asked for, and what the browser complained about."""

    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    provoked: bool = False
    """Whether the test violates the policy on purpose."""

    @classmethod
    def watch(cls, page: Page) -> SeenRequests:
        """Begin."""
        seen = cls()

        def request(one: Request) -> None:
            seen.urls.append(one.url)

        def console(message: ConsoleMessage) -> None:
            # A page with an error's status is no complaint about the page.
            if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
                seen.complaints.append(message.text)

        page.on("request", request)
        page.on("console", console)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        return seen

    def require_own(self, url: str) -> None:
        """No request to anybody else, no violation of the policy, no error of a script."""
        assert [one for one in self.urls if not one.startswith(url + "/")] == []
        assert [one for one in self.complaints if not (self.provoked and VIOLATED in one)] == []


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
