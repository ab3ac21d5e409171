"""The gateway's view of the box: what the agent says over its UNIX socket, remembered for a second."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sealwright_appliance.outflow.key_states import KeyState, KeyStates, KnownKeys
from sealwright_appliance.serve.errors import (
    ApiError,
    budgets_unreadable,
    engine_unavailable,
    keys_unreadable,
    model_not_loaded,
    not_serving,
)
from sealwright_appliance.serve.keys import ApiKey
from sealwright_appliance.serve.quota import Allowance, Lacking
from sealwright_policies.wire.encoding import document_bytes

REMEMBER_S = 1.0
"""How old an answer of the agent may be; a lease that ends is noticed within this time."""
SERVING = "serving"
DEFAULT_REQUEST_S = 600.0
"""Where no lease says how long a request may last."""
AGENT_TIMEOUT_S = 10.0
ACTIVATION_TIMEOUT_S = 300.0
PROBLEM_TYPE = "application/problem+json"
LOADING_TIMEOUT_S = 1000.0
"""Longer than the agent waits for an engine (:data:`sealwright_appliance.engines.LOADING_MOST_S`)."""
STOPPING_TIMEOUT_S = 300.0
ENGINE_DIED = "ENGINE_DIED"
"""The agent's word for an engine that has died as it loaded (:mod:`sealwright_appliance.engine_orders`)."""
FILE_TIMEOUT_S = 120.0
"""A renewal under way may have the TPM."""


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    status: dict[str, Any]
    keys: tuple[ApiKey, ...] | None
    """None where the agent cannot read them."""
    states: KnownKeys | None
    """Likewise."""


