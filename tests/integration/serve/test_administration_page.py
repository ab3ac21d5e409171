"""The administrators' page in a real Chromium, over the real gateway, agent's endpoints and engine."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.engines import PARALLEL_REQUESTS
from sealwright_appliance.outflow.key_states import KeyState
from sealwright_appliance.serve.pages import catalogue
from sealwright_policies.languages import Language
from sealwright_policies.outflow import STRICTEST
from sealwright_testing.browser import PATIENCE_MS, look
from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

HELLO = {"model": "random", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}


@pytest.fixture(scope="module")
def box(random_model: Path) -> Iterator[ServingBox]:
    """A model with budgets, of which something is used, and one whose engine never comes."""
    with serving_box({"random": random_model, "elsewhere": None}, policy=STRICTEST) as running:
        with running.http() as client:
            assert client.post("/v1/chat/completions", json=HELLO).status_code == httpx.codes.OK
            client.headers["Authorization"] = f"Bearer {running.admin_key}"
            wait_until(lambda: client.get("/admin/metering").json()["rows"])
        yield running


def texts(page: Page) -> dict[str, str]:
    return dict(catalogue(Language(page.locator("html").get_attribute("lang") or "")))


def enter(page: Page, key: str) -> None:
    """By keyboard alone, from the front page."""
    page.goto("/")
    page.locator("a[href='/administration']").press("Enter")
    expect(page.locator("#key")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.type(key)
    page.keyboard.press("Enter")


def opened(page: Page, box: ServingBox) -> None:
    """With the administrator's key."""
    enter(page, box.admin_key)
    expect(page.locator("#refresh")).to_be_focused(timeout=PATIENCE_MS)


def key_row(page: Page, name: str) -> str:
    return f"#keys tr:has(th:text-is('{name}'))"


def test_it_shows_models_budgets_and_usage(page: Page, box: ServingBox, screenshots: Path) -> None:
    """Of which nobody needs the command."""
    opened(page, box)
    said = texts(page)
    models = page.locator("#models tr")
    expect(models).to_have_count(2)
    expect(models.nth(0)).to_contain_text(said["administration.loading"])
    expect(models.nth(1)).to_contain_text(said["administration.ready"])
    expect(models.nth(1)).to_contain_text(f"0 / {PARALLEL_REQUESTS}")
    requests = STRICTEST.budgets[0].requests
    assert requests is not None
    own = page.locator("#budgets label", has_text="ward").filter(has_text=f"{requests:,}").first
    expect(own).to_be_visible()
    assert own.locator("meter").get_attribute("max") == str(requests)
    row = page.locator("#usage tr", has_text="ward")
    expect(row).to_have_count(1)
    look(page, screenshots / f"administration-{page.locator('html').get_attribute('lang')}.png")


