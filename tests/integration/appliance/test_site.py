"""The site's settings over the box's own addresses: who may change them, the trial of a network, a real proxy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from sealwright_appliance.api_keys import draw_api_key
from sealwright_appliance.boot import BoxState
from sealwright_appliance.serve.pages import catalogue
from sealwright_appliance.site.site import Site
from sealwright_appliance.site.store import SiteStore
from sealwright_policies.errors import OperationError
from sealwright_policies.languages import Language
from sealwright_testing.browser import PATIENCE_MS, look, telephone
from sealwright_testing.connect_proxy import ConnectProxy
from sealwright_testing.ports import free_port
from sealwright_testing.running_box import NO_CODE, RunningBox, wait_until
from sealwright_testing.sites import fixed_network, site_settings


@pytest.fixture(params=list(Language))
def page(request: pytest.FixtureRequest, browser: Browser, running: RunningBox) -> Iterator[Page]:
    """Of an administrator with a telephone."""
    with telephone(browser, running.url, request.param) as opened:
        yield opened


def site_of(running: RunningBox) -> Site:
    assert running.agent.site is not None
    return running.agent.site


def ask(running: RunningBox, method: str, path: str, headers: dict[str, str] | None = None, **body: Any) -> Any:
    """With the claim code, unless a header says who asks."""
    asker = {} if headers or "claim_code" in body else {"claim_code": running.claim_code}
    with running.http() as client:
        return client.request(method, path, json=asker | body, headers=headers)


def code_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["code"]


def test_the_claim_code_sets_until_it_is_spent_and_then_an_administrators_key(running: RunningBox) -> None:
    assert code_of(ask(running, "POST", "/site", claim_code=NO_CODE)) == (403, "CLAIM_CODE_INVALID")
    assert code_of(ask(running, "PUT", "/site", claim_code="", settings={})) == (403, "CLAIM_CODE_INVALID")
    assert code_of(ask(running, "POST", "/site", {"Authorization": f"Bearer {draw_api_key()}"})) == (
        403,
        "ADMIN_KEY_REQUIRED",
    )
    wanted = site_settings(network=None)
    shown = ask(running, "PUT", "/site", settings=wanted).raise_for_status().json()
    assert shown == {"settings": wanted, "trial": None, "trial_left_s": None}
    assert len(running.applied) == 1
    claim = running.claim.opened_with(running.claim_code)
    running.agent.api_keys.ensure("first", claim.api_key, admin=True)
    spent = running.claim_code
    running.claim.spend()
    assert code_of(ask(running, "POST", "/site", claim_code=spent)) == (409, "CLAIM_SPENT")
    admin = {"Authorization": f"Bearer {claim.api_key}"}
    assert ask(running, "POST", "/site", admin).json()["settings"] == wanted
    member = {"Authorization": f"Bearer {running.agent.api_keys.create('ward', admin=False)}"}
    assert code_of(ask(running, "PUT", "/site", member, settings=wanted)) == (403, "ADMIN_KEY_REQUIRED")


def test_guesses_are_slowed_down_and_the_right_code_is_none(running: RunningBox) -> None:
    """And is refused, too, while they are: else guessing would be free."""
    for _ in range(12):
        assert ask(running, "POST", "/site").is_success
    codes = [code_of(ask(running, "POST", "/site", claim_code=NO_CODE)) for _ in range(7)]
    assert set(codes) == {(403, "CLAIM_CODE_INVALID"), (429, "RATE_LIMITED")}
    assert code_of(ask(running, "POST", "/site")) == (429, "RATE_LIMITED")


@pytest.mark.parametrize("settings", [None, [], "x", {}, site_settings(time=["a b"])], ids=str)
def test_what_cannot_be_set_changes_nothing(running: RunningBox, settings: Any) -> None:
    assert ask(running, "PUT", "/site", settings=settings).status_code == 400
    assert (running.applied, running.simulated.paths.site.exists()) == ([], False)


def test_a_network_is_kept_where_it_was_reached_alone(running: RunningBox) -> None:
    """Not at the address that the box had before."""
    trial = ask(running, "PUT", "/site", settings=site_settings()).raise_for_status().json()
    assert (trial["settings"]["network"], trial["trial"]["network"]) == (None, fixed_network())
    assert 0 < trial["trial_left_s"] <= 300
    assert code_of(ask(running, "PUT", "/site", settings=site_settings(network=None))) == (409, "SITE_ON_TRIAL")
    assert code_of(ask(running, "POST", "/site/confirmation")) == (409, "SITE_NOT_REACHED")
    assert not running.simulated.paths.site.exists()
    site_of(running).confirm("192.0.2.5")
    assert ask(running, "POST", "/site").json() == {
        "settings": site_settings(), "trial": None, "trial_left_s": None
    }  # fmt: skip
    assert not running.simulated.paths.site_trial.exists()
    assert code_of(ask(running, "POST", "/site/confirmation")) == (409, "SITE_NOT_ON_TRIAL")


def test_a_network_that_nobody_confirms_goes(running: RunningBox) -> None:
    site_of(running).trial_s, site_of(running).reply_s = 0.5, 0.0
    ask(running, "PUT", "/site", settings=site_settings()).raise_for_status()
    assert running.simulated.paths.site_trial.exists()
    wait_until(lambda: "the one before is back" in running.console.read_text() and len(running.applied) == 2)
    assert ask(running, "POST", "/site").json()["trial"] is None
    assert not running.simulated.paths.site_trial.exists()
    assert not running.simulated.paths.site.exists()


def test_an_undoing_that_fails_is_tried_again(running: RunningBox) -> None:
    """Nobody may reach the box to ask for it."""
    site, applied = site_of(running), list[int]()

    def apply() -> None:
        applied.append(len(applied))
        if len(applied) == 2:
            raise OperationError("systemd does not answer.")

    site.apply, site.trial_s, site.reply_s, site.again_s = apply, 0.5, 0.0, 0.2
    ask(running, "PUT", "/site", settings=site_settings()).raise_for_status()
    wait_until(lambda: len(applied) == 3)


def test_an_agent_that_starts_ends_a_trial(running: RunningBox) -> None:
    """Whoever would have ended it is gone."""
    ask(running, "PUT", "/site", settings=site_settings()).raise_for_status()
    running.start_agent(BoxState.WAITING_FOR_ACTIVATION)
    site_of(running).open()
    assert SiteStore(running.simulated.paths).tried() is None
    wait_until(lambda: len(running.applied) == 2)


def test_a_box_is_set_up_step_by_step_by_a_proxy(page: Page, running: RunningBox, screenshots: Path) -> None:
    """By keyboard; what fails is told with its cure; behind the proxy it comes to the secrets."""
    page.goto("/")
    language = Language(page.locator("html").get_attribute("lang") or "")
    said = catalogue(language)
    page.locator("a[href='/setup']").press("Enter")
    expect(page.locator("#claim")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.type(running.claim_code)
    page.keyboard.press("Enter")
    expect(page.locator("#site-dhcp")).to_be_focused(timeout=PATIENCE_MS)
    page.locator("#site-fixed").check()
    look(page, screenshots / f"setup-network-{language}.png")
    page.locator("#site-address4").fill("192.0.2.0/24")
    page.locator("#site-address4").press("Enter")
    expect(page.locator("#note")).to_have_text(said["script.error.SITE_NETWORK"], timeout=PATIENCE_MS)
    page.locator("#site-dhcp").check()
    set_proxy(page, free_port(), said)
    page.locator("#code").fill(running.simulated.vendor.issue().activation_code)
    page.locator("#code").press("Enter")
    expect(page.locator("#note")).to_contain_text(said["setup.cause.proxy"], timeout=PATIENCE_MS)
    expect(page.locator("[data-step=enrolling]")).to_have_class("failed")
    look(page, screenshots / f"setup-failed-{language}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    look(page, screenshots / f"setup-desk-{language}.png")
    with ConnectProxy().running() as proxy:
        set_proxy(page, proxy.port, said)
        page.locator("#code").press("Enter")
        expect(page.locator(".secrets")).to_be_visible(timeout=PATIENCE_MS)
        assert proxy.asked_for[0].startswith("CONNECT 127.0.0.1:")
        assert running.claim_code.encode() not in proxy.seen
    kept = running.claim.opened_with(running.claim_code)
    assert page.locator(".secrets dd").first.inner_text().strip() == kept.api_key
    with running.http() as client:
        assert client.get("/activation/progress").json() == {"step": "restarting", "cause": None}


def test_an_administrator_changes_it_on_the_page(page: Page, running: RunningBox, screenshots: Path) -> None:
    """Once the box serves, by a key in place of the claim code."""
    key = running.serve()
    page.goto("/administration")
    language = Language(page.locator("html").get_attribute("lang") or "")
    page.locator("#key").fill(key)
    page.locator("#key").press("Enter")
    page.locator("#site-time").fill("192.0.2.10", timeout=PATIENCE_MS)
    page.locator("#site-time").press("Enter")
    expect(page.locator("#note")).to_have_text(catalogue(language)["site.done"], timeout=PATIENCE_MS)
    look(page, screenshots / f"administration-site-{language}.png")
    assert SiteStore(running.simulated.paths).confirmed().time == ["192.0.2.10"]


def test_a_form_that_nothing_can_take_yet_is_not_shown(page: Page, running: RunningBox) -> None:
    """A claim code sent before the script has come would lead nowhere."""
    page.route("**/setup.js", lambda route: route.abort())
    page.goto("/setup")
    expect(page.locator("h1")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#setup-claim")).to_be_hidden()


def set_proxy(page: Page, port: int, said: Mapping[str, str]) -> None:
    page.locator("#site-proxy-host").fill("localhost")
    page.locator("#site-proxy-port").fill(str(port))
    page.locator("#site-proxy-port").press("Enter")
    expect(page.locator("#note")).to_have_text(said["site.done"], timeout=PATIENCE_MS)


def test_a_network_on_trial_leads_to_its_new_address(page: Page, running: RunningBox, screenshots: Path) -> None:
    page.goto("/setup")
    language = Language(page.locator("html").get_attribute("lang") or "")
    said = catalogue(language)
    page.locator("#claim").fill(running.claim_code)
    page.locator("#claim").press("Enter")
    page.locator("#site-fixed").check(timeout=PATIENCE_MS)
    page.locator("#site-address4").fill("192.0.2.5/24")
    page.locator("#site-gateway4").fill("192.0.2.1")
    page.locator("#site-gateway4").press("Enter")
    link = page.locator("#site-trial-links a")
    expect(link).to_have_text(f"https://192.0.2.5:{running.port}/setup", timeout=PATIENCE_MS)
    page.locator("#site-confirm").press("Enter")
    expect(page.locator("#note")).to_have_text(said["script.error.SITE_NOT_REACHED"], timeout=PATIENCE_MS)
    look(page, screenshots / f"setup-trial-{language}.png")
