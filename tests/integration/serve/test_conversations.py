"""Conversations that are kept, through the real gateway and the agent's endpoints: who reads them, what is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Request, Route, expect

from sealwright_appliance.files import write_durably
from sealwright_appliance.retention_calendar import RetentionCalendar
from sealwright_appliance.serve.pages import catalogue
from sealwright_policies.languages import Language
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.browser import PATIENCE_MS, look
from sealwright_testing.redteam.canaries import forms
from sealwright_testing.serving import ServingBox, serving_box

CANARY = "canary-of-a-patient-9c1e"
DAY = 86_400


@pytest.fixture(scope="module")
def box(random_model: Path) -> Iterator[ServingBox]:
    """One model whose domain keeps prompts for a week, and one whose domain keeps none."""
    models: dict[str, Path | None] = {"brief": random_model, "sealed": random_model}
    with serving_box(models, brief=frozenset(models), kept_days={"brief": 7}) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_kept(box: ServingBox) -> None:
    """Each test begins on its first day, and with nothing."""
    at(box, 0)
    with box.http() as client:
        for key in (box.api_key, box.admin_key):
            client.delete("/conversations", headers=shows(key)).raise_for_status()


def shows(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def at(box: ServingBox, seconds: int) -> None:
    """Set the agent's calendar."""
    write_durably(
        box.conversations.calendar, document_bytes(RetentionCalendar(version=1, at=seconds, clock_ms=0))
    )  # fmt: skip


def chat(*models: str, text: str = CANARY) -> dict[str, Any]:
    turns = [
        {"role": role, "model": model, "text": f"{text} {role}"} for model in models for role in ("user", "assistant")
    ]
    return {"title": text, "instructions": f"{text} instructions", "turns": turns}


def on_disk(box: ServingBox) -> list[bytes]:
    """Every file of the state volume, and its name."""
    files = [path for path in box.paths.state.rglob("*") if path.is_file()]
    return [str(path).encode() + b"\n" + path.read_bytes() for path in files]


def require_nowhere(box: ServingBox) -> None:
    """No form of the canary in any file, nor in a log."""
    for content in (*on_disk(box), box.gateway_log.encode()):
        for form in forms(CANARY.encode()):
            assert form not in content


def test_what_is_kept_is_read_continued_and_deleted(box: ServingBox) -> None:
    """And on the disk it is never in clear, nor in any form after its deletion."""
    with box.http() as client:
        made = client.post("/conversations", json=chat("brief"))
        assert made.status_code == httpx.codes.CREATED
        assert made.json()["left_s"] == 7 * DAY
        path = f"/conversations/{made.json()['id']}"
        assert client.get(path).json() == chat("brief") | {"id": made.json()["id"]}
        assert client.put(path, json=chat("brief", "brief")).status_code == httpx.codes.OK
        assert len(client.get(path).json()["turns"]) == 4
        (listed,) = client.get("/conversations").json()["conversations"]
        assert (listed["title"], listed["models"], listed["left_s"]) == (CANARY, ["brief"], 7 * DAY)
        assert len(list(box.paths.conversations.rglob("*"))) == 2
        require_nowhere(box)
        assert client.delete(path).json() == {"removed": 1}
        assert client.get(path).status_code == httpx.codes.NOT_FOUND
        assert client.get("/conversations").json()["conversations"] == []
    assert list(box.paths.conversations.rglob("*")) == []
    require_nowhere(box)


@pytest.mark.parametrize("models", [("sealed",), ("brief", "sealed"), ("elsewhere",)])
def test_where_a_domain_keeps_nothing_nothing_is_kept(box: ServingBox, models: tuple[str, ...]) -> None:
    """Whatever a client asks; the state volume is the same to the byte."""
    before = sorted(on_disk(box))
    with box.http() as client:
        refused = client.post("/conversations", json=chat(*models))
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "PROMPTS_NOT_KEPT")
        assert client.get("/conversations").json() == {"kept": {"brief": 7, "sealed": 0}, "conversations": []}
    assert sorted(on_disk(box)) == before


def test_what_is_asked_of_a_model_is_kept_by_nobody_who_does_not_ask_for_it(box: ServingBox) -> None:
    """The API itself keeps nothing, of either model."""
    before = {path for path in box.paths.state.rglob("*") if "conversations" in str(path)}
    with box.http() as client:
        for model in ("brief", "sealed"):
            asked = {"model": model, "messages": [{"role": "user", "content": CANARY}], "max_tokens": 4}
            assert client.post("/v1/chat/completions", json=asked).status_code == httpx.codes.OK
    assert {path for path in box.paths.state.rglob("*") if "conversations" in str(path)} == before
    require_nowhere(box)


