"""The gateway's part in sending: it carries what the agents say, one flow at a time, and tells how far it is."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import httpx

from sealwright_appliance.serve.box import Box
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.gateway_tls import GatewayTls
from sealwright_appliance.serve.peer_link import (
    PeerAddress,
    ask,
    client_context,
    connected,
    sha256,
    shown_certificate,
)
from sealwright_appliance.serve.requests import json_object
from sealwright_policies.flows.documents import FLOW_MESSAGE_LIMIT

SMALL_REPLY = 256 * 1024


@dataclass
class Progress:
    """How far a flow is."""

    flow_id: str
    frames: int
    next_frame: int = 0
    state: str = "meeting"
    """Then ``sending``, ``checking``, and ``done`` or ``failed``."""
    problem: dict[str, Any] | None = None

    def described(self) -> dict[str, Any]:
        """For the administrator."""
        return {
            "flow_id": self.flow_id,
            "frames": self.frames,
            "sent": self.next_frame,
            "state": self.state,
            "problem": self.problem,
        }


@dataclass
class FlowSending:
    """At most one flow at a time."""

    box: Box
    tls: GatewayTls
    progress: Progress | None = None
    _task: asyncio.Task[None] | None = field(default=None)
    _beginning: bool = False

    async def start(self, order: dict[str, Any], address: PeerAddress, admin_key: str) -> dict[str, Any]:
        """Begin, or go on with, a flow; it then runs by itself.

        Raises:
            ApiError: another one runs, or the agent refuses.
        """
        if self._beginning or (self._task is not None and not self._task.done()):
            raise ApiError(409, "FLOW_BUSY", "Another flow is under way; try again later.", retry_after_s=30)
        self._beginning = True
        try:
            begun = await self._agent("POST", "/flows/begin", json={"admin_key": admin_key, "order": order})
            self.progress = Progress(begun["flow_id"], begun["frames"])
            self._task = asyncio.create_task(self._run(self.progress, begun["hello"], address))
        finally:
            self._beginning = False
        return self.progress.described()

    async def close(self, flow_ids: Collection[str] | None = None) -> None:
        """Stop; or stop these flows. What was sent stays with the receiver."""
        if self._task is None or self.progress is None:
            return
        if flow_ids is not None and self.progress.flow_id not in flow_ids:
            return
        if self._task.cancel():
            await asyncio.wait([self._task])
            given_up = ApiError(409, "flow_withdrawn", "The flow was given up.")
            self.progress.problem, self.progress.state = given_up.body()["error"], "failed"

    async def _run(self, progress: Progress, hello: dict[str, Any], address: PeerAddress) -> None:
        try:
            await self._send(progress, hello, address)
            progress.state = "done"
        except ApiError as error:
            progress.problem, progress.state = error.body()["error"], "failed"
        except (ValueError, KeyError, TypeError, ssl.SSLError, httpx.InvalidURL):
            nonsense = ApiError(502, "peer_failed", "The other box answers what makes no sense.")
            progress.problem, progress.state = nonsense.body()["error"], "failed"

    async def _send(self, progress: Progress, hello: dict[str, Any], address: PeerAddress) -> None:
        flow = f"/flows/{progress.flow_id}"
        certificate = await shown_certificate(address)
        context = client_context(certificate, self.tls.certificate, self.tls.private_key)
        async with connected(context, address.url(address.port)) as peer:
            welcome = json_object(await ask(peer, "POST", "/flows/hello", FLOW_MESSAGE_LIMIT, json=hello))
            answer = {"welcome": welcome, "fingerprint": sha256(certificate)}
            offer = await self._agent("POST", f"{flow}/offer", json=answer)
            nonce = str(hello["nonce"])
            accepted = json_object(
                await ask(peer, "POST", f"/flows/offers/{sha256(nonce.encode())}", SMALL_REPLY, json=offer)
            )
        progress.next_frame, port = int(accepted["next_frame"]), int(accepted["port"])
        progress.state = "sending"
        async with connected(context, address.url(port)) as peer:
            while progress.next_frame < progress.frames:
                frame = await self._bytes("GET", f"{flow}/frames/{progress.next_frame}")
                taken = json_object(
                    await ask(peer, "PUT", f"/frames/{progress.next_frame}", SMALL_REPLY, content=frame)
                )
                following = int(taken["next"])
                if not progress.next_frame < following <= progress.frames:
                    raise ValueError(following)
                progress.next_frame = following
            progress.state = "checking"
            receipt = await _checked(peer)
        await self._agent("POST", f"{flow}/receipt", json=receipt)

    async def _agent(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        return json_object(await self._bytes(method, path, **options))

    async def _bytes(self, method: str, path: str, **options: Any) -> bytes:
        reply = await self.box.flow(method, path, **options)
        if not reply.is_success:
            raise refused_by_agent(reply.status_code, reply.content)
        return reply.content


async def _checked(peer: httpx.AsyncClient) -> dict[str, Any]:
    """The receiver's receipt; until then it says how far its check of the whole is, which has to go on.

    Raises:
        ApiError: as :func:`~sealwright_appliance.serve.peer_link.ask`.
        ValueError: it does not.
    """
    checked = -1
    while True:
        reply = json_object(await ask(peer, "POST", "/finish", SMALL_REPLY))
        if "checked" not in reply:
            return reply
        if int(reply["checked"]) <= checked:
            raise ValueError(reply["checked"])
        checked = int(reply["checked"])


def refused_by_agent(status: int, content: bytes) -> ApiError:
    """The agent's own refusal, in our form."""
    try:
        problem = json.loads(content)
    except ValueError:
        problem = {}
    return ApiError(status, str(problem.get("code", status)), str(problem.get("detail", "The agent refuses.")))
