"""Boot logs of a device's last accepted evidence, for a request without logs (policies/spec/air-gap.md, 4), and of its
last denied evidence, for whoever has to judge it."""

from __future__ import annotations

import zlib

from sealwright_licensing.records import AppraisedLogs, Decision, DeniedLogs, Device
from sealwright_licensing.store import Transaction
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.wire.encoding import KIB
from sealwright_policies.wire.messages import Evidence

MOST_KEPT = 256 * KIB
"""Bytes, compressed, of both logs of a device; some 20 KiB are usual."""
LOG_LIMIT = KIB * KIB
"""Bytes of one log, as a message carries it."""


def keep_logs(transaction: Transaction, device_id: str, evidence: Evidence, digest: bytes, *, before: bytes) -> None:
    """Keep the logs of accepted evidence, unless those of ``before`` are the same.

    Args:
        digest: of these logs.
        before: of the logs that were accepted last, empty if there were none.
    """
    if digest == before:
        return
    logs = _deflated(evidence)
    if logs is None:
        transaction.delete(AppraisedLogs, device_id=device_id)
    else:
        transaction.put(AppraisedLogs(device_id, digest, *logs))


def kept_logs(transaction: Transaction, device_id: str, digest: bytes) -> tuple[bytes, bytes]:
    """Firmware's and systemd's log of this digest.

    Raises:
        VerificationError: DEVICE_UNKNOWN, or LOGS_REQUIRED where the device's last logs were others.
    """
    if transaction.get(Device, device_id) is None:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, "the device is not enrolled")
    kept = transaction.get(AppraisedLogs, device_id)
    if kept is None or kept.digest != digest:
        raise VerificationError(
            RejectionCode.LOGS_REQUIRED,
            "the box's boot log is not the one that was accepted last, and a QR code does not hold it: "
            "send the request file of the same box",
        )
    return _inflated(kept.boot_log), _inflated(kept.userspace_log)


def keep_denied_logs(transaction: Transaction, device_id: str, decision_id: str, evidence: Evidence) -> None:
    """Keep the logs of evidence that a decision denies; those of the denial before are dropped."""
    logs = _deflated(evidence)
    if logs is None:
        transaction.delete(DeniedLogs, device_id=device_id)
    else:
        transaction.put(DeniedLogs(device_id, decision_id, *logs))


def denied_logs(transaction: Transaction, decision: Decision) -> tuple[bytes, bytes] | None:
    """Firmware's and systemd's log that a denial was about, as long as they are kept."""
    kept = transaction.get(DeniedLogs, decision.device_id)
    if kept is None or kept.decision_id != decision.decision_id:
        return None
    return _inflated(kept.boot_log), _inflated(kept.userspace_log)


def _deflated(evidence: Evidence) -> tuple[bytes, bytes] | None:
    """Both logs; None if that is too much to keep."""
    boot_log, userspace_log = zlib.compress(evidence.boot_log), zlib.compress(evidence.userspace_log)
    return (boot_log, userspace_log) if len(boot_log) + len(userspace_log) <= MOST_KEPT else None


def _inflated(compressed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        log = inflater.decompress(compressed, LOG_LIMIT)
    except zlib.error as error:
        raise OperationError("A stored boot log is damaged.", cure="Have the box send the request file.") from error
    if not inflater.eof:
        raise OperationError("A stored boot log is too long.", cure="Have the box send the request file.")
    return log
