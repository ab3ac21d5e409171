"""A running operators' process with real data, and a real Chromium in front of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from sealwright_testing import browser
from sealwright_testing.browser import PATIENCE_MS, SeenRequests
from sealwright_testing.console_browser import Visitor
from sealwright_testing.license_server import LicenseServer, running_service
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.troubled_fleet import Fleet, make_fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    world = LicenseWorld.create(tmp_path_factory.mktemp("console") / "service", now=int(time.time()))
    yield make_fleet(world)
    world.store.close()


@pytest.fixture(scope="module")
def server(fleet: Fleet) -> Iterator[LicenseServer]:
    with running_service(fleet.world.folder, "serve-operators") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as running:
        yield running


@pytest.fixture
def visitor(chromium: Browser, server: LicenseServer, fleet: Fleet) -> Iterator[Visitor]:
    """Somebody at a keyboard with a browser that has no session; whatever the page is refused fails the test."""
    context = chromium.new_context(
        base_url=server.url, ignore_https_errors=True, viewport={"width": 1200, "height": 900}, locale="en-GB"
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    seen = SeenRequests.watch(page)
    yield Visitor(page, fleet, seen)
    context.close()
    seen.require_own(server.url)