class Box:
    """The agent behind its socket."""

    def __init__(self, agent_socket: Path) -> None:
        # A kept connection is now and then closed by the agent just as it is used again, and the request is lost.
        each_its_own = httpx.Limits(max_keepalive_connections=0)
        self._client = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(agent_socket), limits=each_its_own),
            base_url="http://agent",
            timeout=AGENT_TIMEOUT_S,
            trust_env=False,
        )
        self._seen: _Seen | None = None
        self._changed_at = time.monotonic()

    async def status(self) -> dict[str, Any]:
        """The agent's status document (:mod:`sealwright_appliance.status`)."""
        return (await self._look()).status

    @property
    def warning(self) -> str | None:
        """The warning as a header says it, of the last answer of the agent."""
        budget = self._seen.status.get("budget") if self._seen else None
        if budget is None or budget["level_days"] is None:
            return None
        return f"{budget['warning']};level={budget['level_days']};left={budget['left_s']}"

    async def keys(self) -> tuple[ApiKey, ...]:
        """All API keys, hashed.

        Raises:
            ApiError: 503, the agent cannot read them.
        """
        keys = (await self._look()).keys
        if keys is None:
            raise keys_unreadable()
        return keys

    async def require_serving(self) -> float:
        """Refuse new requests when the box has no lease to serve under.

        Returns:
            The longest time of a request that begins now, waiting included, in seconds: what a lease that ends allows
            the running ones.

        Raises:
            ApiError: 503 with the reason and, where there was a warning, since when.
        """
        status = await self.status()
        if status["state"] != SERVING:
            raise not_serving(status.get("code") or status["state"].upper().replace("-", "_"), status["sentence"])
        lease = status["lease"]
        return float(lease["max_request_s"]) if lease is not None else DEFAULT_REQUEST_S

    async def activate(self, claim: dict[str, str], peer: str) -> httpx.Response:
        """Pass an activation on; the reply holds the customer's secrets.

        Args:
            claim: claim code and activation code.
            peer: address of who asks, as the network says.
        """
        return await self._change("POST", "/activation", json=claim | {"peer": peer}, timeout=ACTIVATION_TIMEOUT_S)

    async def activation_progress(self) -> httpx.Response:
        """How far an activation has come."""
        return await self._ask("GET", "/activation/progress")

    async def site(self, method: str, path: str, asked: dict[str, Any]) -> httpx.Response:
        """Network, proxy and time servers; the agent checks who asks, and what for."""
        return await self._ask(method, path, json=asked, timeout=FILE_TIMEOUT_S)

    async def acknowledge(self, claim: dict[str, str], peer: str) -> httpx.Response:
        """Have the agent erase the secrets, which the customer has."""
        return await self._change("POST", "/activation/acknowledgement", json=claim | {"peer": peer})

    async def activation_request(self, claim: dict[str, str], peer: str) -> httpx.Response:
        """Have the agent make the first file of an activation by file."""
        return await self._ask("POST", "/activation/file/request", json=claim | {"peer": peer}, timeout=FILE_TIMEOUT_S)

    async def activation_proof(self, claim: dict[str, str], peer: str) -> httpx.Response:
        """Have the agent make the second file, for the reply to the first."""
        return await self._ask("POST", "/activation/file/proof", json=claim | {"peer": peer}, timeout=FILE_TIMEOUT_S)

    async def activation_reply(self, claim: dict[str, str], peer: str) -> httpx.Response:
        """Pass the reply to the second file on; the answer holds the customer's secrets."""
        asked = claim | {"peer": peer}
        return await self._change("POST", "/activation/file/reply", json=asked, timeout=FILE_TIMEOUT_S)

    async def renewal_request(self, admin_key: str) -> httpx.Response:
        """Have the agent make a renewal request; it checks the administrator's key itself."""
        return await self._ask("POST", "/renewal/request", json={"admin_key": admin_key}, timeout=FILE_TIMEOUT_S)

    async def renewal_reply(self, admin_key: str, reply: str) -> httpx.Response:
        """Pass the reply to a renewal request on."""
        asked = {"admin_key": admin_key, "reply": reply}
        return await self._change("POST", "/renewal/reply", json=asked, timeout=FILE_TIMEOUT_S)

    async def evidence(self, nonce: str, peer: str) -> httpx.Response:
        """Have the box's TPM answer a nonce (policies/spec/box-evidence.md)."""
        return await self._ask("POST", "/evidence", json={"nonce": nonce, "peer": peer}, timeout=FILE_TIMEOUT_S)

    async def approvals(self, peer: str) -> httpx.Response:
        """Releases that the customer has approved."""
        return await self._ask("GET", "/approvals", params={"peer": peer})

    async def approve(self, approvals: dict[str, Any], peer: str) -> httpx.Response:
        """Bring approvals, which the agent checks itself."""
        return await self._ask("POST", "/approvals", json=approvals, params={"peer": peer})

    async def withdraw(self, order: dict[str, Any], peer: str) -> httpx.Response:
        """Take an approval back, by an order that the agent checks itself."""
        return await self._ask("POST", "/withdrawals", json=order, params={"peer": peer})

    async def wipe(self, order: dict[str, Any], peer: str) -> httpx.Response:
        """Bring the customer's order to destroy their data, which the agent checks itself."""
        return await self._ask("POST", "/wipe", json=order, params={"peer": peer}, timeout=FILE_TIMEOUT_S)

    async def create_key(self, asked: dict[str, Any], admin_key: str) -> httpx.Response:
        """Have the agent draw a key; it checks the administrator's itself."""
        return await self._change("POST", "/api-keys", json=asked | {"admin_key": admin_key})

    async def revoke_key(self, name: str, admin_key: str) -> httpx.Response:
        """Have the agent forget a key; when this returns, no further request is let in with it."""
        return await self._change("DELETE", "/api-keys", json={"name": name, "admin_key": admin_key})

    async def report_usage(self, batch: dict[str, Any]) -> None:
        """Hand a batch of counts to the agent (:mod:`.meter`).

        Raises:
            ApiError: it has not got it.
        """
        reply = await self._ask("POST", "/metering", json=batch)
        if not reply.is_success:
            raise ApiError(503, "metering_unavailable", "The agent does not take counts now.")

    async def metering(self) -> httpx.Response:
        """What the vendor will be told next."""
        return await self._ask("GET", "/metering")

    async def usage_days(self) -> httpx.Response:
        """What was used on each day."""
        return await self._ask("GET", "/metering/days")

    async def choose_metering(self, admin_key: str, *, names: bool) -> httpx.Response:
        """Have the agent report names of keys, or pseudonyms; it checks the administrator's key itself."""
        return await self._ask("PUT", "/metering/settings", json={"names": names, "admin_key": admin_key})

    async def order_report(self, admin_key: str) -> httpx.Response:
        """Have the agent report soon; it checks the administrator's key itself."""
        return await self._ask("POST", "/metering/report", json={"admin_key": admin_key})

    async def allowance(self, lacking: Lacking) -> Allowance:
        """Have the agent hand out tokens of the budgets.

        Raises:
            ApiError: 503, it cannot.
        """
        reply = await self._ask("POST", "/outflow/allowance", json=dataclasses.asdict(lacking))
        if not reply.is_success:
            raise budgets_unreadable()
        return Allowance(**reply.json())

    async def key_states(self) -> KnownKeys:
        """What is known of the requests of each key.

        Raises:
            ApiError: 503, the agent cannot read it.
        """
        states = (await self._look()).states
        if states is None:
            raise budgets_unreadable()
        return states

    async def report_counted(self, counted: Sequence[KeyState]) -> None:
        """Have the agent keep what was counted of keys.

        Raises:
            ApiError: it has not.
        """
        reply = await self._ask("POST", "/outflow/keys", content=document_bytes(KeyStates(states=tuple(counted))))
        if not reply.is_success:
            raise budgets_unreadable()

    async def outflow(self) -> httpx.Response:
        """What is used of the budgets, and whose requests look like copying."""
        return await self._ask("GET", "/outflow")

    async def clear_key(self, key: str, admin_key: str) -> httpx.Response:
        """Have the agent begin anew with a key; it checks the administrator's itself."""
        return await self._change("POST", "/outflow/clear", json={"key": key, "admin_key": admin_key})

    async def support(self, admin_key: str, peer: str) -> httpx.Response:
        """The agent's part of a support bundle; it checks the administrator's key itself."""
        return await self._ask("POST", "/support", json={"admin_key": admin_key, "peer": peer}, timeout=FILE_TIMEOUT_S)

    async def conversation(self, method: str, path: str = "", **asked: Any) -> dict[str, Any]:
        """Have the agent keep, show or remove conversations, which are sealed.

        Raises:
            ApiError: it does not, and why.
        """
        reply = await self._ask(method, f"/conversations{path}", json=asked)
        if reply.is_success:
            told: dict[str, Any] = reply.json()
            return told
        if reply.headers.get("content-type") != PROBLEM_TYPE:  # no such route: the box is not activated
            raise ApiError(503, "conversations_unavailable", "The box keeps no conversations now.")
        problem = reply.json()
        raise ApiError(reply.status_code, problem["code"], problem["detail"])

    async def running_engines(self) -> frozenset[str]:
        """Models whose engines run.

        Raises:
            ApiError: 503, the agent does not know.
        """
        reply = await self._ask("GET", "/engines")
        if not reply.is_success:
            raise engine_unavailable()
        return frozenset(reply.json()["running"])

    async def load_engine(self, model: str) -> None:
        """Have an engine started; returns when it answers.

        Raises:
            ApiError: 503, with the box's reason.
        """
        await self._engine("/engines/start", model, LOADING_TIMEOUT_S)

    async def unload_engine(self, model: str) -> None:
        """Have an engine stopped; returns when its memory is free.

        Raises:
            ApiError: 503, with the box's reason.
        """
        await self._engine("/engines/stop", model, STOPPING_TIMEOUT_S)

    async def _engine(self, path: str, model: str, timeout_s: float) -> None:
        reply = await self._ask("POST", path, json={"payload_id": model}, timeout=timeout_s)
        if not reply.is_success:
            problem = reply.json()
            if problem["code"] == ENGINE_DIED:
                raise engine_unavailable()
            raise model_not_loaded(problem["code"], problem["detail"])

    async def flow(self, method: str, path: str, **options: Any) -> httpx.Response:
        """What belongs to flows between boxes (policies/spec/domain-flow.md); the agent judges all of it."""
        return await self._ask(method, path, timeout=FILE_TIMEOUT_S, **options)

    async def close(self) -> None:
        """Close the connection to the agent."""
        await self._client.aclose()

    async def _look(self) -> _Seen:
        now = time.monotonic()
        if self._seen is None or self._seen.at <= max(now - REMEMBER_S, self._changed_at):
            status = (await self._ask("GET", "/status")).json()
            reply = await self._ask("GET", "/api-keys")
            keys = tuple(ApiKey(**key) for key in reply.json()["keys"]) if reply.is_success else None
            reply = await self._ask("GET", "/outflow/keys")
            states = _known(KeyStates.model_validate_json(reply.content), now) if reply.is_success else None
            self._seen = _Seen(now, status, keys, states)
        return self._seen

    async def _change(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask for what makes older answers untrue, also those that are still on their way."""
        try:
            return await self._ask(method, path, **options)
        finally:
            self._changed_at = time.monotonic()

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._client.request(method, path, **options)
        except httpx.HTTPError:
            raise ApiError(
                503, "agent_unavailable", "The box is starting; try again shortly.", retry_after_s=2
            ) from None


def _known(told: KeyStates, now: float) -> KnownKeys:
    return KnownKeys({(one.model, one.key): one for one in told.states}, told.at_s - now)