def test_another_key_finds_nothing(box: ServingBox) -> None:
    """An administrator's neither, though it knows the id."""
    with box.http() as client:
        path = f"/conversations/{client.post('/conversations', json=chat('brief')).json()['id']}"
        other = shows(box.admin_key)
        assert client.get("/conversations", headers=other).json()["conversations"] == []
        for reply in (
            client.get(path, headers=other),
            client.put(path, json=chat("brief"), headers=other),
            client.delete(path, headers=other),
        ):
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "UNKNOWN_CONVERSATION")
        assert client.delete("/conversations", headers=other).json() == {"removed": 0}
        assert client.get("/conversations", headers=shows("sw-" + "A" * 43)).status_code == httpx.codes.UNAUTHORIZED
        assert client.get(path).status_code == httpx.codes.OK


def test_a_file_that_was_given_to_another_owner_stays_sealed(box: ServingBox) -> None:
    """Whoever writes on the state volume moves files, and opens none by it."""
    with box.http() as client:
        mine = client.post("/conversations", json=chat("brief")).json()["id"]
        theirs = client.post("/conversations", json=chat("brief", text="x"), headers=shows(box.admin_key)).json()["id"]
        (from_file,) = box.paths.conversations.glob(f"*/{mine}")
        (to_file,) = box.paths.conversations.glob(f"*/{theirs}")
        to_file.write_bytes(from_file.read_bytes())
        reply = client.get(f"/conversations/{theirs}", headers=shows(box.admin_key))
        assert reply.status_code == httpx.codes.NOT_FOUND
        (listed,) = client.get("/conversations", headers=shows(box.admin_key)).json()["conversations"]
        assert listed["title"] == ""
        assert client.delete(f"/conversations/{theirs}", headers=shows(box.admin_key)).json() == {"removed": 1}


def test_it_goes_when_its_days_are_over(box: ServingBox) -> None:
    with box.http() as client:
        path = f"/conversations/{client.post('/conversations', json=chat('brief')).json()['id']}"
        at(box, 7 * DAY - 1)
        assert client.put(path, json=chat("brief")).json()["left_s"] == 1
        at(box, 7 * DAY)
        assert client.get(path).status_code == httpx.codes.NOT_FOUND
        box.conversations.look()
    assert list(box.paths.conversations.rglob("*")) == []


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"title": ""}, "title"), ({"title": "x" * 101}, "title"), ({"turns": []}, "turns"), ({"more": 1}, ""),
        ({"turns": [{"role": "system", "model": "brief", "text": "x"}]}, "turns"),
        ({"instructions": 1}, "instructions"),
        ({"turns": [{"role": "user", "model": f"m{at}", "text": "x"} for at in range(17)]}, "turns"),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused(box: ServingBox, change: dict[str, Any], param: str) -> None:
    with box.http() as client:
        reply = client.post("/conversations", json=chat("brief") | change)
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
        assert CANARY not in reply.text
        assert client.post("/conversations", content=b"{" * 300_000).status_code == 413
        assert client.get("/conversations/x").status_code == 404
        assert client.get(f"/conversations/{'0' * 32}").status_code == 404


def test_the_longest_that_is_taken_is_kept(box: ServingBox) -> None:
    long = chat("brief", text="高")
    long["turns"][0]["text"] = "x" * (256 * 1024 - 600)
    with box.http() as client:
        made = client.post("/conversations", json=long)
        assert made.status_code == httpx.codes.CREATED
        assert client.get(f"/conversations/{made.json()['id']}").json()["turns"] == long["turns"]


def texts(page: Page) -> dict[str, str]:
    return dict(catalogue(Language(page.locator("html").get_attribute("lang") or "")))


def enter(page: Page, key: str) -> None:
    page.goto("/chat")
    page.locator("#key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#question")).to_be_focused(timeout=PATIENCE_MS)


def ask(page: Page, model: str, question: str) -> None:
    page.locator("#model").select_option(model)
    page.locator("#question").fill(question)
    page.locator("#question").press("Enter")
    expect(page.locator("#log li.assistant").last).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("#log")).to_have_attribute("aria-busy", "false", timeout=PATIENCE_MS)


def stored(asked: list[Request]) -> list[str]:
    """How the page asked that something be kept or deleted."""
    return [one.method for one in asked if "/conversations" in one.url and one.method != "GET"]


def kept(page: Page, count: int) -> None:
    expect(page.locator("#conversations li")).to_have_count(count, timeout=PATIENCE_MS)


def test_the_page_keeps_opens_continues_and_deletes(page: Page, box: ServingBox, screenshots: Path) -> None:
    """By keyboard, at a telephone's width; a reload forgets the key alone."""
    enter(page, box.api_key)
    said = texts(page)
    page.locator("#model").select_option("brief")
    expect(page.locator("#rule")).to_have_text(said["chat.kept.days"].format(days=7))
    ask(page, "brief", f"<b>{CANARY}</b> one")
    kept(page, 1)
    ask(page, "brief", "two")
    page.locator("#new").press("Enter")
    ask(page, "brief", "three")
    kept(page, 2)
    page.reload()
    enter(page, box.api_key)
    page.locator("#kept summary").press("Enter")
    kept(page, 2)
    look(page, screenshots / f"conversations-{page.locator('html').get_attribute('lang')}.png")
    page.get_by_role("button", name=f"<b>{CANARY}</b> one: {said['chat.kept.open']}").press("Enter")
    expect(page.locator("#log li")).to_have_count(4, timeout=PATIENCE_MS)
    assert page.locator("#log li.user div").all_inner_texts() == [f"<b>{CANARY}</b> one", "two"]
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "brief", "four")
    assert len((sent.value.post_data_json or {})["messages"]) == 5
    with box.http() as client:
        (first,) = [one for one in client.get("/conversations").json()["conversations"] if CANARY in one["title"]]
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"{said['chat.kept.delete']}: <b>{CANARY}</b> one").press("Enter")
    kept(page, 1)
    expect(page.locator("#log li")).to_have_count(0)
    page.locator("#delete-all").press("Enter")
    expect(page.locator("#kept")).to_be_hidden(timeout=PATIENCE_MS)
    with box.http() as client:
        assert client.get(f"/conversations/{first['id']}").status_code == httpx.codes.NOT_FOUND
    assert list(box.paths.conversations.rglob("*")) == []
    require_nowhere(box)


