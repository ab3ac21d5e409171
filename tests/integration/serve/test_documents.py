"""The customer's documents through OpenAI's own client, the real services and a real llama-server."""

from __future__ import annotations

import json
import secrets
import threading
from contextlib import ExitStack
from typing import Any

import httpx
import openai
import pytest

from sealwright_appliance.documents.formats import FILE_BYTES_MOST
from sealwright_appliance.documents.refusals import SENTENCES, DocumentCode
from sealwright_appliance.engines import PARALLEL_REQUESTS
from sealwright_testing.document_files import (
    LAUGHS,
    LOOPING_PDF,
    docx,
    docx_bomb,
    encrypted_pdf,
    pdf,
    pdf_bomb,
    pdf_objects,
)
from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox

ASKED: dict[str, Any] = {
    "model": "random", "temperature": 0, "max_output_tokens": 16,
    "tools": [{"type": "file_search", "vector_store_ids": ["documents"]}],
}  # fmt: skip


def upload(admin: openai.OpenAI, name: str, content: bytes) -> str:
    return admin.files.create(file=(name, content), purpose="assistants").id


def test_files_of_all_kinds_are_read_listed_found_and_deleted(admin: openai.OpenAI, client: openai.OpenAI) -> None:
    """By whoever has a key; with the page, where there are pages."""
    files = {
        "guide.pdf": pdf(["Contents", "Metformin lowers blood sugar."]),
        "plan.docx": docx(["Ward 3 opens at seven.", "Visitors wait downstairs."]),
        "指南.md": "# 高血压\n\n高血压患者应少吃盐。".encode(),
        "notes.txt": b"Aspirin thins the blood.",
    }
    ids = {name: upload(admin, name, content) for name, content in files.items()}
    listed = {one.id: one for one in client.files.list()}
    assert {one.filename: one.bytes for one in listed.values()} == {name: len(one) for name, one in files.items()}
    assert client.files.retrieve(ids["guide.pdf"]).to_dict()["pages"] == 2
    for question, name, page in (
        ("How does metformin act on sugar?", "guide.pdf", 2),
        ("when does ward 3 open", "plan.docx", None),
        ("血压高吃什么", "指南.md", None),
        ("aspirin", "notes.txt", None),
    ):
        found = client.vector_stores.search("documents", query=question).data[0]
        assert (found.file_id, found.filename) == (ids[name], name)
        assert found.attributes is not None
        assert found.attributes["page"] == page
    gone = admin.files.delete(ids["notes.txt"])
    assert gone.deleted
    assert "notes.txt" not in {one.filename for one in client.files.list()}
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(ids["notes.txt"])
    with pytest.raises(openai.NotFoundError):
        admin.files.delete("canary")


def test_only_administrators_bring_and_delete(admin: openai.OpenAI, client: openai.OpenAI, box: ServingBox) -> None:
    kept = upload(admin, "a.txt", b"text")
    with pytest.raises(openai.PermissionDeniedError):
        upload(client, "b.txt", b"text")
    with pytest.raises(openai.PermissionDeniedError):
        client.files.delete(kept)
    with httpx.Client(base_url=box.url, verify=box.trust, trust_env=False) as stranger:
        for method, path in (("GET", "/v1/files"), ("GET", f"/v1/files/{kept}"), ("DELETE", f"/v1/files/{kept}"),
                             ("POST", "/v1/files"), ("POST", "/v1/vector_stores/documents/search")):  # fmt: skip
            assert stranger.request(method, path).status_code == 401
    assert [one.id for one in client.files.list()] == [kept]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.pdf", encrypted_pdf(), DocumentCode.ENCRYPTED),
        ("a.pdf", pdf_bomb(900), DocumentCode.TOO_COMPLEX),
        ("a.pdf", LOOPING_PDF, None),
        ("a.pdf", pdf_objects([b"[ ]"] * 200_000), DocumentCode.DAMAGED),
        ("a.docx", docx(["&j;"], before=LAUGHS), DocumentCode.ENTITIES),
        ("a.docx", docx_bomb(200), DocumentCode.TOO_COMPLEX),
        ("a.txt", b"a\xff", DocumentCode.NOT_UTF8),
        ("a.txt", b"", DocumentCode.EMPTY),
        ("a.exe", b"MZ", DocumentCode.TYPE),
        ("a.txt", b"a" * (FILE_BYTES_MOST + 1), DocumentCode.TOO_LARGE),
    ],
)
def test_hostile_files_are_refused_by_their_codes(
    admin: openai.OpenAI, client: openai.OpenAI, name: str, content: bytes, code: DocumentCode | None
) -> None:
    """And the next file is read."""
    with pytest.raises(openai.APIStatusError) as caught:
        upload(admin, name, content)
    assert caught.value.status_code in (400, 413)
    assert caught.value.code in ([code] if code else set(DocumentCode))
    assert caught.value.body == {
        "message": SENTENCES[DocumentCode(caught.value.code or "")], "type": "invalid_request_error",
        "param": "file", "code": caught.value.code,
    }  # fmt: skip
    upload(admin, "next.txt", b"text")
    assert [one.filename for one in client.files.list()] == ["next.txt"]


