"""The customer's adapters over the API: the real gateway, agent's endpoints, adapter service and llama-server.

The trainer is played here: it says numbers that change every matrix of the model. What a real one learns is
tests/integration/models/test_trainer.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sealwright_appliance.adapters.examples import BYTES_MOST, LEAST
from sealwright_appliance.adapters.messages import TrainingJob
from sealwright_appliance.adapters.refusals import AdapterCode
from sealwright_image.engine_memory import layer_shapes
from sealwright_image.gguf import read_gguf
from sealwright_testing.adapters import TRAINER, examples, finish, played_trainer
from sealwright_testing.serving import ServingBox, serving_box

WAIT_S = 120.0
SCRAPE_S = 10.0
"""How long Prometheus waits unless it is told otherwise."""
EXAMPLES = examples().decode()
ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def adapted(random_model: Path, able_model: Path) -> Iterator[ServingBox]:
    """A box whose customer may have adapters of ``random`` trained, and none of ``able``."""
    models = {"random": random_model, "able": able_model}
    shapes, drawn = layer_shapes("random", read_gguf(random_model)), iter(range(1, 1000))

    def train(connection: Any, _: TrainingJob, __: bytes, ___: bytes) -> None:
        finish(connection, shapes, next(drawn))

    with (
        serving_box(models, own_adapters={"random": "random-own"}) as box,
        played_trainer(box.paths.trainer_socket(TRAINER), train),
    ):
        yield box


@pytest.fixture
def admin(adapted: ServingBox) -> Iterator[httpx.Client]:
    """An administrator; no adapter outlives the test."""
    with adapted.http() as http:
        http.headers["Authorization"] = f"Bearer {adapted.admin_key}"
        yield http
        for one in http.get("/v1/adapters").json()["data"]:
            http.delete(f"/v1/adapters/{one['id']}")


def train(admin: httpx.Client, name: str = "ward", **change: Any) -> dict[str, Any]:
    order = {"model": "random", "name": name, "examples": EXAMPLES} | change
    made = admin.post("/v1/adapters", json=order).raise_for_status().json()
    ends = time.monotonic() + WAIT_S
    while (one := admin.get(f"/v1/adapters/{made['id']}").json())["status"] in ("queued", "training"):
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert one["status"] == "ready", one
    found: dict[str, Any] = one
    return found


def said(box: ServingBox, model: str) -> str:
    with box.openai() as client:
        return client.chat.completions.create(model=model, **ASKED).choices[0].message.content or ""


def test_adapters_are_trained_listed_and_switched_with_each_request(adapted: ServingBox, admin: httpx.Client) -> None:
    """The second comes into service while the first is used; what is asked without one is answered as before."""
    plain = said(adapted, "random")
    first = train(admin)
    assert (first["served_as"], first["progress"], first["examples"]) == ("random:ward", 100, LEAST)
    assert first["evaluation"] == {"loss_before": 2.346, "loss_after": 1.0}
    with_first = said(adapted, "random:ward")
    train(admin, "night")
    with_second = said(adapted, "random:night")
    assert len({plain, with_first, with_second}) == 3
    for _ in range(2):  # in turns, so that nothing that is kept of one is used for another
        assert said(adapted, "random:ward") == with_first
        assert said(adapted, "random:night") == with_second
    assert said(adapted, "random") == plain
    with adapted.openai() as client:
        assert [one.id for one in client.models.list()] == ["able", "random", "random:night", "random:ward"]
        assert client.models.retrieve("random:ward").id == "random:ward"
        reply = client.responses.create(model="random:ward", input="hello", max_output_tokens=16)
        assert reply.model == "random:ward"
        chunks = list(client.chat.completions.create(model="random:ward", stream=True, **ASKED))
        assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == with_first
        text = client.completions.create(model="random:ward", prompt="hello", max_tokens=4)
        assert text.choices[0].text


def test_a_deleted_adapter_answers_nobody(adapted: ServingBox, admin: httpx.Client) -> None:
    """Its engine ends, which had its numbers; another of its name is another one."""
    first = train(admin)
    before = said(adapted, "random:ward")
    assert admin.delete(f"/v1/adapters/{first['id']}").json() == {
        "id": first["id"], "object": "adapter", "deleted": True,
    }  # fmt: skip
    with adapted.openai() as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="random:ward", **ASKED)
    assert list(adapted.paths.served_adapters("random-own").iterdir()) == []
    ends = time.monotonic() + WAIT_S
    while adapted.engines["random-own"].process is not None:
        assert time.monotonic() < ends
        time.sleep(0.05)
    train(admin)
    assert said(adapted, "random:ward") != before
    assert admin.get(f"/v1/adapters/{first['id']}").status_code == 404


def test_an_adapter_is_for_the_keys_that_may_use_it(adapted: ServingBox, admin: httpx.Client) -> None:
    """To others it is not there; administrators see all."""
    mine, others = train(admin, "mine", keys=["ward"]), train(admin, "others", keys=["night-shift"])
    with adapted.http() as ward:
        assert [one["name"] for one in ward.get("/v1/adapters").json()["data"]] == ["mine"]
        assert ward.get(f"/v1/adapters/{mine['id']}").status_code == 200
        assert ward.get(f"/v1/adapters/{others['id']}").json()["error"]["code"] == AdapterCode.UNKNOWN
        assert "random:others" not in ward.get("/v1/models").text
        assert ward.post("/v1/chat/completions", json=ASKED | {"model": "random:mine"}).status_code == 200
        refused = ward.post("/v1/chat/completions", json=ASKED | {"model": "random:others"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
        assert ward.post("/v1/adapters", json={"model": "random", "name": "x", "examples": EXAMPLES}).status_code == 403
        assert ward.delete(f"/v1/adapters/{mine['id']}").status_code == 403
    assert {one["name"] for one in admin.get("/v1/adapters").json()["data"]} == {"mine", "others"}
    assert admin.post("/v1/chat/completions", json=ASKED | {"model": "random:others"}).status_code == 200


def test_an_adapter_of_another_model_is_a_400(adapted: ServingBox, admin: httpx.Client) -> None:
    train(admin)
    for path, asked in (
        ("/v1/chat/completions", ASKED),
        ("/v1/completions", {"prompt": "x"}),
        ("/v1/responses", {"input": "x"}),
        ("/v1/tokenize", {"prompt": "x"}),
    ):
        reply = admin.post(path, json=asked | {"model": "able:ward"})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, AdapterCode.OTHER_MODEL), path
    for model in ("random:canary", "random:", ":ward", "random-own", "random-own:ward:ward", "canary:canary"):
        reply = admin.post("/v1/chat/completions", json=ASKED | {"model": model})
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "model_not_found"), model
        assert "canary" not in reply.text


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "able"}, 403, AdapterCode.NOT_ALLOWED),
        ({"model": "random-own"}, 403, AdapterCode.NOT_ALLOWED),
        ({"model": "canary"}, 403, AdapterCode.NOT_ALLOWED),
        ({"name": "Canary"}, 400, AdapterCode.NAME),
        ({"name": "canary" * 20}, 400, "invalid_parameter"),
        ({"examples": "canary"}, 400, AdapterCode.EXAMPLES),
        ({"examples": ""}, 400, AdapterCode.TOO_FEW),
        ({"examples": "canary\n" * 5001}, 400, AdapterCode.TOO_MANY),
        ({"examples": "x" * (BYTES_MOST + 1)}, 413, AdapterCode.TOO_LARGE),
        ({"examples": "x" * (3 * BYTES_MOST)}, 413, "body_too_large"),
        ({"examples": [{"messages": []}]}, 400, "invalid_parameter"),
        ({"keys": "ward"}, 400, "invalid_parameter"),
        ({"canary": 1}, 400, "unknown_parameter"),
    ],
)
def test_orders_that_cannot_be_are_refused(admin: httpx.Client, change: dict[str, Any], status: int, code: str) -> None:
    reply = admin.post("/v1/adapters", json={"model": "random", "name": "ward", "examples": EXAMPLES} | change)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert "canary" not in reply.json()["error"]["message"]
    assert admin.get("/v1/adapters").json()["data"] == []


def test_a_malformed_line_is_told_by_its_number(admin: httpx.Client) -> None:
    """Apart from the sentence, for pages in other languages."""
    order = {"model": "random", "name": "ward", "examples": "\n" + EXAMPLES + "canary\n"}
    error = admin.post("/v1/adapters", json=order).json()["error"]
    assert (error["code"], error["line"]) == (AdapterCode.EXAMPLES, LEAST + 2)
    assert error["message"].startswith(f"Line {LEAST + 2}: ")
    assert "line" not in admin.post("/v1/adapters", json=order | {"examples": ""}).json()["error"]


def metrics(admin: httpx.Client) -> dict[str, float]:
    """What monitors read of adapters, by name and label."""
    text = admin.get("/metrics").raise_for_status().text
    assert "canary" not in text
    samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
    return {":".join([one.name, *one.labels.values()]): one.value for one in samples if "_adapter" in one.name}


def test_monitors_are_told_numbers_of_adapters(adapted: ServingBox, admin: httpx.Client, box: ServingBox) -> None:
    """No names; nothing of a box without adapters; a service that does not answer takes no other metric along."""
    before = metrics(admin)
    states, trainings = "sealwright_adapters", "sealwright_adapter_trainings_total"
    assert set(before) == {
        f"{states}:queued", f"{states}:training", f"{states}:ready", f"{states}:failed",
        f"{trainings}:finished", f"{trainings}:failed",
    }  # fmt: skip
    assert before[f"{states}:ready"] == 0
    train(admin, "canary")
    changed = {name: value for name, value in metrics(admin).items() if value != before[name]}
    assert changed == {f"{states}:ready": 1, f"{trainings}:finished": before[f"{trainings}:finished"] + 1}
    adapted.adapters.kill()
    begun = time.monotonic()
    assert metrics(admin) == {}
    assert time.monotonic() - begun < SCRAPE_S
    adapted.adapters.start()
    admin.get("/v1/adapters").raise_for_status()  # waits until it has come up
    assert metrics(admin)[f"{states}:ready"] == 1
    with box.http() as http:
        http.headers["Authorization"] = f"Bearer {box.admin_key}"
        assert metrics(http) == {}


def test_nobody_is_told_of_adapters_without_a_key(adapted: ServingBox) -> None:
    with httpx.Client(base_url=adapted.url, verify=adapted.trust, trust_env=False) as stranger:
        for method, path in (("GET", "/v1/adapters"), ("POST", "/v1/adapters"), ("GET", "/v1/adapters/x"),
                             ("DELETE", "/v1/adapters/x")):  # fmt: skip
            assert stranger.request(method, path).status_code == 401


def test_nothing_gives_out_an_adapter(adapted: ServingBox, admin: httpx.Client) -> None:
    """Neither its file nor its examples; nor does the engine's own interface show through."""
    one = train(admin)
    for path in ("", "/file", "/content", "/examples", "/checkpoint"):
        reply = admin.get(f"/v1/adapters/{one['id']}{path}")
        assert b"GGUF" not in reply.content
        assert "heron" not in reply.text
        assert reply.status_code == (404 if path else 200)
    for path in ("/lora-adapters", "/v1/lora-adapters"):
        assert admin.get(path).status_code == 404
    reply = admin.post("/v1/chat/completions", json=ASKED | {"model": "random", "lora": [{"id": 0, "scale": 1}]})
    assert reply.status_code == 400


def test_a_box_without_a_trainer_has_no_adapters(box: ServingBox) -> None:
    with box.http() as http:
        http.headers["Authorization"] = f"Bearer {box.admin_key}"
        listed = http.get("/v1/adapters").json()
        assert (listed["data"], listed["models"]) == ([], [])
        reply = http.post("/v1/adapters", json={"model": "random", "name": "x", "examples": EXAMPLES})
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, AdapterCode.NOT_ALLOWED)
