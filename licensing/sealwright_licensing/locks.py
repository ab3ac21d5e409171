"""What a write transaction names, and what each name covers (ARCHITECTURE.md, Storage).

A name is a lock: of two transactions with a name in common one waits for the other. Kinds of records that stand in no
table here change only in a transaction without names, which is alone; so every other may read them. The store refuses
what a transaction's names do not cover, whatever the database, so that a test on SQLite finds a forgotten name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from sealwright_licensing.flow_records import ReportedFlow
from sealwright_licensing.metering_records import MeteringAlarm, MeteringChain, MeteringReceipt, MeteringUsage
from sealwright_licensing.operators.records import ApiToken, ApiTokenUse, OperatorSession
from sealwright_licensing.records import (
    ActivationCodeRecord,
    AppraisedLogs,
    ClockSighting,
    Decision,
    DeniedLogs,
    Device,
    DeviceCertificateRecord,
    DeviceFirmware,
    DeviceRelease,
    EnrollmentReply,
    LeaseRecord,
    LogCheckpoint,
    LogEntryRecord,
    LogNode,
    LogQueueItem,
    NextNonce,
    PendingEnrollment,
    RenewalReply,
    ServiceTime,
    SpentNonce,
    TickLedger,
)

EXPIRY = "expiry"
"""Of the one transaction at a time that removes what has run out."""

LOG = "log"
"""Of the one transaction at a time that gives entries of the log their numbers."""


class UnnamedError(RuntimeError):
    """A transaction touches what its names do not cover: a mistake in the program."""


def device_name(device_id: str) -> str:
    """A device: its record, state, leases, replies, journal, metering and flows."""
    return f"device:{device_id}"


def seats_name(license_id: str) -> str:
    """Which devices are enrolled under a licence, and what it has charged them."""
    return f"seats:{license_id}"


def code_name(code_hash: str) -> str:
    """An activation code and the enrolments that it has open."""
    return f"code:{code_hash}"


def time_name(name: str) -> str:
    """The latest time that was seen."""
    return f"time:{name}"


def tpm_name(public_area: bytes) -> str:
    """Which devices have a key, by its public area."""
    return f"tpm:{hashlib.sha256(public_area).hexdigest()}"


def token_name(token_id: str) -> str:
    """An API token's record."""
    return f"token:{token_id}"


def session_name(session_hash: str) -> str:
    """An operator's session."""
    return f"session:{session_hash}"


_Names = Mapping[str, Callable[[Any], str]]
_OF_DEVICE: _Names = {"device_id": device_name}
_OF_CODE: _Names = {"code_hash": code_name}

WRITTEN: dict[type[Any], _Names] = {
    Device: _OF_DEVICE,
    DeviceRelease: _OF_DEVICE,
    AppraisedLogs: _OF_DEVICE,
    DeniedLogs: _OF_DEVICE,
    RenewalReply: _OF_DEVICE,
    NextNonce: _OF_DEVICE,
    LeaseRecord: _OF_DEVICE,
    DeviceCertificateRecord: _OF_DEVICE,
    Decision: _OF_DEVICE,
    EnrollmentReply: _OF_DEVICE,
    DeviceFirmware: _OF_DEVICE,
    ClockSighting: _OF_DEVICE,
    MeteringChain: _OF_DEVICE,
    MeteringReceipt: _OF_DEVICE,
    MeteringUsage: _OF_DEVICE,
    MeteringAlarm: _OF_DEVICE,
    ReportedFlow: _OF_DEVICE,
    ActivationCodeRecord: _OF_CODE,
    PendingEnrollment: _OF_CODE,
    TickLedger: {"license_id": seats_name},
    ServiceTime: {"name": time_name},
    ApiToken: {"token_id": token_name},
    ApiTokenUse: {"token_id": token_name},
    OperatorSession: {"session_hash": session_name},
    LogEntryRecord: {"entry_index": lambda _: LOG},
    LogNode: {"level": lambda _: LOG},
    LogCheckpoint: {"size": lambda _: LOG},
}
"""The fields of a kind that make the names under which it is written. All of them must be held."""

ENROLLED: _Names = {"license_id": seats_name, "ak_public": tpm_name, "srk_public": tpm_name}
"""Names besides for a new device, which takes a seat and may be a TPM that another device is."""

_APPENDED = (LogEntryRecord, LogNode, LogCheckpoint)
"""What is in the log stays as it is, so every transaction may read it."""

READ: dict[type[Any], _Names] = {
    **{kind: names for kind, names in WRITTEN.items() if kind not in _APPENDED},
    Device: {**_OF_DEVICE, **ENROLLED},
}
"""The fields of a kind that make names under which it is read. One of them must be held."""

ANYWHERE = (SpentNonce, LogQueueItem)
"""Covered by any name: a nonce is good for one device, whose name the transaction has that spends it, and an entry that
waits for its number is read by the sequencer alone."""


def require_written(names: frozenset[str], kind: type[Any], fields: Mapping[str, Any]) -> None:
    """Refuse to write records with these fields, unless the names cover it. No names: the transaction is alone."""
    if not names or kind in ANYWHERE:
        return
    wanted = WRITTEN.get(kind)
    if wanted is None:
        raise UnnamedError(f"{kind.__name__} is written by a transaction without names only.")
    if kind is Device and fields.get("revision") == 0:
        wanted = {**wanted, **ENROLLED}
    for field, name in wanted.items():
        if field not in fields or name(fields[field]) not in names:
            raise UnnamedError(f"{kind.__name__} is written, and no name of the transaction is that of its {field}.")


def require_read(names: frozenset[str], kind: type[Any], fields: Mapping[str, Any]) -> None:
    """Refuse to read records with these fields, unless the names cover it."""
    wanted = READ.get(kind)
    if not names or wanted is None:
        return
    if not any(field in fields and name(fields[field]) in names for field, name in wanted.items()):
        raise UnnamedError(
            f"{kind.__name__} is read, and no name of the transaction is that of its {', '.join(wanted)}."
        )


def require_expiry(names: frozenset[str]) -> None:
    """Refuse to remove what has run out in a transaction that may wait for another one afterwards."""
    if names != {EXPIRY}:
        raise UnnamedError("What has run out is removed in a transaction of its own.")


def lock_key(name: str) -> int:
    """A name as a database's lock: 64 bits with sign. Two names that meet in one key wait without need, no more."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
