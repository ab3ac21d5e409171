"""What a client gets of a real llama-server is what the agent's journal counts, also of replies that are cut short."""

from __future__ import annotations

from pathlib import Path

import openai
from openai.types.chat import ChatCompletionMessageParam

from sealwright_policies.metering.receipt import UsageRow
from sealwright_testing.running_box import wait_until
from sealwright_testing.serving import ServingBox, serving_box

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]
LONG = 20_000
"""Tokens of a reply that is cut short."""


def test_requests_are_counted_as_the_engine_counts_them(random_model: Path) -> None:
    """Whole, streamed with and without usage, several choices, cut short; handed on when the gateway is stopped."""
    with serving_box({"random": random_model}) as box, box.openai() as client:
        expected_prompt, expected_completion = _ask(client)
        _leave_early(client)
        wait_until(lambda: box.engines["random"].metric("requests_processing") == 0)
        ward = _row(box, "ward")
        # By the engine's own count; of the reply that was cut short it has made tokens that it could not send any more.
        made = int(box.engines["random"].metric("tokens_predicted_total"))
    assert ward.requests == 6
    assert ward.prompt_tokens == expected_prompt * 6 // 5
    assert expected_completion < ward.completion_tokens <= made
    assert ward.busy_ms > 0


def _ask(client: openai.OpenAI) -> tuple[int, int]:
    """Five requests that are answered to their end; tokens of their prompts and replies as the client is told."""
    whole = client.chat.completions.create(model="random", messages=HELLO, max_tokens=5, temperature=0)
    assert whole.usage is not None
    several = client.chat.completions.create(model="random", messages=HELLO, max_tokens=4, n=2, temperature=0)
    assert several.usage is not None
    with_usage = client.chat.completions.create(
        model="random",
        messages=HELLO,
        max_tokens=3,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    told = [chunk.usage for chunk in with_usage if chunk.usage is not None]
    assert [(one.prompt_tokens, one.completion_tokens) for one in told] == [(whole.usage.prompt_tokens, 3)]
    without = list(
        client.chat.completions.create(model="random", messages=HELLO, max_tokens=2, temperature=0, stream=True)
    )
    assert all(chunk.usage is None and chunk.choices for chunk in without)
    assert not any("prompt_progress" in (chunk.model_extra or {}) for chunk in without)
    again = client.chat.completions.create(model="random", messages=HELLO, max_tokens=1, temperature=0)
    assert again.usage is not None
    return 5 * whole.usage.prompt_tokens, 5 + 8 + 3 + 2 + 1


def _leave_early(client: openai.OpenAI) -> None:
    """Read a few events of a long reply, and go."""
    stream = client.chat.completions.create(model="random", messages=HELLO, max_tokens=LONG, stream=True)
    for _, __ in zip(range(8), stream, strict=False):
        pass
    stream.close()


def _row(box: ServingBox, key: str) -> UsageRow:
    """The row of a key after the gateway was stopped, as at a shutdown."""
    box.gateway.terminate()
    box.gateway.wait(30)
    found = {alias: name for name, alias in box.meter.aliases([key]).items()}
    (row,) = [one for one in box.meter.journal().rows if found.get(one.alias) == key]
    return row


def test_an_administrator_sees_what_is_reported_and_chooses(box: ServingBox) -> None:
    """Pseudonyms at first; names from the moment on at which they are chosen; others may neither see nor choose."""
    with box.http() as http:
        assert http.get("/admin/metering").status_code == 403
        assert http.put("/admin/metering", json={"names": True}).status_code == 403
        admin = {"Authorization": f"Bearer {box.admin_key}"}
        view = http.get("/admin/metering", headers=admin).raise_for_status().json()
        assert view["names"] is False
        assert view["aliases"]["ward"].startswith("key-")
        assert http.put("/admin/metering", headers=admin, json={"names": 1}).status_code == 400
        assert http.put("/admin/metering", headers=admin, json={"names": True}).json()["names"] is True
        assert http.get("/admin/metering", headers=admin).json()["aliases"]["ward"] == "ward"
        http.put("/admin/metering", headers=admin, json={"names": False})
