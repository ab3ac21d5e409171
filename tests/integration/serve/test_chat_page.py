"""The chat page in a real Chromium, over the real gateway and a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from sealwright_appliance.boot import BoxState
from sealwright_appliance.serve.pages import catalogue
from sealwright_policies.languages import Language
from sealwright_testing.browser import PATIENCE_MS, look
from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

QUESTION = "<b>What</b> is metformin?"


@pytest.fixture(scope="module")
def box(random_model: Path) -> Iterator[ServingBox]:
    """One model that never ends by itself, and one that soon does."""
    with serving_box({"random": random_model, "brief": random_model}, brief=frozenset({"brief"})) as running:
        yield running


def enter(page: Page, key: str) -> None:
    """By keyboard alone, from the front page."""
    page.goto("/")
    page.locator("a[href='/chat']").press("Enter")
    field = page.locator("#key")
    expect(field).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.type(key)
    page.keyboard.press("Enter")


def ask(page: Page, question: str) -> None:
    """Once the field has the focus."""
    expect(page.locator("#question")).to_be_focused(timeout=PATIENCE_MS)
    page.keyboard.type(question)
    page.keyboard.press("Enter")


def turns(page: Page) -> list[str]:
    """What was said, in its order."""
    return page.locator("#log li div").all_inner_texts()


def finished(page: Page) -> None:
    """The reply has come to its end."""
    expect(page.locator("#log")).to_have_attribute("aria-busy", "false", timeout=PATIENCE_MS)


def test_a_conversation_by_keyboard(page: Page, box: ServingBox, screenshots: Path) -> None:
    """Text stays text, and what was said is sent again; nothing outlives the page."""
    enter(page, box.api_key)
    page.locator("#model").select_option("brief")
    page.locator("#question").focus()
    for count in (1, 2):
        with page.expect_request("**/v1/chat/completions") as sent:
            ask(page, QUESTION)
        finished(page)
        assert len((sent.value.post_data_json or {})["messages"]) == 2 * count - 1
        assert turns(page)[-2] == QUESTION
        assert turns(page)[-1]
        assert any(character.isdigit() for character in page.locator("#note").inner_text())
    look(page, screenshots / f"chat-{page.locator('html').get_attribute('lang')}.png")
    page.reload()
    expect(page.locator("#key")).to_be_focused(timeout=PATIENCE_MS)
    assert turns(page) == []
    assert page.evaluate("() => sessionStorage.length + localStorage.length") == 0


def test_a_reply_to_a_conversation_that_was_given_up_is_in_no_other(page: Page, box: ServingBox) -> None:
    """Neither on the page nor in what the model is sent next."""
    enter(page, box.api_key)
    page.locator("#model").select_option("random")
    page.locator("#question").focus()
    ask(page, "Mine alone.")
    expect(page.locator("#log li.assistant div")).not_to_be_empty(timeout=PATIENCE_MS)
    page.locator("#new").press("Enter")
    finished(page)
    assert turns(page) == []
    page.locator("#model").select_option("brief")
    page.locator("#question").focus()
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, QUESTION)
    finished(page)
    assert (sent.value.post_data_json or {})["messages"] == [{"role": "user", "content": QUESTION}]
    assert len(turns(page)) == 2


def test_the_language_can_be_chosen(page: Page) -> None:
    """Whatever the browser likes best; the choice holds on every page."""
    page.goto("/chat")
    present = page.locator("html").get_attribute("lang")
    assert present in set(Language)
    (other,) = set(Language) - {present}
    page.locator(f"button[value={other}]").click()
    assert page.url.endswith("/chat")
    for address in ("/chat", "/administration", "/", "/renewal"):
        page.goto(address)
        assert page.locator("html").get_attribute("lang") == other


@pytest.mark.parametrize("key", ["sw-" + "a" * 43, "sw-密钥"])
def test_a_wrong_key_is_told(page: Page, screenshots: Path, key: str) -> None:
    """The same for one that cannot be a key."""
    enter(page, key)
    language = Language(page.locator("html").get_attribute("lang") or "")
    expect(page.locator("#note")).to_have_text(catalogue(language)["script.error.invalid_api_key"], timeout=PATIENCE_MS)
    expect(page.locator("#chat")).to_be_hidden()
    look(page, screenshots / f"chat-refused-{language}.png")


def test_a_key_is_asked_for_once_it_can_be_taken(page: Page) -> None:
    """A form that is sent before its script has come reloads the page, and the key is to be typed again."""
    page.route("**/page.js", lambda route: route.abort())
    page.goto("/chat")
    expect(page.locator("#entry")).to_be_hidden()
    page.unroute_all()
    page.reload()
    expect(page.locator("#key")).to_be_focused(timeout=PATIENCE_MS)


def test_a_reply_can_be_stopped(page: Page, box: ServingBox) -> None:
    """What has come stays, and the next question is taken."""
    enter(page, box.api_key)
    page.locator("#model").select_option("random")
    page.locator("#question").focus()
    ask(page, "Tell me everything.")
    expect(page.locator("#log li.assistant div")).not_to_be_empty(timeout=PATIENCE_MS)
    page.locator("#stop").press("Enter")
    finished(page)
    assert turns(page)[-1]
    expect(page.locator("#send")).to_be_visible(timeout=PATIENCE_MS)


@contextmanager
def loading(box: ServingBox) -> Iterator[None]:
    """The gateway knows that the box does not serve, and afterwards that it does."""
    with box.http() as client:
        box.board.change(BoxState.UNLOCKED, "The models are being loaded.")
        wait_until(lambda: client.get("/readyz").status_code == httpx.codes.SERVICE_UNAVAILABLE)
        yield
        box.board.change(BoxState.SERVING, "The models answer.")
        wait_until(lambda: client.get("/readyz").status_code == httpx.codes.OK)


def test_a_box_that_does_not_serve_says_so(page: Page, box: ServingBox) -> None:
    """The question is still in its field, to be sent again."""
    enter(page, box.api_key)
    page.locator("#question").focus()
    with loading(box):
        ask(page, QUESTION)
        finished(page)
        assert turns(page) == []
        assert page.locator("#note").inner_text()
        expect(page.locator("#question")).to_have_value(QUESTION)
