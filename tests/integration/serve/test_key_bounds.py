"""Keys for one model and to an end, over the real agent, gateway and engines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 2},
    "/v1/completions": {"prompt": "hello", "max_tokens": 2},
    "/v1/responses": {"input": "hello", "max_output_tokens": 2},
    "/v1/responses/input_tokens": {"input": "hello"},
    "/v1/tokenize": {"prompt": "hello"},
    "/v1/embeddings": {"input": "hello"},
}


@pytest.fixture(scope="module")
def box(able_model: Path) -> Iterator[ServingBox]:
    with serving_box({"one": able_model, "two": able_model}) as running:
        yield running


def made(box: ServingBox, name: str, **bounds: Any) -> str:
    """A key, by the administrator's."""
    with box.http() as client:
        headers = {"Authorization": f"Bearer {box.admin_key}"}
        reply = client.post("/admin/api-keys", json={"name": name} | bounds, headers=headers)
        key: str = reply.raise_for_status().json()["api_key"]
        return key


def test_a_key_for_one_model_reaches_no_other_in_any_way(box: ServingBox) -> None:
    key = made(box, "for one", models=["one"])
    with box.openai() as client:
        own = client.with_options(api_key=key)
        assert [one.id for one in own.models.list()] == ["one"]
        with pytest.raises(openai.NotFoundError):
            own.models.retrieve("two")
        assert {one.id for one in client.models.list()} == {"one", "two"}
    with box.http() as http:
        headers = {"Authorization": f"Bearer {key}"}
        for path, body in ASKED.items():
            refused = http.post(path, json=body | {"model": "two"}, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found"), path
            assert "two" not in refused.text
            reply = http.post(path, json=body | {"model": "one"}, headers=headers)
            assert reply.status_code == (403 if path == "/v1/embeddings" else 200), reply.text
        assert http.post("/v1/tokenize", json=ASKED["/v1/tokenize"] | {"model": "two"}).status_code == httpx.codes.OK


def test_a_key_lets_nobody_in_behind_its_end(box: ServingBox) -> None:
    key = made(box, "ends", expires=int(time.time()) + 5)
    headers = {"Authorization": f"Bearer {key}"}
    with box.http() as http:
        assert http.get("/v1/models", headers=headers).status_code == httpx.codes.OK
        wait_until(lambda: http.get("/v1/models", headers=headers).status_code == httpx.codes.UNAUTHORIZED)
        assert http.get("/conversations", headers=headers).status_code == httpx.codes.UNAUTHORIZED
        assert http.get("/v1/models").status_code == httpx.codes.OK
