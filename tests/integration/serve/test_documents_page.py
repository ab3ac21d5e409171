"""Documents on the chat page, in a real Chromium over the real gateway, services and engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from sealwright_appliance.serve.pages import catalogue
from sealwright_policies.languages import Language
from sealwright_testing.browser import PATIENCE_MS, look
from sealwright_testing.document_files import encrypted_pdf, pdf
from sealwright_testing.serving import ServingBox

from .test_chat_page import ask, box, enter, finished

__all__ = ["box"]
NAME = "<b>dose.pdf"
TEXT = "Metformin: <i>500 mg</i> twice a day."


@pytest.fixture(autouse=True)
def _clean(box: ServingBox) -> Iterator[None]:
    """No document outlives its test."""
    yield
    with box.openai() as client:
        owner = client.with_options(api_key=box.admin_key)
        for one in owner.files.list():
            owner.files.delete(one.id)


def words(page: Page) -> dict[str, str]:
    """Of the page's language."""
    return dict(catalogue(Language(page.locator("html").get_attribute("lang") or "")))


def bring(page: Page, name: str, content: bytes) -> None:
    page.locator("#file").set_input_files({"name": name, "mimeType": "application/octet-stream", "buffer": content})
    page.locator("#bring").press("Enter")


def test_an_administrator_brings_a_document_and_an_answer_shows_where_it_comes_from(
    page: Page, box: ServingBox, screenshots: Path
) -> None:
    """By keyboard; what a document and its name say stays text; deleted, it is gone."""
    enter(page, box.admin_key)
    expect(page.locator("#question")).to_be_focused(timeout=PATIENCE_MS)
    said = words(page)
    page.locator("#documents summary").press("Enter")
    expect(page.locator("#no-documents")).to_have_text(said["chat.documents.none"], timeout=PATIENCE_MS)
    expect(page.locator("#cite")).to_be_disabled()
    bring(page, "secret.pdf", encrypted_pdf())
    expect(page.locator("#note")).to_have_text(said["script.error.document_encrypted"], timeout=PATIENCE_MS)
    bring(page, NAME, pdf(["", TEXT]))
    expect(page.locator("#files li span")).to_contain_text(NAME, timeout=PATIENCE_MS)
    expect(page.locator("#note")).to_have_text(said["chat.documents.kept"].format(name=NAME))
    expect(page.locator("#progress")).to_be_hidden()
    page.locator("#cite").press("Space")
    page.locator("#model").select_option("brief")
    page.locator("#question").focus()
    with page.expect_request("**/v1/responses"):
        ask(page, "What is the dose of metformin?")
    finished(page)
    sources = page.locator("#log .sources")
    expect(sources.locator("summary")).to_have_text(said["chat.sources.shown"])
    sources.locator("summary").press("Enter")
    expect(sources.locator("cite")).to_have_text(f"{NAME}, {said['chat.sources.page'].format(page=2)}")
    expect(sources.locator("q")).to_have_text(TEXT)
    assert any(character.isdigit() for character in page.locator("#note").inner_text())
    look(page, screenshots / f"documents-{page.locator('html').get_attribute('lang')}.png")
    page.locator("#question").focus()
    ask(page, "And at night?")
    finished(page)
    expect(page.locator("#log li.assistant")).to_have_count(2)
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#files button").press("Enter")
    expect(page.locator("#files li")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator("#cite")).to_be_disabled()
    expect(page.locator("#cite")).not_to_be_checked()
    expect(page.locator("#note")).to_have_text(said["chat.documents.deleted"].format(name=NAME))


def test_others_see_documents_and_change_none(page: Page, box: ServingBox) -> None:
    with box.openai() as client:
        client.with_options(api_key=box.admin_key).files.create(file=("a.txt", b"text"), purpose="assistants")
        enter(page, box.api_key)
        expect(page.locator("#question")).to_be_focused(timeout=PATIENCE_MS)
        page.locator("#documents summary").press("Enter")
        expect(page.locator("#files li")).to_have_count(1, timeout=PATIENCE_MS)
        expect(page.locator("#upload")).to_be_hidden()
        expect(page.locator("#files button")).to_have_count(0)


@pytest.mark.parametrize(("reply", "shown"), [("It is 500 mg [1].", "cited"), ("I do not know.", "none")])
def test_a_reply_names_its_passages_or_says_that_there_are_none(
    page: Page, box: ServingBox, reply: str, shown: str
) -> None:
    """Whatever a model says; the box's answer is made here."""
    citation = '{"type":"file_citation","file_id":"file-1","filename":"a.pdf","page":3,"paragraph":1,"quote":"500 mg"}'
    annotations = f"[{citation}, {citation}]" if shown == "cited" else "[]"
    done = (
        '{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":1,"output_tokens":2},'
        '"output":[{"type":"file_search_call","results":[]},'
        f'{{"type":"message","content":[{{"type":"output_text","text":"{reply}","annotations":{annotations}}}]}}]}}}}'
    )
    delta = f'{{"type":"response.output_text.delta","delta":"{reply}"}}'
    body = f"event: a\ndata: {delta}\n\nevent: b\ndata: {done}\n\n"
    page.route("**/v1/responses", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    with box.openai() as client:
        client.with_options(api_key=box.admin_key).files.create(file=("a.txt", b"text"), purpose="assistants")
        enter(page, box.api_key)
        expect(page.locator("#question")).to_be_focused(timeout=PATIENCE_MS)
        page.locator("#documents summary").press("Enter")
        page.locator("#cite").press("Space")
        page.locator("#question").focus()
        ask(page, "How much?")
        finished(page)
        expect(page.locator("#log .sources summary")).to_have_text(words(page)[f"chat.sources.{shown}"])
        expect(page.locator("#log .sources q")).to_have_text(["500 mg"] if shown == "cited" else [])
        expect(page.locator("#log li.assistant div")).to_have_text(reply)
