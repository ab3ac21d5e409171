"""Torch trains adapters of the bundled medical model on a customer's examples, through the box's own services."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealwright_testing.adapters import TRAINER, example_line
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
