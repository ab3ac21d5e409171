"""``POST /admin/support``: the support bundle, of what agent and gateway know (policies/spec/support-bundle.md)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.responses import Response

from sealwright_appliance.recent_lines import RecentLines
from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.keys import shown_key
from sealwright_appliance.serve.queued_engine import Load
from sealwright_appliance.serve.requests import passed_on, peer
from sealwright_policies.support import (
    SUPPORT_LIMIT,
    SUPPORT_TYPE,
    BoxPart,
    GatewayPart,
    ModelLoad,
    SupportBundle,
    support_bytes,
)
from sealwright_policies.wire.encoding import parse_json


def add_support_route(
    app: FastAPI, box: Box, loads: Callable[[], Awaitable[Mapping[str, Load]]], recent: RecentLines
) -> None:
    """Add it. The agent checks the key, since it alone knows whether there are any to check."""

    @app.post("/admin/support")
    async def support(request: Request) -> Response:
        try:
            key = shown_key(request.headers.get("authorization"))
        except ApiError:
            key = ""
        reply = await box.support(key, peer(request))
        if not reply.is_success:
            return passed_on(reply)
        load = [
            ModelLoad(model=name, ready=one.ready, running=one.running, places=one.places, waiting=one.waiting)
            for name, one in sorted((await loads()).items())
        ]
        bundle = SupportBundle(
            type=SUPPORT_TYPE,
            made_at=int(time.time()),
            box=parse_json(BoxPart, reply.content, limit=SUPPORT_LIMIT),
            gateway=GatewayPart(load=load, lines=recent.lines()),
        )
        return Response(support_bytes(bundle), media_type="application/json")
