"""A real Chromium, and what a page in it asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

VIOLATED = "Content Security Policy"
PATIENCE_MS = 60_000
"""How long a busy machine may take over one step."""

CONTRAST = """
() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest('svg') || !element.checkVisibility()) continue;
    const pair = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) poor.push(element.tagName + ' ' + element.className + ' ' + ratio.toFixed(2));
  }
  return poor;
}
"""
"""Script: elements whose text has less contrast than 4.5:1 (WCAG 2, 1.4.3)."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's. Its own sandbox needs rights that root's processes in a container lack."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)
        yield browser
        browser.close()


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


@contextmanager
def telephone(browser: Browser, url: str, locale: str) -> Iterator[Page]:
    """A new tab of somebody with a telephone; it may ask nobody but the box at ``url``, and break no policy."""
    context = browser.new_context(
        base_url=url, ignore_https_errors=True, locale=locale, viewport={"width": 390, "height": 844}
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    seen = SeenRequests.watch(page)
    yield page
    context.close()
    seen.require_own(url)


def look(page: Page, picture: Path) -> None:
    """All of the page can be read; takes its picture."""
    assert page.evaluate(CONTRAST) == []
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    page.screenshot(path=picture, full_page=True)
