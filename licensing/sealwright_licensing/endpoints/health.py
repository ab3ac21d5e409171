"""GET /livez: the process answers. GET /readyz: it can decide: database reached, schema current.

Keys need no look here: a process that lacks one does not start.
"""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter

from sealwright_licensing import schema
from sealwright_licensing.endpoints.calls import PROBLEMS
from sealwright_licensing.store_sql import SqlStore


def router(store: SqlStore) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/livez", summary="Whether the process answers")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz", responses={503: PROBLEMS[503]}, summary="Whether the service can decide")
    async def ready() -> dict[str, str]:
        await anyio.to_thread.run_sync(schema.require_newest, store.engine)
        return {"status": "ok"}

    return routes
