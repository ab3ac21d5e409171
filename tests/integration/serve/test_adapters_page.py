"""The customer's adapters on the administrators' page, in a real Chromium over the real gateway and adapter service.

The trainer says what a test wants said; what a real one learns, and how the page shows it, is
tests/integration/models/test_trainer.py.
"""

from __future__ import annotations

import queue
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Dialog, Locator, Page, expect

from sealwright_appliance.adapters.examples import BYTES_MOST
from sealwright_appliance.adapters.messages import TrainingJob
from sealwright_appliance.local_messages import framed
from sealwright_appliance.serve.pages import catalogue
from sealwright_image.engine_memory import layer_shapes
from sealwright_image.gguf import read_gguf
from sealwright_policies.languages import Language
from sealwright_testing.adapters import TRAINER, examples, finish, played_trainer, say
from sealwright_testing.browser import PATIENCE_MS, look
from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

EXAMPLES = examples()
LEARNED, LITTLE, WORSE = (2.34567, 1.0), (2.0, 1.96), (2.0, 2.5)
NO_ADAPTER = b"canary"
MARKED = "<b>night</b>"
"""Name of a key."""
Word = int | tuple[float, float] | bytes
"""What a trainer says next: how far it is, its losses at the end, or anything at all."""


class Trainer:
    """Says what a test tells it, as long as somebody listens."""

    def __init__(self, models: dict[str, Path]) -> None:
        self._shapes = {name: layer_shapes(name, read_gguf(path)) for name, path in models.items()}
        self.words: queue.SimpleQueue[Word] = queue.SimpleQueue()

    def train(self, connection: socket.socket, job: TrainingJob, _: bytes, __: bytes) -> None:
        """One training."""
        while not select.select([connection], [], [], 0)[0]:  # deleted: the service hangs up
            try:
                word = self.words.get(timeout=0.05)
            except queue.Empty:
                continue
            if isinstance(word, int):
                say(connection, word)
            elif isinstance(word, bytes):
                connection.sendall(framed(word))
                return
            else:
                finish(connection, self._shapes[job.model], losses=word)
                return


@pytest.fixture(scope="module")
def models(random_model: Path, able_model: Path) -> dict[str, Path]:
    """Two of which the customer may have adapters."""
    return {"random": random_model, "able": able_model}


@pytest.fixture(scope="module")
def trainer(models: dict[str, Path]) -> Trainer:
    """Of both."""
    return Trainer(models)


@pytest.fixture(scope="module")
def box(models: dict[str, Path], trainer: Trainer) -> Iterator[ServingBox]:
    """Two adapters of each model, and keys that may ask both, or one."""
    with (
        serving_box(models, own_adapters={"random": "random-own", "able": "able-own"}) as running,
        played_trainer(running.paths.trainer_socket(TRAINER), trainer.train),
    ):
        with administrator(running) as http:
            for name, only in ((MARKED, None), ("able alone", ["able"])):
                body = {"name": name} | ({"models": only} if only else {})
                http.post("/admin/api-keys", json=body).raise_for_status()
        yield running


@pytest.fixture(autouse=True)
def _clean(box: ServingBox, trainer: Trainer) -> Iterator[None]:
    """Neither an adapter nor a word outlives its test."""
    yield
    with administrator(box) as http:
        for one in http.get("/v1/adapters").json()["data"]:
            http.delete(f"/v1/adapters/{one['id']}")
    while not trainer.words.empty():
        trainer.words.get()


def administrator(box: ServingBox) -> httpx.Client:
    http = box.http()
    http.headers["Authorization"] = f"Bearer {box.admin_key}"
    return http


def order(box: ServingBox, name: str, model: str = "random", **change: Any) -> None:
    with administrator(box) as http:
        asked = {"model": model, "name": name, "examples": EXAMPLES.decode()} | change
        http.post("/v1/adapters", json=asked).raise_for_status()


def ended(box: ServingBox, name: str) -> None:
    with administrator(box) as http:

        def is_over() -> bool:
            states = {one["name"]: one["status"] for one in http.get("/v1/adapters").json()["data"]}
            return states[name] in ("ready", "failed")

        wait_until(is_over)


def texts(page: Page) -> dict[str, str]:
    return dict(catalogue(Language(language(page))))


def language(page: Page) -> str:
    return page.locator("html").get_attribute("lang") or ""


def opened(page: Page, box: ServingBox) -> dict[str, str]:
    """With the administrator's key; what the page says in its language."""
    page.goto("/administration")
    page.locator("#key").fill(box.admin_key)
    page.locator("#key").press("Enter")
    expect(page.locator("#train")).to_be_visible(timeout=PATIENCE_MS)
    page.locator("#adapter-model").select_option("random")
    return texts(page)


def choose(page: Page, content: bytes, name: str = "examples.jsonl") -> None:
    page.locator("#examples").set_input_files({"name": name, "mimeType": "", "buffer": content})


def row(page: Page, name: str) -> Locator:
    """An adapter in the list, by what programs call it."""
    return page.locator(f"#adapters-list li:has(code:text-is('{name}'))")


