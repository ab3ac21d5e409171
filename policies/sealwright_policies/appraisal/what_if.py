"""What the appraisal would say about a machine, from its event log alone (policies/spec/appraisal.md, 'What if').

For use before a purchase or a firmware update: there is no quote, so nothing is proven, and the log is usually that of
another operating system. What that system measured (its boot loader, kernel, command line) is not judged; what the
firmware measured is. What the owner sets up anyway, Secure Boot and its keys, is told apart from what no set-up cures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sealwright_policies.appraisal.appraise import firmware_version, judge_boot_log
from sealwright_policies.appraisal.events import (
    SHA256,
    EventsByPcr,
    events_by_pcr,
    judge_bank,
    judge_firmware_events,
    judge_separators,
    sha256_digests,
)
from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.appraisal.reference_values import Measurements
from sealwright_policies.appraisal.secure_boot import judge_enrolled_keys, split_at_separator
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.tcg.eventlog import Event, EventLog, EventType
from sealwright_policies.tcg.events import parse_image_load

OTHER_SYSTEM_PCRS = (4, 8, 9, 10, 11, 12, 13, 14, 15)
"""PCRs of a log of another system that are not judged; PCR 4 from its first boot application on."""
_LOADER_TYPES = frozenset({EventType.EV_IPL, EventType.EV_EVENT_TAG})
"""What boot loaders, never firmware, measure into PCR 5: loader.conf, partition tables."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that denies, and what can be done about it."""

    mismatch: Mismatch
    remedy: str
    by_setup: bool
    """Whether the owner's set-up (enrolling the release's keys, Secure Boot on) cures it."""


@dataclass(frozen=True, slots=True)
class OptionRom:
    """An image that firmware loaded from a device."""

    event_index: int
    device_path: str


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would be denied, and what cannot be told from this log."""

    made_by_release: bool
    """Whether the log is of a boot of this release's UKI; then everything is judged."""
    firmware_version: str
    bank_complete: bool
    findings: tuple[Finding, ...]
    option_roms: tuple[OptionRom, ...]
    not_judged: tuple[int, ...]

    @property
    def accepted(self) -> bool:
        """As the machine stands."""
        return not self.findings

    @property
    def accepted_after_setup(self) -> bool:
        """Once its owner has enrolled the release's keys and booted its image."""
        return all(finding.by_setup for finding in self.findings)


def what_if(log: EventLog, measurements: Measurements) -> WhatIf:
    """Judge a machine by its event log."""
    events = events_by_pcr(log)
    made_by_release = _made_by(events, measurements)
    bank = judge_bank(log, events)
    if made_by_release:
        mismatches, _ = judge_boot_log(log, events, measurements)
    else:
        mismatches = [*bank, *_judge_firmware(events, measurements)]
    return WhatIf(
        made_by_release=made_by_release,
        firmware_version=firmware_version(events),
        bank_complete=not bank,
        findings=tuple(_finding(mismatch, events) for mismatch in mismatches),
        option_roms=tuple(_option_roms(events)),
        not_judged=() if made_by_release else OTHER_SYSTEM_PCRS,
    )


def _made_by(events: EventsByPcr, measurements: Measurements) -> bool:
    """Whether the release's own boot application was started."""
    return measurements.uki_digest in sha256_digests(events.get(4, ()))


def _judge_firmware(events: EventsByPcr, measurements: Measurements) -> list[Mismatch]:
    firmware = {
        pcr: [event for event in found if not (pcr == 5 and event.type in _LOADER_TYPES)]
        for pcr, found in events.items()
    }
    keys_measured, _ = split_at_separator(firmware.get(7, ()))
    return [
        *judge_separators(firmware),
        *judge_firmware_events(firmware),
        *judge_enrolled_keys(keys_measured, measurements.secure_boot),
        *_judge_way_to_loader(firmware.get(4, ()), measurements),
    ]


def _judge_way_to_loader(in_pcr4: Sequence[Event], measurements: Measurements) -> list[Mismatch]:
    """How this firmware fills PCR 4 up to the first boot application must be a way that the release lists."""
    application = EventType.EV_EFI_BOOT_SERVICES_APPLICATION
    first = next((index for index, event in enumerate(in_pcr4) if event.type is application), len(in_pcr4))
    way = in_pcr4[:first]
    ways = measurements.ways_to_uki
    if any(SHA256 not in event.digests for event in way) or tuple(sha256_digests(way)) in ways:
        return []
    shown = ", ".join(event.type_name for event in way) or "nothing"
    return [
        Mismatch(
            RejectionCode.BOOT_APPLICATION,
            f"Before the boot loader this firmware measures {shown} into PCR 4; the release lists no such way.",
            "boot",
            way[0].index if way else None,
            4,
            " or ".join(ways.values()),
        )
    ]


def _option_roms(events: EventsByPcr) -> list[OptionRom]:
    found = []
    for event in events.get(2, ()):
        if event.type in (EventType.EV_EFI_BOOT_SERVICES_DRIVER, EventType.EV_EFI_RUNTIME_SERVICES_DRIVER):
            try:
                path = parse_image_load(event.data).device_path_text
            except FormatError:
                path = ""
            found.append(OptionRom(event.index, path))
    return found


def _finding(mismatch: Mismatch, events: EventsByPcr) -> Finding:
    match mismatch.code:
        case RejectionCode.SECURE_BOOT_DISABLED:
            return Finding(mismatch, "Switch Secure Boot on in the firmware's set-up.", True)
        case RejectionCode.SECURE_BOOT_KEYS if _is_early_authority(mismatch, events):
            remedy = "With the release's keys alone this code no longer runs: remove the device or do without it."
            return Finding(mismatch, remedy, True)
        case RejectionCode.SECURE_BOOT_KEYS:
            return Finding(mismatch, "Enrol PK, KEK, db and dbx of the release's image in place of these.", True)
        case RejectionCode.BANK_INCOMPLETE:
            remedy = "Enable the TPM's SHA-256 bank in the firmware's set-up, or ask the maker for a firmware update."
            return Finding(mismatch, remedy, False)
        case RejectionCode.BOOT_APPLICATION:
            remedy = "The vendor can approve this way, from this log, with `sealwright-image approve-boot`."
            return Finding(mismatch, remedy, False)
        case _:
            return Finding(mismatch, "Send the log to the vendor; no rule of this version allows it.", False)


def _is_early_authority(mismatch: Mismatch, events: EventsByPcr) -> bool:
    before, _ = split_at_separator(events.get(7, ()))
    return any(
        event.index == mismatch.event_index and event.type is EventType.EV_EFI_VARIABLE_AUTHORITY for event in before
    )
