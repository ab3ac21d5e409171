"""What is posted to a direct route is answered by its endpoint; everything else is passed on."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from starlette.types import Receive, Scope, Send

from sealwright_licensing.endpoints.direct import DirectRoutes


def routes() -> APIRouter:
    router = APIRouter(prefix="/v1/things")

    @router.post("")
    async def make(request: Request) -> Response:
        return Response(b"made " + await request.body())

    @router.post("/broken")
    async def fail(_request: Request) -> Response:
        raise KeyError("inside")

    return router


async def refuse(_request: Request, error: Exception) -> Response:
    return Response(type(error).__name__, 500)


@pytest.mark.anyio
async def test_a_post_is_answered_directly_and_the_rest_passed_on() -> None:
    seen: list[str | None] = []

    async def passed_on(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("passed on", 404)(scope, receive, send)

    direct = DirectRoutes(passed_on, [routes()], refuse)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        await direct(scope, receive, send)
        seen.append(getattr(scope.get("route"), "path", None))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(watched), base_url="http://service") as client:
        assert (await client.post("/v1/things", content=b"one")).text == "made one"
        assert (await client.post("/v1/things/broken")).text == "KeyError"
        assert (await client.get("/v1/things")).text == "passed on"
        assert (await client.post("/v1/things/")).text == "passed on"
    assert seen == ["/v1/things", "/v1/things/broken", None, None]


@pytest.mark.anyio
async def test_what_is_no_request_is_passed_on() -> None:
    passed: list[str] = []

    async def passed_on(scope: Scope, _receive: Receive, _send: Send) -> None:
        passed.append(scope["type"])

    async def nothing(*_: object) -> None:
        raise AssertionError

    await DirectRoutes(passed_on, [routes()], refuse)({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]
    assert passed == ["lifespan"]
