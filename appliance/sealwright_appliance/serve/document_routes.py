"""The addresses of the customer's documents, in OpenAI's shape: ``/v1/files``, and a search in all of them.

Whoever has a key may list and search; an administrator's is needed to bring a document or to delete one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request
from pydantic import Field
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from sealwright_appliance.documents.formats import FILE_BYTES_MOST
from sealwright_appliance.documents.messages import PASSAGES_MOST, FoundPassage, KeptDocument
from sealwright_appliance.documents.refusals import DocumentCode
from sealwright_appliance.serve.document_vectors import Retrieval
from sealwright_appliance.serve.documents import refused
from sealwright_appliance.serve.errors import ApiError, client_gone
from sealwright_appliance.serve.gate import Gate
from sealwright_appliance.serve.keys import ApiKey, require_admin
from sealwright_appliance.serve.request_parts import BODY_LIMIT, Part, parse_request
from sealwright_appliance.serve.requests import MOST_FIELDS, read_body

STORE_ID = "documents"
"""The one vector store of a box, as OpenAI's API calls it: all documents."""
FORM_OVERHEAD = 64 * 1024
"""Bytes of an upload besides its file."""
PURPOSES = ("assistants", "user_data")
PIECE = 256 * 1024
UPLOADS_AT_ONCE = 4
"""In a gateway: what has come of a file is in memory."""


class SearchRequest(Part):
    """``POST /v1/vector_stores/documents/search``."""

    query: Annotated[str, Field(max_length=16 * 1024)]
    max_num_results: Annotated[int, Field(ge=1, le=PASSAGES_MOST)] | None = None
    rewrite_query: Literal[False] | None = None


def parse_search_request(body: bytes) -> SearchRequest:
    """Parse a request body.

    Raises:
        ApiError: 400 with the parameter that is wrong, or that this API does not take.
    """
    return parse_request(SearchRequest, body)


def add_document_routes(app: FastAPI, gate: Gate, retrieval: Retrieval) -> None:
    """Add them."""
    documents = retrieval.documents

    def described(one: KeptDocument) -> dict[str, Any]:
        return _described(one, has_vectors=retrieval.maker is not None)

    uploads = asyncio.Semaphore(UPLOADS_AT_ONCE)

    @app.get("/v1/files")
    async def files(request: Request) -> dict[str, Any]:
        key = await gate.key(request)
        data = [described(one) for one in await documents.all()]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
        return {"object": "list", "data": data, "has_more": False, "may_change": key.admin} | ends

    @app.post("/v1/files")
    async def upload(request: Request) -> dict[str, Any]:
        await _admin(gate, request)
        if uploads.locked():
            raise refused(DocumentCode.BUSY)
        async with uploads:
            file = await uploaded(request)
            try:
                kept = await documents.add(file.filename or "", file.size or 0, _pieces(file))
            finally:
                await file.close()
        if retrieval.maker is not None:
            retrieval.maker.look()
        return described(kept)

    @app.get("/v1/files/{document_id}")
    async def file(request: Request, document_id: str) -> dict[str, Any]:
        await gate.key(request)
        return described(await documents.one(document_id))

    @app.delete("/v1/files/{document_id}")
    async def delete(request: Request, document_id: str) -> dict[str, Any]:
        await _admin(gate, request)
        await documents.delete(document_id)
        return {"id": document_id, "object": "file", "deleted": True}

    @app.post(f"/v1/vector_stores/{STORE_ID}/search")
    async def search(request: Request) -> dict[str, Any]:
        key = await gate.key(request)
        asked = parse_search_request(await read_body(request, BODY_LIMIT))
        found, vectors = await retrieval.search(asked.query, asked.max_num_results or 10, key.name)
        return {
            "object": "vector_store.search_results.page",
            "search_query": [asked.query],
            "data": [_result(one) for one in found],
            "has_more": False,
            "next_page": None,
            "vectors": vectors,
        }


async def uploaded(request: Request) -> UploadFile:
    """The file of a form, which a temporary file holds; the caller closes it.

    Raises:
        ApiError: 400, the form is not readable or has other fields; 413, the file is too large.
    """
    parser = MultiPartParser(request.headers, _bounded(request), max_files=1, max_fields=MOST_FIELDS)
    try:
        form = await parser.parse()
    except ClientDisconnect:
        raise client_gone() from None
    except (MultiPartException, FormParserError, KeyError, ValueError):
        raise ApiError(400, "invalid_form", "The form is not readable.") from None
    file = form.get("file")
    if form.get("purpose") not in PURPOSES or set(form) - {"file", "purpose"} or not isinstance(file, UploadFile):
        await form.close()
        message = f"The form has a file, a purpose, which is {' or '.join(PURPOSES)}, and nothing else."
        raise ApiError(
            400, "invalid_parameter", message, param="file" if form.get("purpose") in PURPOSES else "purpose"
        )
    if (file.size or 0) > FILE_BYTES_MOST:
        await form.close()
        raise refused(DocumentCode.TOO_LARGE, "file")
    return file


def _described(one: KeptDocument, *, has_vectors: bool) -> dict[str, Any]:
    """A document as OpenAI describes a file, with its pages and passages, and how many of these have vectors."""
    return {
        "id": one.document_id,
        "object": "file",
        "bytes": one.size,
        "created_at": one.created,
        "filename": one.name,
        "purpose": "assistants",
        "status": "processed",
        "pages": one.pages,
        "passages": one.passages,
        "with_vectors": one.with_vectors if has_vectors else None,
    }


def _result(one: FoundPassage) -> dict[str, Any]:
    return {
        "file_id": one.document_id,
        "filename": one.name,
        "score": one.score,
        "attributes": {"page": one.page, "paragraph": one.paragraph},
        "content": [{"type": "text", "text": one.text}],
    }


async def _admin(gate: Gate, request: Request) -> ApiKey:
    key = await gate.key(request)
    require_admin(key)
    return key


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it comes, to its limit."""
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > FILE_BYTES_MOST + FORM_OVERHEAD:
            raise refused(DocumentCode.TOO_LARGE, "file")
        yield piece


async def _pieces(file: UploadFile) -> AsyncIterator[bytes]:
    while piece := await file.read(PIECE):
        yield piece
