"""What the customer orders by their own key: approvals of releases, their withdrawal, and the end of their data.

Orders (policies/spec/binding.md) are signed by the customer key, which the box does not have, so whoever brings them
needs no other right, and a box that is locked for want of one can take it. The TPM judges approvals once more, at the
boot that they are for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import FastAPI, Query
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse

from sealwright_appliance.attempt_limiter import AttemptLimiter, Rate
from sealwright_appliance.binding import StateBinding, load_binding, store_and_forget, store_binding
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.customer_wipe import clear_tpm
from sealwright_appliance.paths import Paths
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tpm_device import open_tpm
from sealwright_policies.errors import OperationError, SealwrightError, VerificationError
from sealwright_policies.wire.encoding import Document, Sha256Hex
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.state_approval import (
    MOST_APPROVALS,
    StateApproval,
    StateApprovals,
    verify_state_approvals,
)
from sealwright_policies.wire.wipe_order import WipeOrder, verify_wipe_order, volume_id
from sealwright_policies.wire.withdrawal import MOST_WITHDRAWALS, Withdrawal, verify_withdrawal

EACH = Rate(at_once=10, every_s=6.0)
ALL = Rate(at_once=100, every_s=0.5)
"""Each reads the disk and may verify sixteen signatures, by the agent, which has leases to keep."""

PeerAddress = Annotated[str, Query(max_length=64)]


class OrderError(SealwrightError):
    """Something that this box does not take."""

    exit_code = 10

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


class ApprovedReleases(Document):
    """``GET /approvals``: releases that the customer has approved, the last approved one last."""

    releases: list[Sha256Hex]
    volume_id: Sha256Hex
    """Of the state volume that they are for."""


class ApprovalOutcome(ApprovedReleases):
    """``POST /approvals``."""

    added: int
    """Boot states that were not approved before."""
    restarts: bool
    """The box is locked, perhaps for want of this, and restarts now."""


@dataclass(frozen=True, slots=True)
class CustomerOrders:
    """Reads and completes the binding record of a running box; nobody else writes it."""

    paths: Paths
    board: StatusBoard
    restart: Callable[[], None]
    tpm_lock: threading.Lock
    limiter: AttemptLimiter = field(default_factory=lambda: AttemptLimiter(each=EACH, everybody=ALL))
    steady: Callable[[], float] = time.monotonic
    _one: threading.Lock = field(default_factory=threading.Lock)

    def admit(self, peer: str) -> None:
        """Let a peer ask, by its address as the gateway saw it.

        Raises:
            OrderError: it has asked too often.
        """
        if not self.limiter.admit(peer, self.steady()):
            raise OrderError(429, "RATE_LIMITED", "The box was asked this too often; ask again in a minute.")

    def known(self) -> ApprovedReleases:
        """What is approved.

        Raises:
            OperationError: the disk refuses, or there is no record.
        """
        bound = self._load()
        return ApprovedReleases(releases=_releases(bound.approvals), volume_id=volume_id(bound.public, bound.private))

    def add(self, brought: StateApprovals) -> ApprovalOutcome:
        """Take up approvals of one release.

        Raises:
            OrderError: they are not by the customer key of this box, or of a withdrawn release.
            FormatError: over other PCRs, or of several releases.
            OperationError: the disk refuses, or there is no record.
        """
        release = brought.approvals[0].release_id
        with self._one:
            bound = self._load()
            key = load_p256_public_key(bound.customer_key)
            with _refusing():
                verify_state_approvals(brought, key)
            if release in [one.release_id for one in bound.withdrawals]:
                raise OrderError(409, "APPROVAL_WITHDRAWN", "The customer has withdrawn the approval of this release.")
            merged = merged_approvals(bound.approvals, brought.approvals, keep=self._running())
            added = len([one for one in merged if one not in bound.approvals])
            if added:
                store_binding(self.paths.agents_binding, bound.model_copy(update={"approvals": merged}))
        helps = self._locked() and release == self._running()
        return ApprovalOutcome(
            releases=_releases(merged), volume_id=volume_id(bound.public, bound.private), added=added, restarts=helps
        )

    def withdraw(self, order: Withdrawal) -> ApprovedReleases:
        """Take back what was approved of a release, for good.

        Raises:
            OrderError: it is not by the customer key of this box, or of the running release, or that one is itself not
                approved; or there are too many.
            OperationError: the disk refuses, or there is no record.
        """
        with self._one:
            bound = self._load()
            with _refusing():
                verify_withdrawal(
                    order, volume_id(bound.public, bound.private), load_p256_public_key(bound.customer_key)
                )
            if order.release_id == self._running():
                raise OrderError(409, "RELEASE_RUNS", "This release runs; approve and start another one first.")
            left = withdrawn(bound, order)
            if self._running() not in _releases(left.approvals):
                raise OrderError(
                    409,
                    "RUNNING_NOT_APPROVED",
                    "The release that runs is not approved; approve it or start another first.",
                )
            store_and_forget(self.paths.agents_binding, left)
        self.board.say(f"approval of release {order.release_id[:16]} withdrawn by the customer")
        return ApprovedReleases(releases=_releases(left.approvals), volume_id=volume_id(bound.public, bound.private))

    def order_wipe(self, order: WipeOrder) -> None:
        """Keep an order, and clear the TPM: from here on the data are lost. The restart that follows does the rest.

        Raises:
            OrderError: it is not by the customer key of this box, or of another volume; or the TPM refuses.
            OperationError: the disk refuses, or there is no record.
        """
        with self._one:
            bound = self._load()
            with _refusing():
                verify_wipe_order(
                    order, volume_id(bound.public, bound.private), load_p256_public_key(bound.customer_key)
                )
            store_binding(self.paths.agents_binding, bound.model_copy(update={"wipe_order": order}))
        self.board.say("wipe: the customer has ordered it; the box restarts and destroys what it keeps")
        try:
            with self.tpm_lock, open_tpm(self.paths.tcti) as tpm:
                clear_tpm(tpm, bound)
        except OperationError as error:
            raise OrderError(409, "TPM_NOT_CLEARED", str(error)) from None

    def _running(self) -> str | None:
        release = self.board.status.release
        return None if release is None else release.release_id

    def _locked(self) -> bool:
        status = self.board.status
        return status.state is BoxState.LOCKED and status.code == BoxCode.STATE_VOLUME

    def _load(self) -> StateBinding:
        bound = load_binding(self.paths.agents_binding)
        if bound is None:
            raise OperationError("The box has no binding record.", cure="Install it anew.")
        return bound


def withdrawn(bound: StateBinding, order: Withdrawal) -> StateBinding:
    """The record without approvals of a release, which remembers that they were withdrawn.

    Raises:
        OrderError: it remembers as many as it can.
    """
    known = [one for one in bound.withdrawals if one.release_id != order.release_id]
    if len(known) >= MOST_WITHDRAWALS:
        raise OrderError(409, "TOO_MANY_WITHDRAWALS", f"A box remembers {MOST_WITHDRAWALS} withdrawals at most.")
    kept = [one for one in bound.approvals if one.release_id != order.release_id]
    return bound.model_copy(update={"approvals": kept, "withdrawals": [*known, order]})


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except VerificationError as error:
        raise OrderError(403, error.code, str(error).removeprefix(f"{error.code}: ")) from error


def merged_approvals(
    held: Sequence[StateApproval], brought: Sequence[StateApproval], *, keep: str | None
) -> list[StateApproval]:
    """The held and the brought ones, which come last; where that is too many, without the release approved longest ago.

    Args:
        keep: the running release, which is never left out.

    Raises:
        OrderError: the two alone are too many.
    """
    states = {(one.release_id, tuple(sorted(one.pcrs.items()))) for one in held}
    fresh = [one for one in brought if (one.release_id, tuple(sorted(one.pcrs.items()))) not in states]
    merged = [*held, *fresh]
    while len(merged) > MOST_APPROVALS:
        oldest = next((one for one in _releases(merged) if one not in (keep, brought[0].release_id)), None)
        if oldest is None:
            raise OrderError(409, "TOO_MANY_APPROVALS", f"A box keeps {MOST_APPROVALS} approved boot states at most.")
        merged = [one for one in merged if one.release_id != oldest]
    return merged


def _releases(approvals: Sequence[StateApproval]) -> list[str]:
    return list(dict.fromkeys(one.release_id for one in approvals))


def add_customer_orders(app: FastAPI, orders: CustomerOrders) -> None:
    """Add the routes."""

    @app.get("/approvals")
    async def known(peer: PeerAddress) -> ApprovedReleases:
        orders.admit(peer)
        return await run_in_threadpool(orders.known)

    @app.post("/approvals")
    async def add(brought: StateApprovals, peer: PeerAddress) -> JSONResponse:
        orders.admit(peer)
        outcome = await run_in_threadpool(orders.add, brought)
        restart = BackgroundTask(orders.restart) if outcome.restarts else None
        return JSONResponse(outcome.model_dump(mode="json"), background=restart)

    @app.post("/withdrawals")
    async def withdraw(order: Withdrawal, peer: PeerAddress) -> ApprovedReleases:
        orders.admit(peer)
        return await run_in_threadpool(orders.withdraw, order)

    @app.post("/wipe")
    async def wipe(order: WipeOrder, peer: PeerAddress) -> JSONResponse:
        orders.admit(peer)
        await run_in_threadpool(orders.order_wipe, order)
        return JSONResponse({"restarts": True}, background=BackgroundTask(orders.restart))
