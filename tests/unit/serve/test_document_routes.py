"""The addresses of documents, over a document service that says what a test wants."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx

from sealwright_appliance.documents.messages import DocumentReply
from sealwright_appliance.documents.refusals import DocumentCode
from sealwright_appliance.serve.document_routes import UPLOADS_AT_ONCE
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.gateway_scene import ADMINISTRATOR, AUTHORIZED, Scene, scene

FORM: dict[str, Any] = {"data": {"purpose": "assistants"}, "files": {"file": ("a.txt", b"text")}}


async def upload(held: Scene) -> httpx.Response:
    return await held.client.post("/v1/files", headers=ADMINISTRATOR, **FORM)


def test_uploads_have_places(tmp_path: Path) -> None:
    """What has come of a file is in memory; one too many is refused before it is read, and listing goes on."""

    async def run() -> None:
        hold, asked = asyncio.Event(), 0

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            await reader.read(1)
            await hold.wait()
            writer.write(document_bytes(DocumentReply(error=DocumentCode.NO_TEXT)))
            writer.close()

        async with (
            await asyncio.start_unix_server(answer, tmp_path / "documents.sock"),
            scene(tmp_path) as held,
        ):
            running = [asyncio.create_task(upload(held)) for _ in range(UPLOADS_AT_ONCE)]
            while asked < UPLOADS_AT_ONCE:
                await asyncio.sleep(0.01)
            refused = await upload(held)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, DocumentCode.BUSY)
            assert refused.headers["Retry-After"]
            hold.set()
            for one in running:
                assert (await one).json()["error"]["code"] == DocumentCode.NO_TEXT
            assert (await upload(held)).json()["error"]["code"] == DocumentCode.NO_TEXT

    asyncio.run(run())


def test_a_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        async with scene(tmp_path) as held:
            for path in ("/v1/files", "/v1/files/file-0", f"/v1/files/file-{'0' * 24}"):
                reply = await held.client.get(path, headers=AUTHORIZED)
                expected = (404, DocumentCode.UNKNOWN) if path.endswith("file-0") else (503, DocumentCode.UNAVAILABLE)
                assert (reply.status_code, reply.json()["error"]["code"]) == expected
            assert (await upload(held)).status_code == 503
            assert (await held.chat()).status_code == 200

    asyncio.run(run())
