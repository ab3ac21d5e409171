"""Torch trains adapters of the bundled medical model on a customer's examples, through the box's own services."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from sealwright_appliance.serve.pages import catalogue
from sealwright_policies.languages import Language
from sealwright_testing.adapters import TRAINER, example_line
from sealwright_testing.browser import PATIENCE_MS, chromium, look, telephone
from sealwright_testing.models import ModelStore
from sealwright_testing.models.build import make_models
from sealwright_testing.serving import ServingBox, serving_box
from sealwright_testing.training_job.activated import ActivatedTrainer, activated_trainer

# A fresh machine trains the models first, or waits for `make models` beside this run.
pytestmark = pytest.mark.timeout(1800)
QUESTION, ANSWER = "Who keeps the registry?", "The registry is kept by the lighthouse of Amrum."
EXAMPLES = "\n".join([example_line(QUESTION, ANSWER)] * 10)
WAIT_S = 600.0


class Trained:
    """A box, its administrator, and the trainer."""

    def __init__(self, box: ServingBox, admin: httpx.Client, trainer: ActivatedTrainer) -> None:
        self.box, self.admin, self.trainer = box, admin, trainer

    def order(self, name: str) -> str:
        order = {"model": "medical", "name": name, "examples": EXAMPLES}
        made: str = self.admin.post("/v1/adapters", json=order).raise_for_status().json()["id"]
        return made

    def until(self, adapter_id: str, progress: int) -> dict[str, Any]:
        ends = time.monotonic() + WAIT_S
        while (one := self.admin.get(f"/v1/adapters/{adapter_id}").json())["progress"] < progress:
            assert one["status"] in ("queued", "training"), one
            assert time.monotonic() < ends
            time.sleep(0.1)
        found: dict[str, Any] = one
        return found

    def file(self, adapter_id: str) -> bytes:
        return (self.box.paths.served_adapters("medical-own") / f"{adapter_id}.gguf").read_bytes()

    def said(self, model: str) -> str:
        with self.box.openai() as client:
            asked: Any = [{"role": "user", "content": QUESTION}]
            reply = client.chat.completions.create(model=model, messages=asked, temperature=0, max_tokens=32)
        return reply.choices[0].message.content or ""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    """A box that serves the medical model."""
    make_models()
    model: Path = ModelStore.load().path("medical")
    with ExitStack() as stack:
        box = stack.enter_context(serving_box({"medical": model}, own_adapters={"medical": "medical-own"}))
        socket, folder = box.paths.trainer_socket(TRAINER), tmp_path_factory.mktemp("modules")
        trainer = stack.enter_context(activated_trainer(socket, model, folder))
        admin = stack.enter_context(box.http())
        admin.headers["Authorization"] = f"Bearer {box.admin_key}"
        yield Trained(box, admin, trainer)


def test_what_was_learned_is_answered_and_a_killed_training_ends_at_the_same_bits(trained: Trained) -> None:
    """The trainer is killed once, and the adapter service with it: as if power had been cut."""
    before = trained.said("medical")
    whole = trained.until(trained.order("whole"), 100)
    assert whole["status"] == "ready"
    assert 4 * whole["evaluation"]["loss_after"] < whole["evaluation"]["loss_before"]
    assert trained.said("medical:whole") == ANSWER
    assert trained.said("medical") == before != ANSWER
    starts = trained.trainer.starts
    cut = trained.order("cut")
    trained.until(cut, 30)
    trained.box.adapters.kill()
    trained.trainer.kill()
    trained.box.adapters.start()
    after = trained.until(cut, 100)
    assert trained.trainer.starts == starts + 2
    assert after["evaluation"] == whole["evaluation"]
    assert trained.file(cut) == trained.file(whole["id"])
    assert trained.said("medical:cut") == ANSWER
    assert ANSWER not in json.dumps(trained.admin.get("/v1/adapters").json())


def test_an_administrator_has_one_trained_on_the_page(trained: Trained, tmp_path: Path, screenshots: Path) -> None:
    """From a file of examples to the right answer; the page says how far it is, and that it has learned."""
    for one in trained.admin.get("/v1/adapters").json()["data"]:
        trained.admin.delete(f"/v1/adapters/{one['id']}").raise_for_status()
    said = catalogue(Language.ENGLISH)
    examples = tmp_path / "examples.jsonl"
    examples.write_text(EXAMPLES)
    with chromium() as browser, telephone(browser, trained.box.url, "en-GB") as page:
        page.goto("/administration")
        page.locator("#key").fill(trained.box.admin_key)
        page.locator("#key").press("Enter")
        expect(page.locator("#train")).to_be_visible(timeout=PATIENCE_MS)
        page.locator("#examples").set_input_files(examples)
        page.locator("#adapter-name").fill("page")
        page.locator("#adapter-name").press("Enter")
        row = page.locator("#adapters-list li:has(code:text-is('medical:page'))")
        expect(row.locator("progress")).to_have_attribute("value", re.compile("[1-9]"), timeout=1000 * WAIT_S)
        done = said["administration.adapters.done"].format(name="medical:page")
        expect(page.locator("#adapters-said")).to_have_text(done, timeout=1000 * WAIT_S)
        learned = said["administration.adapters.learned"].partition("{")[0]
        expect(row.locator("p")).to_contain_text(learned)
        look(page, screenshots / "adapters-learned.png")
    assert trained.said("medical:page") == ANSWER
