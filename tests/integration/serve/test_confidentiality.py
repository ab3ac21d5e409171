"""What people ask and are told is in no log: neither the gateway's nor the engine's, whatever goes wrong."""

from __future__ import annotations

import json
from contextlib import suppress

import httpx
import openai
import pytest

from sealwright_testing.serving import ServingBox

pytestmark = pytest.mark.redteam

CANARY = "canary-of-a-patient"
ASKED = {"model": "random", "messages": [{"role": "user", "content": CANARY}], "max_tokens": 4}
BODIES = {
    "whole": ASKED,
    "stream": ASKED | {"stream": True},
    "wrong type": ASKED | {"temperature": CANARY},
    "unknown parameter": ASKED | {CANARY: 1},
    "switched off": ASKED | {"logit_bias": {CANARY: 1}},
    "unknown model": ASKED | {"model": CANARY},
    "no engine": ASKED | {"model": "elsewhere"},
    "too long": ASKED | {"messages": [{"role": "user", "content": CANARY * 2_000}]},
    "schema": ASKED | {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": CANARY}}}},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_no_request_is_logged(box: ServingBox, body: dict[str, object]) -> None:
    """Answered or refused."""
    with box.http() as client:
        client.post("/v1/chat/completions", json=body)
        assert_silent(box)


def test_no_broken_request_is_logged(box: ServingBox) -> None:
    """Bodies that are no JSON, canaries in address, query and headers, bytes that are no HTTP."""
    with box.http() as client:
        client.post("/v1/chat/completions", content=json.dumps(ASKED)[:-1])
        client.post("/v1/chat/completions", content=CANARY.encode() + b"\xff")
        client.get(f"/{CANARY}?{CANARY}={CANARY}", headers={"X-Patient": CANARY})
        client.get("/v1/models", headers={"Authorization": f"Bearer {CANARY}"})
        with suppress(httpx.HTTPError):
            client.request(CANARY, "/v1/models")
    assert_silent(box)


def test_no_interrupted_reply_is_logged(box: ServingBox) -> None:
    """The engine dies in mid-stream, with the question in its memory and the gateway's."""
    with box.openai() as client:
        chunks = client.chat.completions.create(
            model="random", messages=[{"role": "user", "content": CANARY}], max_tokens=30_000, stream=True
        )
        next(chunks)
        box.engines["random"].kill()
        with pytest.raises(openai.APIError):
            list(chunks)
    box.engines["random"].start()
    assert_silent(box)


def assert_silent(box: ServingBox) -> None:
    """No canary in either log, no key either."""
    for log in (box.gateway_log, box.engines["random"].log.read_text(errors="replace")):
        assert CANARY not in log
        assert box.api_key not in log
