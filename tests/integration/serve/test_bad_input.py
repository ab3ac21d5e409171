"""Whatever is sent to the models' addresses: a clear refusal in OpenAI's shape, no 5xx, and a box that goes on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from requests import Session
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from sealwright_appliance.serve.openapi import REQUESTS
from sealwright_appliance.tls import CERTIFICATE_FILE
from sealwright_policies.outflow import OutflowPolicy, Reaction
from sealwright_testing.serving import ServingBox, serving_box

EXAMPLES = 8
"""Random requests of each kind for each address."""
POLICY = OutflowPolicy(
    embeddings=True, answer_tokens=8, top_logprobs=1, padding=0, on_extraction=Reaction.ALERT, budgets=()
)
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "/v1/completions": {"prompt": "hello"},
    "/v1/embeddings": {"input": "hello"},
    "/v1/responses": {"input": "hello"},
    "/v1/responses/input_tokens": {"input": "hello"},
    "/v1/tokenize": {"prompt": "hello"},
}
TEXTS = {"/v1/chat/completions": "messages", "/v1/completions": "prompt", "/v1/embeddings": "input",
         "/v1/responses": "input", "/v1/responses/input_tokens": "input", "/v1/tokenize": "prompt"}  # fmt: skip
MODEL = "vectors"


@pytest.fixture(scope="module")
def bad_box(vector_model: Path) -> Iterator[ServingBox]:
    with serving_box({MODEL: vector_model}, policy=POLICY) as running:
        yield running


@pytest.fixture
def http(bad_box: ServingBox) -> Iterator[httpx.Client]:
    with bad_box.http() as made:
        yield made


OTHERS = {
    "/v1/models": 1, "/v1/models/{model}": 1, "/conversations": 3, "/conversations/{conversation_id}": 3,
    "/v1/files": 2, "/v1/files/{file_id}": 2, "/v1/vector_stores/documents/search": 1,
    "/v1/adapters": 2, "/v1/adapters/{adapter_id}": 2,
}  # fmt: skip
"""Addresses that ask no model, and how many methods each has."""


def good(path: str, **change: Any) -> dict[str, Any]:
    return {"model": MODEL} | GOOD[path] | change


def require_refused(reply: httpx.Response, *statuses: int) -> None:
    assert reply.status_code in (statuses or (400,)), reply.text[:300]
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"]
    assert "canary" not in reply.text


def test_every_address_is_in_the_document_and_answers(http: httpx.Client) -> None:
    assert set(http.get("/v1/openapi.json").json()["paths"]) == {*REQUESTS, *OTHERS}
    assert set(GOOD) == set(REQUESTS)
    for path in REQUESTS:
        assert http.post(path, json=good(path)).status_code == 200


BODIES = {
    "nothing": b"",
    "half": b'{"model": "canary',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e999",
    "invalid UTF-8": b'{"model": "vectors", "input": "\xff\xfe canary"}',
    "half a character": b'{"model": "vectors", "prompt": "\\ud800 canary", "input": "\\ud800 canary"}',
    "UTF-16": '{"model": "vectors"}'.encode("utf-16"),
    "zeros": bytes(4096),
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 150_000,
    "twice": b'{"model": "canary", "model": "canary2"}',
    "a form": b"model=canary&prompt=x",
}


@pytest.mark.parametrize("path", REQUESTS)
def test_what_is_no_request_is_refused(http: httpx.Client, path: str) -> None:
    for body in BODIES.values():
        require_refused(http.post(path, content=body, headers={"Content-Type": "application/json"}))
    require_refused(http.post(path, content=b" " * (1024 * 1024 + 1)), 413)
    require_refused(http.get(path), 405)
    require_refused(http.post(path, json=good(path, model="canary")), 404)
    require_refused(http.post(path, json=good(path), headers={"Authorization": "Bearer canary"}), 401)


@pytest.mark.parametrize("path", REQUESTS)
def test_numbers_that_are_none_are_refused(http: httpx.Client, path: str) -> None:
    """Wherever a number is taken, and where none is."""
    names = ["temperature", "top_p", "max_tokens", "max_output_tokens", "n", "seed", "presence_penalty", "top_logprobs",
             "dimensions", "logprobs", "max_completion_tokens"]  # fmt: skip
    for name in names:
        for value in ("-1", "NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400, '"1"', "[]", "-0.5"):
            if (name, value) in {("presence_penalty", "-1"), ("presence_penalty", "-0.5")}:
                continue
            body = json.dumps(good(path))[:-1] + f', "{name}": {value}}}'
            require_refused(http.post(path, content=body.encode()))


@pytest.mark.parametrize("path", REQUESTS)
def test_no_size_is_too_much(http: httpx.Client, path: str) -> None:
    """A hundred thousand messages, texts or names, and a text that is too long for the model."""
    name = TEXTS[path]
    turn = {"role": "user", "content": ""}
    many: Any = [turn if name in {"messages", "input"} else "x"] * 100_000
    require_refused(http.post(path, json=good(path, **{name: many})), 400, 413)
    require_refused(http.post(path, json=good(path, **{name: ["x"] * 100_000})))
    require_refused(http.post(path, json=good(path) | {f"canary{number}": 1 for number in range(50_000)}))
    require_refused(http.post(path, json=good(path, metadata={f"canary{number}": "" for number in range(50_000)})))
    words = "word " * 9_000
    long = [{"role": "user", "content": words}] if name == "messages" else words
    reply = http.post(path, json=good(path, **{name: long}))
    if path.endswith(("tokenize", "input_tokens")):
        assert reply.status_code == 200
    else:
        require_refused(reply)
        assert reply.json()["error"]["code"] == "context_length_exceeded"


SCHEMAS: list[Any] = [
    {"$ref": "#"}, {"$ref": "#/canary"}, {"type": "canary"}, {"type": 7}, {"enum": []}, {"enum": 7}, {"pattern": "("},
    {"type": "string", "pattern": "^(((a+)+)+)+$"}, {"allOf": [{"$ref": "#"}]}, {"properties": [1]}, {"items": True},
    {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    {"properties": {'a" ::= "b\n': {"type": "string"}}}, {"const": {"a": ["\u0000"]}}, {"minimum": 1e300},
    {"type": "integer", "minimum": -(10**18), "maximum": 10**18}, {"anyOf": [{"type": "string"}] * 2000},
    {"type": "array", "minItems": 2000, "items": {"type": "array", "minItems": 2000, "items": {"type": "string"}}},
    {"properties": {f"a{number}": {"type": "string"} for number in range(1200)}},
]  # fmt: skip


def test_no_schema_stops_the_engine(http: httpx.Client, bad_box: ServingBox) -> None:
    """Taken or refused, and each in seconds: the engine makes grammars of them for everybody."""
    for schema in SCHEMAS:
        shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        reply = http.post("/v1/chat/completions", json=good("/v1/chat/completions", response_format=shape), timeout=20)
        assert reply.status_code in {200, 400}, schema
        assert "canary" not in reply.text
    assert http.get("/readyz").status_code == 200
    assert "canary" not in bad_box.gateway_log


def test_random_requests_by_the_document(bad_box: ServingBox) -> None:
    """schemathesis makes requests that fit, and that do not; most name a model that there is."""
    with bad_box.http() as http:
        described = http.get("/v1/openapi.json").json()
    operations = [
        found.ok() for found in schemathesis.openapi.from_dict(described).get_all_operations() if isinstance(found, Ok)
    ]
    assert len(operations) == len(REQUESTS) + sum(OTHERS.values())
    answers: Counter[tuple[str, int]] = Counter()
    with Session() as session:
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                ask(bad_box, operation, mode, session, answers)
    assert {path for path, _ in answers} >= {*OTHERS, *REQUESTS}
    assert len({path for path, status in answers if status == 200}) > len(REQUESTS) // 2
    assert sum(answers.values()) > EXAMPLES * len(REQUESTS)
    assert "error=" not in bad_box.gateway_log


def ask(
    box: ServingBox, operation: Any, mode: GenerationMode, session: Session, answers: Counter[tuple[str, int]]
) -> None:
    """Some requests of one kind to one address."""
    headers = {"Authorization": f"Bearer {box.api_key}"}

    @given(case=operation.as_strategy(generation_mode=mode), known=st.integers(0, 9))
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def one(case: Case[Any], known: int) -> None:
        if known and operation.path in REQUESTS and isinstance(case.body, dict):
            case.body = case.body | {"model": MODEL}
        reply = case.call(box.url, session, headers, verify=str(box.paths.tls / CERTIFICATE_FILE))
        answers[operation.path, reply.status_code] += 1
        case.validate_response(reply, checks=[not_a_server_error, status_code_conformance, response_schema_conformance])

    one()
