"""A granted renewal, and how it is stored."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sealwright_licensing import journal
from sealwright_licensing.appraised_logs import keep_logs
from sealwright_licensing.baselines import pcrs_json
from sealwright_licensing.firmware import pin_shown_firmware
from sealwright_licensing.grants import PreparedGrant
from sealwright_licensing.records import (
    Device,
    DeviceRelease,
    EnrollmentReply,
    NextNonce,
    RenewalReply,
    SpentNonce,
)
from sealwright_licensing.renewal_basis import Held, given_release
from sealwright_licensing.store import Transaction
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.wire.messages import Purpose, RenewalRequest

MOST_OPEN_REPLIES = 16
"""Stored replies for one N; a box that asks more often without counting on gets no repetition of the older ones."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A granted renewal, not yet stored."""

    result: AttestationResult
    proved: Device
    """The device as the evidence shows it."""
    prepared: PreparedGrant
    nonce_expires_at: int | None
    """Of a stateless nonce; None for a lease's next_nonce."""


def store_renewal(transaction: Transaction, request: RenewalRequest, held: Held, verdict: Verdict, *, now: int) -> None:
    """Commit a verdict: what N has proved, and the reply that is repeated until N + 1 is."""
    device, prepared = verdict.proved, verdict.prepared
    proved = device.lease_number
    for release_id in held.untrusted:
        transaction.delete(DeviceRelease, device_id=device.device_id, release_id=release_id)
        transaction.delete(EnrollmentReply, device_id=device.device_id)
        transaction.delete(RenewalReply, device_id=device.device_id)
    for kind in (RenewalReply, NextNonce):  # N is proved: what was kept for lower numbers is spent
        transaction.delete_below(kind, "lease_number", proved, device_id=device.device_id)
    if sum(number >= proved for number in held.open_replies) >= MOST_OPEN_REPLIES:
        transaction.delete(RenewalReply, device_id=device.device_id)
        transaction.delete(NextNonce, device_id=device.device_id, lease_number=proved + 1)
    if verdict.nonce_expires_at is not None:
        transaction.add(SpentNonce(request.nonce, verdict.nonce_expires_at))
    transaction.add(RenewalReply(device.device_id, proved, request.nonce, prepared.reply))
    prepared.store(transaction)
    logs = verdict.result.boot_logs_digest
    keep_logs(transaction, device.device_id, request.evidence, logs, before=held.device.boot_logs_digest)
    unseal = pcrs_json(verdict.result.unseal_pcrs)
    transaction.put(replace(given_release(held, proved), unseal_pcrs=unseal, seen_at=now))
    if device.pinned_pcrs != held.device.pinned_pcrs:
        pin_shown_firmware(transaction, device)
    journal.record_decision(
        transaction,
        device_id=device.device_id,
        license_id=device.license_id,
        purpose=Purpose.RENEW,
        denial=None,
        result=verdict.result,
        now=now,
        revision=device.revision,
    )