def test_usage_of_days_is_drawn_and_tabled(page: Page, box: ServingBox, screenshots: Path) -> None:
    """As far as the agent has counted it; chosen by keyboard; on a desk too."""
    opened(page, box)
    said = texts(page)
    today, (kept,) = box.meter.days()
    (ward,) = kept.rows
    assert (kept.day, ward.key, ward.requests) == (today, "ward", 1)
    bars = page.locator("#days-chart rect")
    expect(bars).to_have_count(30)
    tokens = said["administration.usage.tokens"].format(count=ward.prompt_tokens + ward.completion_tokens)
    summed = said["administration.usage.sum"].format(counted=tokens, days=30)
    expect(page.locator("#days-chart svg")).to_have_attribute("aria-label", summed)
    assert [bars.nth(at).get_attribute("height") for at in (28, 29)] == ["0", "100"]
    page.locator("#days-span").press("ArrowDown")
    expect(bars).to_have_count(92)
    page.locator("#days-count").press("ArrowDown")
    requests = said["administration.usage.requests"].format(count=1)
    expect(page.locator("#days-sum")).to_have_text(said["administration.usage.sum"].format(counted=requests, days=92))
    page.locator("#days summary").press("Enter")
    cells = page.locator("#days-rows td").all_inner_texts()
    assert cells == [f"{one:,}" for one in (1, ward.prompt_tokens, ward.completion_tokens)]
    page.locator("#days-model").select_option("random")
    page.locator("#days-key").select_option("ward")
    expect(page.locator("#days-rows tr")).to_have_count(1)
    language = page.locator("html").get_attribute("lang")
    look(page, screenshots / f"usage-{language}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    look(page, screenshots / f"usage-desk-{language}.png")
    with box.http() as client:
        assert client.get("/admin/metering/days").status_code == httpx.codes.FORBIDDEN


def test_a_key_is_made_used_and_revoked(page: Page, box: ServingBox) -> None:
    """It is shown once, and works until it is revoked."""
    opened(page, box)
    name = f"ward {time.time_ns()}"
    page.locator("#name").fill(name)
    page.locator("#name").press("Enter")
    made = page.locator("#made code")
    expect(made).to_be_visible(timeout=PATIENCE_MS)
    authorization = {"Authorization": f"Bearer {made.inner_text()}"}
    expect(page.locator(key_row(page, name))).to_have_count(1, timeout=PATIENCE_MS)
    with box.http() as client:
        assert client.get("/v1/models", headers=authorization).status_code == httpx.codes.OK
        page.on("dialog", lambda dialog: dialog.accept())
        page.locator(key_row(page, name)).get_by_role("button").click()
        expect(page.locator(key_row(page, name))).to_have_count(0, timeout=PATIENCE_MS)
        assert client.get("/v1/models", headers=authorization).status_code == httpx.codes.UNAUTHORIZED


def test_a_key_is_made_for_one_model_and_to_a_day(page: Page, box: ServingBox) -> None:
    """Both stand in the list; an administrator's cannot have them, and the page says so."""
    opened(page, box)
    said = texts(page)
    name = f"ward {time.time_ns()}"
    page.locator("#name").fill(name)
    page.locator("#key-models").select_option("random")
    page.locator("#last-day").fill("2100-12-31")
    page.locator("#name").press("Enter")
    row = page.locator(key_row(page, name))
    expect(row).to_have_count(1, timeout=PATIENCE_MS)
    expect(row).to_contain_text("random")
    expect(row).to_contain_text("2100")
    authorization = {"Authorization": f"Bearer {page.locator('#made code').inner_text()}"}
    with box.http() as client:
        listed = client.get("/v1/models", headers=authorization).json()["data"]
    assert [one["id"] for one in listed] == ["random"]
    expect(page.locator(key_row(page, "ward"))).to_contain_text(said["administration.key.all_models"])


def test_what_is_asked_first_can_be_declined(page: Page, box: ServingBox) -> None:
    """Nothing is revoked then."""
    opened(page, box)
    page.on("dialog", lambda dialog: dialog.dismiss())
    page.locator(key_row(page, "ward")).get_by_role("button").click()
    page.locator("#refresh").click()
    expect(page.locator(key_row(page, "ward"))).to_have_count(1, timeout=PATIENCE_MS)
    with box.http() as client:
        assert client.get("/v1/models").status_code == httpx.codes.OK


def test_the_last_administrator_stays(page: Page, box: ServingBox) -> None:
    """And is told why, in their language."""
    opened(page, box)
    said = texts(page)
    page.on("dialog", lambda dialog: dialog.accept())
    shown = said["administration.key.of_admin"].format(name="administrator")
    page.locator(key_row(page, shown)).get_by_role("button").click()
    expect(page.locator("#note")).to_have_text(said["script.error.LAST_ADMIN_KEY"], timeout=PATIENCE_MS)


def test_a_key_that_looks_like_copying_begins_anew(page: Page, box: ServingBox) -> None:
    """Once the administrator says that it was a mistake."""
    key = f"copier-{secrets.token_hex(4)}"  # that the gateway hears nothing of, which would say otherwise
    ApiKeys(box.paths.api_keys).create(key, admin=False)
    box.outflow.count([KeyState(model="random", key=key, harvest=1000.0, level=1)])
    opened(page, box)
    page.on("dialog", lambda dialog: dialog.accept())
    alarm = page.locator("#copying li", has_text=key)
    expect(alarm).to_have_count(1, timeout=PATIENCE_MS)
    alarm.get_by_role("button").click()
    expect(page.locator("#no-copying")).to_be_visible(timeout=PATIENCE_MS)


def test_a_box_that_lets_no_adapters_be_trained_does_not_speak_of_them(page: Page, box: ServingBox) -> None:
    """Not even once it has said so."""
    with page.expect_response("**/v1/adapters") as asked:
        opened(page, box)
    assert asked.value.json()["models"] == []
    page.locator("#refresh").press("Enter")
    expect(page.locator("#adapters")).to_be_hidden()
    expect(page.locator("#note")).to_have_text("")


def test_others_are_told_that_it_is_for_administrators(page: Page, box: ServingBox) -> None:
    """And see nothing."""
    enter(page, box.api_key)
    note = texts(page)["script.error.admin_key_required"]
    expect(page.locator("#note")).to_have_text(note, timeout=PATIENCE_MS)
    expect(page.locator("#administration")).to_be_hidden()
    expect(page.locator("#keys tr")).to_have_count(0)