def test_the_page_says_what_is_not_kept_and_sends_none_of_it(page: Page, box: ServingBox) -> None:
    """Alone, and when such a model joins a conversation of which some is kept."""
    enter(page, box.api_key)
    said = texts(page)
    asked: list[Request] = []
    page.on("request", lambda one: asked.append(one))  # noqa: PLW0108 - playwright sets attributes on it
    page.locator("#model").select_option("sealed")
    expect(page.locator("#rule")).to_have_text(said["chat.kept.not"])
    ask(page, "sealed", CANARY)
    assert stored(asked) == []
    page.locator("#new").press("Enter")
    ask(page, "brief", "one")
    kept(page, 1)
    ask(page, "sealed", CANARY)
    expect(page.locator("#rule")).to_have_text(said["chat.kept.part"], timeout=PATIENCE_MS)
    ask(page, "brief", "what sealed has said is in this one")
    expect(page.locator("#rule")).to_have_text(said["chat.kept.part"], timeout=PATIENCE_MS)
    assert stored(asked) == ["POST"]
    with box.http() as client:
        (one,) = client.get("/conversations").json()["conversations"]
        assert len(client.get(f"/conversations/{one['id']}").json()["turns"]) == 2
    require_nowhere(box)


def test_a_conversation_has_the_name_that_it_is_given(page: Page, box: ServingBox) -> None:
    """Also after it has gone on; who gives none leaves it as it was."""
    enter(page, box.api_key)
    said = texts(page)
    ask(page, "brief", "one")
    kept(page, 1)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.locator("#kept summary").press("Enter")
    page.get_by_role("button", name=f"{said['chat.kept.rename']}: one").press("Enter")
    page.once("dialog", lambda dialog: dialog.accept(f" {CANARY} "))
    page.get_by_role("button", name=f"{said['chat.kept.rename']}: one").press("Enter")
    expect(page.locator("#conversations .title")).to_have_text(CANARY, timeout=PATIENCE_MS)
    with page.expect_response(lambda one: one.request.method == "PUT"):
        ask(page, "brief", "two")
    expect(page.locator("#conversations .title")).to_have_text(CANARY, timeout=PATIENCE_MS)
    with box.http() as client:
        (one,) = client.get("/conversations").json()["conversations"]
        assert one["title"] == CANARY
        assert len(client.get(f"/conversations/{one['id']}").json()["turns"]) == 4
    require_nowhere(box)


def test_who_stands_on_a_button_of_the_list_stays_there(page: Page, box: ServingBox) -> None:
    """Also as the list is made anew behind a reply, and at the neighbour of what is deleted."""
    with box.http() as client:
        for title in ("older", "newer"):
            client.post("/conversations", json=chat("brief", text=title)).raise_for_status()
    enter(page, box.api_key)
    delete = texts(page)["chat.kept.delete"]
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#kept summary").press("Enter")
    with page.expect_response("**/conversations"):
        page.get_by_role("button", name="older: ").press("Enter")
    expect(page.locator("#log li")).to_have_count(2, timeout=PATIENCE_MS)
    older = page.get_by_role("button", name=f"{delete}: older")

    def stand_there(route: Route) -> None:
        older.focus()
        route.continue_()

    page.route("**/conversations", stand_there)
    with page.expect_response("**/conversations"):
        ask(page, "brief", "more")
    page.unroute_all(behavior="wait")
    expect(page.locator("#conversations li").first.get_by_role("button").first).to_have_text("older")
    expect(older).to_be_focused()
    older.press("Enter")
    kept(page, 1)
    expect(page.get_by_role("button", name=f"{delete}: newer")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#kept")).to_be_hidden(timeout=PATIENCE_MS)
    expect(page.locator("#question")).to_be_focused()


def test_another_key_at_the_page_sees_no_conversation(page: Page, box: ServingBox) -> None:
    with box.http() as client:
        client.post("/conversations", json=chat("brief")).raise_for_status()
    enter(page, box.admin_key)
    page.locator("#model").select_option("brief")
    expect(page.locator("#rule")).not_to_be_empty()
    expect(page.locator("#kept")).to_be_hidden()
