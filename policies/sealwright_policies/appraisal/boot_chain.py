"""Rules for what the release itself measures: PCR 4, 8 to 15 (policies/spec/appraisal.md)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sealwright_policies.appraisal.events import EventsByPcr, not_allowed, printable, sha256_digests
from sealwright_policies.appraisal.measurements import UNLOCKED_DIGEST, phase_digest
from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.appraisal.reference_values import BootApplication, BootPhases
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.eventlog import Event, EventType, UserspaceEvent, UserspaceLog
from sealwright_policies.wire.framing import UNLOCKED_WORD

RELEASE_PCRS = (4, 7, 9, 11, 12, 13, 14, 15)
"""PCRs whose value the manifest knows."""
_JUDGED_ELSEWHERE = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 9, 11})
_SHA256 = int(AlgorithmId.SHA256)

PCR9_EVENT_NAMES = ("the kernel command line", "the initrd")
"""Of the kernel's EFI stub, in this order: 'LOADED_IMAGE::LoadOptions' and 'Linux initrd'."""
_PCR9_CODES = (RejectionCode.KERNEL_COMMAND_LINE, RejectionCode.UKI_MISMATCH)


def judge_boot_applications(
    events: EventsByPcr, variants: Sequence[BootApplication]
) -> tuple[list[Mismatch], BootApplication | None]:
    """PCR 4: exactly one of the ways that the release lists. Returns the way that was taken, None if none matches.

    The digests alone decide: names and device paths in these events are not covered by them.
    """
    found = events.get(4, [])
    digests = sha256_digests(found)
    for variant in variants:
        if variant.events == digests:
            return [], variant
    nearest = max(variants, key=lambda variant: _common_prefix(variant.events, digests))
    start = _common_prefix(nearest.events, digests)
    expected = nearest.events[start:]
    mismatches = [
        not_allowed(
            event,
            _boot_application_sentence(event, nearest),
            code=RejectionCode.BOOT_APPLICATION,
            expected=expected[offset] if offset < len(expected) else "no further event",
        )
        for offset, event in enumerate(found[start:])
        if offset >= len(expected) or expected[offset] != digests[start + offset]
    ]
    if not mismatches:
        sentence = f"The boot stopped short of the release's way {nearest.name!r}: a measurement is missing."
        missing = nearest.events[len(digests)]
        mismatches = [Mismatch(RejectionCode.BOOT_APPLICATION, sentence, "boot", pcr=4, expected=missing)]
    return mismatches, None


def _boot_application_sentence(event: Event, nearest: BootApplication) -> str:
    if event.type is EventType.EV_EFI_BOOT_SERVICES_APPLICATION:
        return "The firmware started a boot application that this release does not list."
    if event.type in (EventType.EV_EFI_ACTION, EventType.EV_ACTION):
        return (
            f"The firmware says {printable(event.data)}, which the release's way {nearest.name!r} does not have here."
        )
    return f"{event.type_name} is not what the release's way {nearest.name!r} has here."


def _common_prefix(first: Sequence[str], second: Sequence[str]) -> int:
    length = 0
    for left, right in zip(first, second, strict=False):
        if left != right:
            break
        length += 1
    return length


def judge_kernel_stub(events: EventsByPcr, expected: Sequence[str]) -> list[Mismatch]:
    """PCR 9: the kernel's EFI stub measured the release's command line and initrd, and nothing else."""
    found = events.get(9, [])
    mismatches: list[Mismatch] = []
    for position, event in enumerate(found):
        if position >= len(expected):
            mismatches.append(not_allowed(event, "A measurement into PCR 9 that the release does not have."))
        elif sha256_digests([event]) != [expected[position]]:
            name, code = _pcr9_meaning(position)
            mismatches.append(
                not_allowed(
                    event, f"The kernel was given {name} of another release.", code=code, expected=expected[position]
                )
            )
    for position in range(len(found), len(expected)):
        name, code = _pcr9_meaning(position)
        sentence = f"The kernel's stub did not measure {name}."
        mismatches.append(Mismatch(code, sentence, "boot", pcr=9, expected=expected[position]))
    return mismatches


def _pcr9_meaning(position: int) -> tuple[str, RejectionCode]:
    if position < len(PCR9_EVENT_NAMES):
        return PCR9_EVENT_NAMES[position], _PCR9_CODES[position]
    return "something", RejectionCode.UKI_MISMATCH


