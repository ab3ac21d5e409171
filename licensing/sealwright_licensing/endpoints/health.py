"""GET /healthz: the process answers and the database can be read."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter

from sealwright_licensing.endpoints.calls import PROBLEMS
from sealwright_licensing.records import License
from sealwright_licensing.store import Store


def router(store: Store) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", responses={503: PROBLEMS[503]}, summary="Whether the service can decide")
    async def health() -> dict[str, str]:
        await anyio.to_thread.run_sync(_read_something, store)
        return {"status": "ok"}

    return routes


def _read_something(store: Store) -> None:
    with store.read() as transaction:
        transaction.count(License)
