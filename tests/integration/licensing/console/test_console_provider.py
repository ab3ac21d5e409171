"""A browser logs in through an OpenID provider: by the link, to the provider and back."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from playwright.sync_api import Browser

from sealwright_licensing import keys
from sealwright_testing.browser import PATIENCE_MS
from sealwright_testing.license_server import running_service
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.openid_provider import configure_provider, running_provider


def test_a_person_logs_in_at_the_provider(chromium: Browser, tmp_path: Path) -> None:
    """Cookies that are SameSite=Strict, a policy that allows no form elsewhere, and all the same one gets in."""
    world = LicenseWorld.create(tmp_path / "service", now=int(time.time()))
    certificate, key = keys.tls_server_files(world.folder.keys)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with running_provider(certificate, key) as provider:
        provider.claims = {"preferred_username": "ann", "roles": ["admins"]}
        configure_provider(world.folder, provider, f"https://127.0.0.1:{port}", {"admins": "operator"})
        with running_service(world.folder, "serve-operators", port=port) as running:
            context = chromium.new_context(base_url=running.url, ignore_https_errors=True, locale="zh-CN")
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            page.goto("/")
            page.get_by_role("link", name="使用组织账号登录").click()
            page.wait_for_url(f"{running.url}/")
            assert "ann" in page.locator("form.session").inner_text()
            context.close()
    world.store.close()