@pytest.mark.parametrize(
    "form",
    [
        {"files": {"file": ("a.txt", b"x")}},
        {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "fine-tune"}},
        {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "assistants", "canary": "1"}},
        {"data": {"purpose": "assistants", "file": "canary"}},
        {"content": b"canary"},
        {"content": b"--x\r\ncanary", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        {"content": b"", "headers": {"Content-Type": "multipart/form-data"}},
    ],
)
def test_forms_that_are_none_are_refused(box: ServingBox, form: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {box.admin_key}"} | form.pop("headers", {})
    with box.http() as http:
        reply = http.post("/v1/files", headers=headers, **form)
    assert reply.status_code == 400
    assert "canary" not in reply.text


def test_answers_come_with_what_was_found(admin: openai.OpenAI, client: openai.OpenAI) -> None:
    """The model reads the passages; the reply says what was looked for and, if asked, what was found."""
    wanted = upload(admin, "dose.pdf", pdf(["", "Metformin: 500 mg twice a day."]))
    upload(admin, "other.txt", b"The cafeteria closes at eight.")
    question = "What is the dose of metformin?"
    plain = client.responses.create(**{name: one for name, one in ASKED.items() if name != "tools"}, input=question)
    reply = client.responses.create(**ASKED, input=question, include=["file_search_call.results"])
    search, message = reply.output
    assert search.type == "file_search_call"
    assert (search.status, search.queries) == ("completed", [question])
    assert search.results
    best = search.results[0]
    assert (best.file_id, best.filename, best.attributes) == (wanted, "dose.pdf", {"page": 2, "paragraph": 1})
    assert best.text == "Metformin: 500 mg twice a day."
    assert message.type == "message"
    assert reply.usage is not None
    assert plain.usage is not None
    assert reply.usage.input_tokens > plain.usage.input_tokens + 50
    without = client.responses.create(**ASKED, input=question)
    assert without.output[0].type == "file_search_call"
    assert without.output[0].results is None
    again: Any = [{"role": "user", "content": question}, *(one.to_dict() for one in reply.output),
                  {"role": "user", "content": "and at night?"}]  # fmt: skip
    assert client.responses.create(**ASKED, input=again).output_text
    unasked = client.responses.create(**ASKED, input=question, tool_choice="none")
    assert [one.type for one in unasked.output] == ["message"]
    assert unasked.usage is not None
    assert unasked.usage.input_tokens == plain.usage.input_tokens


def test_a_streamed_answer_tells_of_its_search(admin: openai.OpenAI, client: openai.OpenAI) -> None:
    upload(admin, "a.txt", b"Metformin lowers blood sugar.")
    events = list(client.responses.create(**ASKED, input="metformin?", stream=True))
    assert [event.type for event in events][:8] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.file_search_call.in_progress", "response.file_search_call.searching",
        "response.file_search_call.completed", "response.output_item.done", "response.output_item.added",
    ]  # fmt: skip
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_as_many_passages_are_shown_as_the_context_holds(
    admin: openai.OpenAI, able_box: ServingBox, box: ServingBox
) -> None:
    """Of a context of 8192 and a vocabulary of single bytes; the rest is for the reply."""
    text = "\n\n".join(f"Metformin, case {number}. " + "Sugar fell. " * 60 for number in range(60))
    with able_box.openai() as client:
        owner = client.with_options(api_key=able_box.admin_key)
        upload(owner, "cases.txt", text.encode())
        asked = ASKED | {"model": "able", "tools": [ASKED["tools"][0] | {"max_num_results": 50}]}
        reply = client.responses.create(**asked, input="metformin", include=["file_search_call.results"])
    search = reply.output[0]
    assert search.type == "file_search_call"
    assert search.results
    assert 2 <= len(search.results) < 20
    assert reply.usage is not None
    assert 4096 < reply.usage.input_tokens <= 8192 - 16
    assert box.url != able_box.url