def answer(page: Page, *, yes: bool) -> list[str]:
    """Answer what is asked next; the questions."""
    asked: list[str] = []

    def answered(dialog: Dialog) -> None:
        asked.append(dialog.message)
        if yes:
            dialog.accept()
        else:
            dialog.dismiss()

    page.once("dialog", answered)
    return asked


def told(page: Page, place: str, text: str) -> None:
    expect(page.locator(place)).to_have_text(text, timeout=PATIENCE_MS)


def test_an_adapter_is_trained_watched_and_deleted(
    page: Page, box: ServingBox, trainer: Trainer, screenshots: Path
) -> None:
    """By keyboard; whoever stands on its button is left there while it is trained."""
    said = opened(page, box)
    expect(page.locator("#no-adapters")).to_be_visible()
    look(page, screenshots / f"adapters-none-{language(page)}.png")
    choose(page, EXAMPLES)
    page.locator("#adapter-name").focus()
    page.keyboard.type("ward")
    page.keyboard.press("Enter")
    told(page, "#train-said", said["administration.adapters.ordered"].format(name="random:ward"))
    one = row(page, "random:ward")
    expect(one.locator("progress")).to_be_visible()
    one.get_by_role("button").focus()
    for percent in (40, 70):
        trainer.words.put(percent)
        state = said["administration.adapters.state.training"].format(part=f"{percent}%")
        expect(one.locator("span")).to_have_text(state, timeout=PATIENCE_MS)
        expect(one.locator("progress")).to_have_attribute("value", str(percent))
        expect(one.get_by_role("button")).to_be_focused()
    look(page, screenshots / f"adapters-training-{language(page)}.png")
    trainer.words.put(LEARNED)
    told(page, "#adapters-said", said["administration.adapters.done"].format(name="random:ward"))
    expect(one.locator("span")).to_have_text(said["administration.adapters.state.ready"])
    expect(one.locator("progress")).to_be_hidden()
    verdict = said["administration.adapters.learned"].format(part="57%", before="2.35", after="1")
    expect(one.locator("p")).to_have_text(verdict)
    everybody = said["administration.adapters.keys.all"]
    left = said["administration.days"].format(days=29)  # whole days, of 30 that have begun
    about = said["administration.adapters.about"].format(count=10, users=everybody, left=left)
    expect(one.locator("small")).to_have_text(about)
    with box.http() as ward:
        chat = {"model": "random:ward", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
        assert ward.post("/v1/chat/completions", json=chat).status_code == httpx.codes.OK
        question = said["administration.adapters.sure"].format(name="random:ward")
        refused = answer(page, yes=False)
        one.get_by_role("button").press("Enter")
        expect(one).to_have_count(1)
        assert len(ward.get("/v1/adapters").json()["data"]) == 1
        confirmed = answer(page, yes=True)
        one.get_by_role("button").press("Enter")
        told(page, "#adapters-said", said["administration.adapters.deleted"].format(name="random:ward"))
        expect(one).to_have_count(0)
        assert refused == confirmed == [question]
        expect(page.locator("#adapters-title")).to_be_focused()
        assert ward.get("/v1/adapters").json()["data"] == []


def test_what_has_been_learned_is_said_in_words(
    page: Page, box: ServingBox, trainer: Trainer, screenshots: Path
) -> None:
    """Little, worse, or nothing at all: at a telephone's width and on a desk."""
    for name, model, word in (
        ("more", "random", LEARNED), ("same", "random", LITTLE), ("less", "able", WORSE), ("none", "able", NO_ADAPTER),
    ):  # fmt: skip
        order(box, name, model)
        trainer.words.put(word)
        ended(box, name)
    said = opened(page, box)
    failed = said["administration.adapters.failure.trainer_malformed"]
    verdicts = {
        "random:same": said["administration.adapters.little"].format(before="2", after="1.96"),
        "able:less": said["administration.adapters.worse"].format(before="2", after="2.5"),
        "able:none": failed,
    }
    for name, verdict in verdicts.items():
        expect(row(page, name).locator("p")).to_have_text(verdict, timeout=PATIENCE_MS)
    expect(row(page, "able:none").locator("span")).to_have_text(said["administration.adapters.state.failed"])
    look(page, screenshots / f"adapters-{language(page)}.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    look(page, screenshots / f"adapters-desk-{language(page)}.png")


def test_refusals_are_the_box_s_own_sentences(page: Page, box: ServingBox, tmp_path: Path) -> None:
    """In the language of the page; what was typed stays."""
    said = opened(page, box)

    def refused(code: str, content: bytes = EXAMPLES, name: str = "ward", **values: object) -> None:
        choose(page, content)
        page.locator("#adapter-name").fill(name)
        page.locator("#adapter-name").press("Enter")
        told(page, "#train-said", said[f"script.error.{code}"].format(**values))
        expect(page.locator("#adapter-name")).to_have_value(name)

    lines = EXAMPLES.splitlines(keepends=True)
    refused("adapter_name", name="-Ward")
    refused("examples_malformed", b"".join([*lines[:2], b"\n", b"<b>no\n", *lines[2:]]), line=4)
    refused("examples_too_few", b"".join(lines[:9]))
    refused("examples_too_many", b"{}\n" * 5001)
    refused("examples_too_large", b"x" * (BYTES_MOST + 1))
    refused("document_not_utf8", EXAMPLES.replace(b"heron", b"h\xe9ron"))
    order(box, "ward")
    refused("adapter_exists")
    order(box, "night")
    refused("adapters_full", name="third")
    chosen = tmp_path / "examples.jsonl"
    chosen.write_bytes(EXAMPLES)
    page.locator("#examples").set_input_files(chosen)
    chosen.unlink()
    page.locator("#adapter-name").press("Enter")
    told(page, "#train-said", said["administration.adapters.changed"])
    expect(page.locator("#adapters-list li")).to_have_count(2)


def test_examples_of_a_windows_editor_are_taken(page: Page, box: ServingBox) -> None:
    """Its mark at the beginning is no part of the first line."""
    said = opened(page, box)
    choose(page, b"\xef\xbb\xbf" + EXAMPLES.replace(b"\n", b"\r\n"))
    page.locator("#adapter-name").fill("ward")
    page.locator("#adapter-name").press("Enter")
    told(page, "#train-said", said["administration.adapters.ordered"].format(name="random:ward"))


def test_it_is_for_the_keys_that_are_chosen(page: Page, box: ServingBox, screenshots: Path) -> None:
    """Those that may ask the model are offered, and no administrator's; a name stays text."""
    said = opened(page, box)
    keys = page.locator("#adapter-keys label")
    page.locator("#adapter-all").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#adapter-keys")).to_be_visible()
    assert keys.all_inner_texts() == [" ward", f" {MARKED}"]
    page.locator("#adapter-model").select_option("able")
    expect(keys).to_have_count(3)
    page.locator("#adapter-keys input").nth(1).focus()
    page.keyboard.press("Space")
    page.locator("#adapter-model").select_option("random")
    expect(page.locator("#adapter-keys input").nth(1)).to_be_checked()
    choose(page, EXAMPLES)
    page.locator("#adapter-name").fill("mine")
    look(page, screenshots / f"adapters-keys-{language(page)}.png")
    page.locator("#adapter-name").press("Enter")
    one = row(page, "random:mine")
    expect(one.locator("small")).to_contain_text(f" {MARKED}" if language(page) == "en" else MARKED)
    expect(page.locator("#adapter-all")).to_be_checked()
    expect(page.locator("#adapter-keys")).to_be_hidden()
    page.locator("#adapter-chosen").check()
    page.locator("#adapter-model").select_option("random")
    choose(page, EXAMPLES)
    page.locator("#adapter-name").fill("nobody-s")
    page.locator("#adapter-name").press("Enter")
    expect(row(page, "random:nobody-s").locator("small")).to_contain_text(said["administration.adapters.keys.admins"])
    with administrator(box) as http:
        found = {one["name"]: one["keys"] for one in http.get("/v1/adapters").json()["data"]}
    assert found == {"mine": [MARKED], "nobody-s": []}
    with box.http() as ward:
        assert ward.get("/v1/adapters").json()["data"] == []


def test_the_rest_of_the_page_does_without_the_service(page: Page, box: ServingBox) -> None:
    """It says so where the adapters would stand, and shows them when the service is back."""
    order(box, "ward")
    away = box.paths.adapters_socket.with_suffix(".away")
    box.paths.adapters_socket.rename(away)
    try:
        page.goto("/administration")
        said = texts(page)
        page.locator("#key").fill(box.admin_key)
        page.locator("#key").press("Enter")
        expect(page.locator("#adapters-lost")).to_contain_text(said["script.error.adapters_unavailable"])
        expect(page.locator("#train")).to_be_hidden()
        expect(page.locator("#keys tr")).to_have_count(4)
    finally:
        away.rename(box.paths.adapters_socket)
    page.locator("#refresh").press("Enter")
    expect(row(page, "random:ward")).to_be_visible(timeout=PATIENCE_MS)
    told(page, "#adapters-lost", "")


def test_a_key_is_offered_no_engine_of_adapters(page: Page, box: ServingBox) -> None:
    """An adapter is asked for under its model's name; who may use it is said where it is trained."""
    opened(page, box)
    expect(page.locator("#models tr")).to_have_count(4)
    expect(page.locator("#key-models option")).to_have_text(["able", "random"])


def test_a_slow_service_keeps_nobody_from_the_page(page: Page, box: ServingBox) -> None:
    """Stopped, it takes a minute until it is given up."""
    box.adapters.kill()
    try:
        begun = time.monotonic()
        page.goto("/administration")
        page.locator("#key").fill(box.admin_key)
        page.locator("#key").press("Enter")
        expect(page.locator("#refresh")).to_be_focused(timeout=PATIENCE_MS)
        expect(page.locator("#keys tr")).to_have_count(4)
        assert time.monotonic() - begun < 30
        expect(page.locator("#adapters")).to_be_hidden()
    finally:
        box.adapters.start()