def judge_uki(events: EventsByPcr, expected: Sequence[str]) -> list[Mismatch]:
    """PCR 11 of the boot log: the stub measured the sections of the release's UKI, in order, and nothing else."""
    found = events.get(11, [])
    digests = sha256_digests(found)
    mismatches: list[Mismatch] = []
    for position, event in enumerate(found):
        wanted = expected[position] if position < len(expected) else "no further event"
        if digests[position] != wanted:
            section = printable(event.data)
            sentence = f"The unified kernel image is not this release's: section {section} differs."
            mismatches.append(not_allowed(event, sentence, code=RejectionCode.UKI_MISMATCH, expected=wanted))
    if len(found) < len(expected):
        sentence = "The unified kernel image is not this release's: sections are missing, or the stub measured nothing."
        wanted = expected[len(found)]
        mismatches.append(Mismatch(RejectionCode.UKI_MISMATCH, sentence, "boot", pcr=11, expected=wanted))
    return mismatches


def judge_untouched(events: EventsByPcr) -> list[Mismatch]:
    """Nothing else was measured before the kernel ran: command lines, credentials, extensions, MOK, GRUB, tboot."""
    mismatches: list[Mismatch] = []
    for pcr, found in sorted(events.items()):
        if pcr in _JUDGED_ELSEWHERE:
            continue
        for event in found:
            if pcr == 12 and event.type in (EventType.EV_IPL, EventType.EV_EVENT_TAG):
                sentence = (
                    f"The kernel command line or its credentials were extended from outside: {printable(event.data)}."
                )
                mismatches.append(not_allowed(event, sentence, code=RejectionCode.KERNEL_COMMAND_LINE))
            else:
                mismatches.append(
                    not_allowed(event, f"{event.type_name} in PCR {pcr}, which a release leaves untouched.")
                )
    return mismatches


def judge_userspace(log: UserspaceLog, phases: BootPhases) -> tuple[list[Mismatch], tuple[str, ...]]:
    """systemd's log: the phases in PCR 11, the closing word in PCR 15, and nothing else.

    Returns the mismatches and the words of the phases as far as they are the expected ones.
    """
    mismatches: list[Mismatch] = []
    in_pcr11 = [event for event in log.events if event.pcr == 11]
    in_pcr15 = [event for event in log.events if event.pcr == 15]
    seen: list[str] = []
    for position, event in enumerate(in_pcr11):
        word = phases.running_phases[position] if position < len(phases.running_phases) else None
        if word is not None and event.digests.get(_SHA256) == phase_digest(word):
            seen.append(word)
            continue
        sentence = f"The boot said {event.string[:64]!r} where the release says {word or 'nothing more'!r}."
        mismatches.append(_in_userspace(event, RejectionCode.BOOT_PHASE, sentence, word))
    for word in phases.running_phases[len(in_pcr11) :]:
        sentence = f"The boot has not reached the phase {word!r}."
        mismatches.append(Mismatch(RejectionCode.BOOT_PHASE, sentence, "userspace", pcr=11, expected=word))
    mismatches += _judge_closing_word(in_pcr15)
    # Events in an NV index (pcr None) extend no PCR; systemd measures there from version 259 on.
    mismatches += [
        _in_userspace(event, RejectionCode.EVENT_NOT_ALLOWED, _stranger(event), None)
        for event in log.events
        if event.pcr not in (11, 15, None)
    ]
    return mismatches, tuple(seen)


def _judge_closing_word(found: Sequence[UserspaceEvent]) -> Iterable[Mismatch]:
    if not found:
        sentence = "The box has not closed PCR 15: something could still be unsealed in this boot."
        yield Mismatch(RejectionCode.SYSTEM_IDENTITY, sentence, "userspace", pcr=15, expected=UNLOCKED_WORD)
    for position, event in enumerate(found):
        if position or event.digests.get(_SHA256) != UNLOCKED_DIGEST:
            sentence = f"Something else than the closing word was measured: {event.string[:64]!r}."
            expected = "no further event" if position else UNLOCKED_WORD
            yield _in_userspace(event, RejectionCode.SYSTEM_IDENTITY, sentence, expected)


def _stranger(event: UserspaceEvent) -> str:
    return f"systemd measured {event.string[:64]!r} into PCR {event.pcr}, which no rule allows."


def _in_userspace(event: UserspaceEvent, code: RejectionCode, sentence: str, expected: str | None) -> Mismatch:
    digest = event.digests.get(_SHA256)
    return Mismatch(
        code, sentence, "userspace", event.index, event.pcr, expected, None if digest is None else digest.hex()
    )
