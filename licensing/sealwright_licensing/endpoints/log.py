"""GET /v1/log/…: the log's newest checkpoint, and proofs. For everybody: there is nothing in them to keep."""

from __future__ import annotations

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import PlainTextResponse

from sealwright_licensing import log_proofs
from sealwright_licensing.endpoints.calls import PROBLEMS, json_response
from sealwright_licensing.log_proofs import LogProof
from sealwright_licensing.release_proofs import ReleaseProofs
from sealwright_licensing.store import Store
from sealwright_policies.transparency.merkle import MOST_ENTRIES
from sealwright_policies.transparency.release_proof import ReleaseProof

_Size = Annotated[int, Query(ge=0, lt=MOST_ENTRIES)]
_ReleaseId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


def router(store: Store, proofs: ReleaseProofs) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/log", tags=["log"])

    @routes.get(
        "/checkpoint", response_class=PlainTextResponse, responses=PROBLEMS, summary="The newest signed checkpoint"
    )
    async def checkpoint() -> Response:
        note = await anyio.to_thread.run_sync(log_proofs.checkpoint_note, store)
        return PlainTextResponse(note, headers={"Cache-Control": "no-store"})

    @routes.get(
        "/proof/releases/{release_id}", response_model=ReleaseProof, responses=PROBLEMS,
        summary="That a release is in the log",
    )  # fmt: skip
    async def release(release_id: _ReleaseId) -> Response:
        return json_response(await anyio.to_thread.run_sync(proofs.of, release_id))

    @routes.get(
        "/proof/inclusion", response_model=LogProof, responses=PROBLEMS,
        summary="That an entry is in the tree of a size",
    )  # fmt: skip
    async def inclusion(index: _Size, size: _Size) -> Response:
        return json_response(await anyio.to_thread.run_sync(log_proofs.prove_inclusion, store, index, size))

    @routes.get(
        "/proof/consistency", response_model=LogProof, responses=PROBLEMS,
        summary="That the tree of a size begins with that of an earlier one",
    )  # fmt: skip
    async def consistency(first: _Size, second: _Size) -> Response:
        return json_response(await anyio.to_thread.run_sync(log_proofs.prove_consistency, store, first, second))

    return routes
