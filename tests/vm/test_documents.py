"""The customer's documents in a real box: read by parsers of their own, kept on the state volume, deleted."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from sealwright_testing import customer
from sealwright_testing.document_files import docx, encrypted_pdf, pdf, pdf_bomb
from sealwright_testing.models import ModelStore
from sealwright_testing.scene import Scene

pytestmark = [pytest.mark.vm, pytest.mark.long]

SEARCH: Any = {"type": "file_search", "vector_store_ids": ["documents"]}


def cited_files(client: openai.OpenAI, question: str) -> list[str]:
    """Which files an answer cites."""
    reply = client.responses.create(model="medical", input=question, temperature=0, tools=[SEARCH])
    messages = [item for item in reply.output if item.type == "message"]
    parts = [part for message in messages for part in message.content if part.type == "output_text"]
    return [one.file_id for part in parts for one in part.annotations if one.type == "file_citation"]


def test_documents_are_read_kept_and_deleted(scene: Scene) -> None:
    """Hostile ones are refused, and the next is read; what is kept is there behind a restart."""
    activated = scene.activated
    samples = ModelStore.load().samples()["medical"][:4]
    box = scene.activated_box().start()
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)
    with customer.colleague(box, activated.api_key, activated.placard.tls_fingerprint) as client:
        assert list(client.files.list()) == []
        files = {
            "answer.pdf": pdf(["", "Nothing of interest."]),
            "plan.docx": docx([sample.answer for sample in samples]),
        }
        ids = {
            name: client.files.create(file=(name, content), purpose="assistants").id for name, content in files.items()
        }
        for content, code in ((encrypted_pdf(), "document_encrypted"), (pdf_bomb(900), "document_too_complex")):
            with pytest.raises(openai.BadRequestError) as caught:
                client.files.create(file=("a.pdf", content), purpose="assistants")
            assert caught.value.code == code
        found = client.vector_stores.search("documents", query=samples[0].answer).data[0]
        assert found.file_id == ids["plan.docx"]
        # The model is small, and knows these answers: it repeats the document's words in some of them, not in all.
        cited = [file_id for sample in samples for file_id in cited_files(client, sample.question)]
        assert set(cited) == {ids["plan.docx"]}
    box.power_off()
    box.start()
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)
    with customer.colleague(box, activated.api_key, activated.placard.tls_fingerprint) as client:
        assert {one.filename for one in client.files.list()} == set(files)
        client.files.delete(ids["plan.docx"])
        assert [one.filename for one in client.files.list()] == ["answer.pdf"]
    assert "sealwright-parser" not in box.console.text
