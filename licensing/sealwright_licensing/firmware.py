"""Firmware of a device as it is pinned and as it was last shown (policies/spec/licence.md, 9)."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sealwright_licensing.baselines import pcrs_json
from sealwright_licensing.records import Device, DeviceFirmware
from sealwright_licensing.store import Transaction
from sealwright_policies.appraisal.clock import PINNED_PCRS
from sealwright_policies.appraisal.result import AttestationResult
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.event_text import describe_event
from sealwright_policies.tcg.eventlog import Event, parse_event_log

MOST_EVENTS, MOST_TEXT = 512, 200
"""Events of PCR 0, 2 and 3 that are kept, and characters of each."""


def firmware_digest(pcrs: Mapping[str, str]) -> str:
    """What an approval names: SHA-256 of PCR 0 ‖ 2 ‖ 3, hex."""
    return hashlib.sha256(b"".join(bytes.fromhex(pcrs[str(pcr)]) for pcr in PINNED_PCRS)).hexdigest()


def firmware_events(boot_log: bytes) -> str:
    """Events of PCR 0, 2 and 3 of a log that gives the quoted values, a line each, as JSON.

    The digest is what was measured; what an event says of itself is the machine's word alone.
    """
    listed = [event for event in parse_event_log(boot_log).events if event.pcr in PINNED_PCRS and event.extends]
    return json.dumps([_line(event) for event in listed[:MOST_EVENTS]], separators=(",", ":"))


def keep_shown_firmware(
    transaction: Transaction, device: Device, result: AttestationResult, boot_log: bytes, *, now: int
) -> None:
    """Keep what an evidence shows that is denied for its firmware alone, in the place of what was shown before.

    Whatever else is wrong with it, its log would be nothing to go by.
    """
    if set(result.codes) != {RejectionCode.FIRMWARE_CHANGED}:
        return
    known = transaction.get(DeviceFirmware, device.device_id) or DeviceFirmware(device.device_id, "[]")
    shown = pcrs_json({pcr: result.pcrs[pcr] for pcr in PINNED_PCRS})
    transaction.put(replace(known, shown_pcrs=shown, shown_events=firmware_events(boot_log), shown_at=now))


def pin_shown_firmware(transaction: Transaction, device: Device) -> None:
    """Take the events of firmware that is pinned now for those of the pin."""
    known = transaction.get(DeviceFirmware, device.device_id)
    if known is not None:
        events = known.shown_events if known.shown_pcrs == device.pinned_pcrs else "[]"
        transaction.put(DeviceFirmware(device.device_id, events))


def event_difference(firmware: DeviceFirmware) -> list[str]:
    """What the shown firmware measures that the pinned one does not ("+"), and the other way round ("-")."""
    pinned, shown = json.loads(firmware.pinned_events), json.loads(firmware.shown_events)
    if not pinned:
        return ["The events behind the pinned values were not kept, so there is nothing to compare."]
    return list(_changes(pinned, shown))


def _changes(before: list[str], after: list[str]) -> Iterable[str]:
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, first, last, start, end in matcher.get_opcodes():
        if kind != "equal":
            yield from (f"- {line}" for line in before[first:last])
            yield from (f"+ {line}" for line in after[start:end])


def _line(event: Event) -> str:
    digest = event.digests.get(AlgorithmId.SHA256, b"").hex()
    said = json.dumps(describe_event(event), separators=(",", ":"))
    return f"PCR {event.pcr} {event.type_name} {digest} {said}"[:MOST_TEXT]
