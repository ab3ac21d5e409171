"""Documents found by what they mean: real services, a real llama-server, and a model whose synonyms were written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from sealwright_policies.engines import DocumentVectors
from sealwright_policies.outflow import OutflowPolicy
from sealwright_testing.models.concept_gguf import write_concept_gguf
from sealwright_testing.serving import ServingBox, serving_box

POLICY = OutflowPolicy(embeddings=True, answer_tokens=1_000_000, budgets=())
VECTORS = DocumentVectors(model="concepts", passage_prefix="passage: ", question_prefix="query: ")
FEVER = b"Pyrexia in juveniles: call the physician."
CAFETERIA = b"The cafeteria shuts at eight."
WAIT_S = 60.0


@pytest.fixture(scope="module")
def concepts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "concepts.gguf"
    write_concept_gguf(path)
    return path


@pytest.fixture(scope="module")
def box(concepts: Path, random_model: Path) -> Iterator[ServingBox]:
    models = {"concepts": concepts, "random": random_model}
    with serving_box(models, policy=POLICY, documents=VECTORS) as running:
        yield running


def upload(admin: openai.OpenAI, name: str, content: bytes) -> str:
    return admin.files.create(file=(name, content), purpose="assistants").id


def lacking(client: openai.OpenAI) -> int:
    files: list[Any] = [one.to_dict() for one in client.files.list()]
    return sum(one["passages"] - one["with_vectors"] for one in files)


def wait(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends, "It did not come to it."
        time.sleep(0.05)


def searched(box: ServingBox, question: str) -> dict[str, Any]:
    with box.http() as http:
        reply = http.post("/v1/vector_stores/documents/search", json={"query": question})
    found: dict[str, Any] = reply.json()
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [one["filename"] for one in found["data"]]


@pytest.mark.parametrize("question", ["my kid is feverish", "child fever doctor", "孩烧"])
def test_a_question_without_a_word_of_the_passage_finds_it(
    box: ServingBox, admin: openai.OpenAI, question: str
) -> None:
    """Found at once by its words, and by its meaning as soon as there are vectors."""
    upload(admin, "cafeteria.txt", CAFETERIA)
    upload(admin, "fever.txt", FEVER)
    assert names(searched(box, "pyrexia"))[:1] == ["fever.txt"]
    wait(lambda: lacking(admin) == 0)
    found = searched(box, question)
    assert (names(found)[:1], found["vectors"]) == (["fever.txt"], "used")
    assert names(searched(box, "who does close lunch"))[:1] == ["cafeteria.txt"]


def test_without_the_engine_it_is_words_that_find(box: ServingBox, admin: openai.OpenAI) -> None:
    """No error, and said: in a search, and in an answer from documents."""
    upload(admin, "fever.txt", FEVER)
    wait(lambda: lacking(admin) == 0)
    tools: Any = [{"type": "file_search", "vector_store_ids": ["documents"]}]

    def answered(question: str) -> Any:
        reply = admin.responses.create(model="random", input=question, tools=tools, max_output_tokens=4)
        said: Any = reply.to_dict()
        return said["output"][0]

    assert answered("my kid is feverish")["vectors"] == "used"
    box.engines["concepts"].stop()
    try:
        found = searched(box, "my kid is feverish")
        assert (names(found), found["vectors"]) == ([], "unavailable")
        assert names(searched(box, "the physician")) == ["fever.txt"]
        assert answered("my kid is feverish")["vectors"] == "unavailable"
        upload(admin, "cafeteria.txt", CAFETERIA)
        assert names(searched(box, "cafeteria")) == ["cafeteria.txt"]
        assert lacking(admin) == 1
    finally:
        box.engines["concepts"].start()


def test_what_was_cut_off_is_completed(box: ServingBox, admin: openai.OpenAI) -> None:
    """A gateway that is killed among many passages, and one that carries on."""
    text = "\n\n".join(f"Word {number}: " + "the drug of the vehicle. " * 30 for number in range(300)).encode()
    upload(admin, "long.txt", text)
    wait(lambda: lacking(admin) < 290)
    box.restart_gateway()
    assert lacking(admin) > 0
    assert searched(box, "car pill")["vectors"] == "partly"
    wait(lambda: lacking(admin) == 0)
    assert searched(box, "car pill")["vectors"] == "used"


def test_a_passage_too_long_for_the_model_is_known_by_its_beginning(box: ServingBox, admin: openai.OpenAI) -> None:
    """More tokens than its context holds: signs are a token each."""
    upload(admin, "signs.txt", b"Pyrexia " + b"!?" * 400)
    wait(lambda: lacking(admin) == 0)
    assert names(searched(box, "fever")) == ["signs.txt"]


def test_another_model_makes_them_anew(concepts: Path, tmp_path: Path) -> None:
    """Its vectors are never compared with those of the first."""
    other = tmp_path / "other.gguf"
    write_concept_gguf(other, seed=1)
    with serving_box({"concepts": concepts}, policy=POLICY, documents=VECTORS) as first, first.openai() as client:
        owner = client.with_options(api_key=first.admin_key)
        upload(owner, "fever.txt", FEVER)
        wait(lambda: lacking(owner) == 0)
        kept = (first.paths.documents / "documents.sqlite").read_bytes()
    with serving_box({"concepts": other}, policy=POLICY, documents=VECTORS) as second, second.openai() as client:
        (second.paths.documents / "documents.sqlite").write_bytes(kept)
        second.restart_gateway()
        wait(lambda: searched(second, "child fever")["vectors"] == "used")
        assert names(searched(second, "child fever")) == ["fever.txt"]
        assert (second.paths.documents / "documents.sqlite").read_bytes() != kept
