"""What the gateway takes under ``/v1/`` and ``/conversations``, as an OpenAPI document of the classes that read it."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from sealwright_appliance.serve.adapter_routes import AdapterOrder
from sealwright_appliance.serve.chat import ChatRequest
from sealwright_appliance.serve.document_routes import PURPOSES, STORE_ID, SearchRequest
from sealwright_appliance.serve.embedding import EmbeddingRequest
from sealwright_appliance.serve.kept_conversations import KeptChat
from sealwright_appliance.serve.responses import ResponseRequest
from sealwright_appliance.serve.text_completion import TextRequest
from sealwright_appliance.serve.token_count import CountRequest

REQUESTS: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": TextRequest,
    "/v1/embeddings": EmbeddingRequest,
    "/v1/responses": ResponseRequest,
    "/v1/responses/input_tokens": ResponseRequest,
    "/v1/tokenize": CountRequest,
}
_UPLOAD = {
    "type": "object",
    "required": ["file", "purpose"],
    "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"enum": list(PURPOSES)}},
    "additionalProperties": False,
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
_REF = "#/components/schemas/{model}"


@cache
def api_document() -> dict[str, Any]:
    """The document; replies have OpenAI's shapes, which it does not repeat."""
    kinds: list[type[BaseModel]] = [*dict.fromkeys(REQUESTS.values()), KeptChat, SearchRequest, AdapterOrder]
    names, shapes = models_json_schema([(kind, "validation") for kind in kinds], ref_template=_REF)
    posts = {path: {"post": _operation(names[kind, "validation"])} for path, kind in REQUESTS.items()}
    chat = names[KeptChat, "validation"]
    kept = {
        "/conversations": {"get": _operation(None), "post": _operation(chat, "201"), "delete": _operation(None)},
        "/conversations/{conversation_id}": {
            "get": _operation(None), "put": _operation(chat), "delete": _operation(None),
        } | _named("conversation_id"),
    }  # fmt: skip
    gets = {
        "/v1/models": {"get": _operation(None)},
        "/v1/models/{model}": {"get": _operation(None) | _named("model")},
    }
    documents = {
        "/v1/files": {"get": _operation(None), "post": _operation(_UPLOAD, kind="multipart/form-data")},
        "/v1/files/{file_id}": {method: _operation(None) | _named("file_id") for method in ("get", "delete")},
        f"/v1/vector_stores/{STORE_ID}/search": {"post": _operation(names[SearchRequest, "validation"])},
    }
    adapters = {
        "/v1/adapters": {"get": _operation(None), "post": _operation(names[AdapterOrder, "validation"])},
        "/v1/adapters/{adapter_id}": {method: _operation(None) | _named("adapter_id") for method in ("get", "delete")},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Models of a Sealwright box", "version": "1"},
        "security": [{"key": []}],
        "paths": gets | posts | kept | documents | adapters,
        "components": {
            "schemas": shapes["$defs"] | {"Refusal": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _named(parameter: str) -> dict[str, Any]:
    return {"parameters": [{"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}]}


def _operation(body: Any, done: str = "200", kind: str = "application/json") -> dict[str, Any]:
    refused = {"application/json": {"schema": {"$ref": _REF.format(model="Refusal")}}}
    given = {} if body is None else {"requestBody": {"required": True, "content": {kind: {"schema": body}}}}
    answers = {
        done: {"description": "As OpenAI's; of conversations as docs/serving.md says."},
        "4XX": {"description": "Refused.", "content": refused},
        "5XX": {"description": "Not now.", "content": refused},
    }
    return given | {"responses": answers}