def test_nothing_that_a_document_says_is_in_a_log(admin: openai.OpenAI, client: openai.OpenAI, box: ServingBox) -> None:
    tag = f"canary{secrets.token_hex(8)}"
    upload(admin, f"{tag}.txt", f"The word is {tag}.".encode())
    with pytest.raises(openai.BadRequestError) as caught:
        upload(admin, f"{tag}.pdf", f"%PDF-1.4 {tag}".encode())
    assert tag not in json.dumps(caught.value.body)
    client.responses.create(**ASKED, input=f"What is {tag}?")
    assert tag not in box.gateway_log
    assert tag not in box.engines["random"].log.read_text(errors="replace")


@pytest.mark.parametrize(
    "change",
    [
        {"tools": [{"type": "file_search"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["canary"]}]},
        {"tools": [ASKED["tools"][0] | {"filters": {"canary": 1}}]},
        {"tools": [ASKED["tools"][0] | {"max_num_results": 51}]},
        {"include": ["canary"]},
    ],
)
def test_what_a_search_does_not_take_is_a_400(client: openai.OpenAI, change: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**ASKED | {"input": "x"} | change)
    assert "canary" not in json.dumps(caught.value.body)


def test_counting_a_questions_tokens_waits_its_turn_and_crowds_get_through(
    admin: openai.OpenAI, client: openai.OpenAI, box: ServingBox
) -> None:
    """While another's replies have all places the engine is not asked; three times as many questions as there are
    places are all answered, though each takes a place twice."""
    upload(admin, "guide.txt", b"Metformin lowers blood sugar.")
    question = ASKED | {"input": "What does metformin lower?"}
    answered: list[str] = []

    def ask() -> None:
        answered.append(client.responses.create(**question).status or "")

    client.responses.create(**question)  # its abilities are known now, which takes a place of its own
    with ExitStack() as held:
        for _ in range(PARALLEL_REQUESTS):
            chunks = client.chat.completions.create(
                model="random", messages=[{"role": "user", "content": "hello"}], max_tokens=20_000, stream=True
            )
            held.callback(chunks.close)
            next(chunks)
        asks = threading.Thread(target=ask)
        asks.start()
        wait_until(lambda: _waiting(box) == 1)
        assert not answered
    asks.join(60)
    crowd = [threading.Thread(target=ask) for _ in range(3 * PARALLEL_REQUESTS)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(120)
    assert set(answered) <= {"completed", "incomplete"}
    assert len(answered) == 1 + len(crowd)


def _waiting(box: ServingBox) -> int:
    with box.http() as http:
        told = http.get("/admin/load", headers={"Authorization": f"Bearer {box.admin_key}"}).raise_for_status().json()
    return int(next(one for one in told["models"] if one["id"] == "random")["waiting"])
