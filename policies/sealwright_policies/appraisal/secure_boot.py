"""The rule for PCR 7: Secure Boot is on, with the release's keys and nothing else (policies/spec/appraisal.md)."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sealwright_policies.appraisal.events import EventsByPcr, digest_mismatch, not_allowed, printable
from sealwright_policies.appraisal.measurements import GLOBAL_VARIABLE, IMAGE_SECURITY_DATABASE
from sealwright_policies.appraisal.mismatch import Mismatch
from sealwright_policies.appraisal.reference_values import SecureBoot
from sealwright_policies.appraisal.signers import describe_certificate, describe_signature_database
from sealwright_policies.errors import FormatError, RejectionCode
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.eventlog import Event, EventType
from sealwright_policies.tcg.events import UefiVariable, parse_uefi_variable

_VENDORS: dict[str, uuid.UUID] = {
    "SecureBoot": GLOBAL_VARIABLE,
    "PK": GLOBAL_VARIABLE,
    "KEK": GLOBAL_VARIABLE,
    "db": IMAGE_SECURITY_DATABASE,
    "dbx": IMAGE_SECURITY_DATABASE,
}
_SHA256 = int(AlgorithmId.SHA256)


def judge_secure_boot(events: EventsByPcr, expected: SecureBoot) -> list[Mismatch]:
    """PCR 7: each variable once, in the profile's order and with the release's content; separator; authorities."""
    before, after = split_at_separator(events.get(7, ()))
    return judge_enrolled_keys(before, expected) + _judge_authorities(after, expected.authorities)


def split_at_separator(events: Sequence[Event]) -> tuple[list[Event], list[Event]]:
    """What firmware measured before it looked for a boot loader, and what came after. Separators are left out."""
    first = next((index for index, event in enumerate(events) if event.type is EventType.EV_SEPARATOR), len(events))
    return list(events[:first]), [event for event in events[first:] if event.type is not EventType.EV_SEPARATOR]


def judge_enrolled_keys(before: Sequence[Event], expected: SecureBoot) -> list[Mismatch]:
    """The part of PCR 7 that does not depend on what boots: the variables, and nothing run by other keys."""
    mismatches: list[Mismatch] = []
    seen: list[str] = []
    for event in before:
        if event.type is EventType.EV_EFI_VARIABLE_DRIVER_CONFIG:
            mismatches += _judge_variable(event, expected, seen)
        elif event.type is EventType.EV_EFI_VARIABLE_AUTHORITY:
            mismatches += [*digest_mismatch(event), _early_authority(event)]
        else:
            mismatches.append(not_allowed(event, _stranger_sentence(event)))
    return mismatches + [
        Mismatch(_code(name), f"The firmware did not measure {name}.", "boot", pcr=7, expected="one event")
        for name in (variable.name for variable in expected.variables)
        if name not in seen
    ]


def _judge_variable(event: Event, expected: SecureBoot, seen: list[str]) -> list[Mismatch]:
    """Check one variable event; adds its name to ``seen``."""
    try:
        variable = parse_uefi_variable(event.data)
    except FormatError as error:
        return [not_allowed(event, f"The event does not hold a variable: {error}.")]
    mismatches = digest_mismatch(event)
    name = variable.name
    order: list[str] = [each.name for each in expected.variables]
    if name not in order or name in seen or variable.vendor != str(_VENDORS[name]):
        return [*mismatches, not_allowed(event, f"No rule allows the variable {printable(name.encode())} here.")]
    position = order.index(name)
    if seen and position < order.index(seen[-1]):
        mismatches.append(not_allowed(event, f"{name} was measured out of order, behind {seen[-1]}."))
    seen.append(name)
    reference = expected.variables[position]
    # The content is judged as recorded, because its digest was recomputed; where that failed, both are reported.
    if variable.data != reference.data:
        mismatches.append(not_allowed(event, _variable_sentence(variable), code=_code(name), expected=reference.digest))
    return mismatches


def _code(name: str) -> RejectionCode:
    return RejectionCode.SECURE_BOOT_DISABLED if name == "SecureBoot" else RejectionCode.SECURE_BOOT_KEYS


def _variable_sentence(variable: UefiVariable) -> str:
    if variable.name == "SecureBoot":
        return "Secure Boot is off."
    return f"{variable.name} holds {describe_signature_database(variable.data)}, not what the release has in it."


def _stranger_sentence(event: Event) -> str:
    if event.type in (EventType.EV_EFI_ACTION, EventType.EV_ACTION):
        return f"The firmware says {printable(event.data)}: Secure Boot does not mean what it says."
    return f"{event.type_name} does not belong here: no rule allows it in PCR 7."


def _early_authority(event: Event) -> Mismatch:
    return not_allowed(
        event,
        f"Before the boot loader, firmware ran code that {_authority(event)} vouches for (an option ROM or a driver).",
        code=RejectionCode.SECURE_BOOT_KEYS,
    )


def _judge_authorities(after: Sequence[Event], expected: Sequence[str]) -> list[Mismatch]:
    mismatches: list[Mismatch] = []
    found = 0
    for event in after:
        if event.type is not EventType.EV_EFI_VARIABLE_AUTHORITY:
            mismatches.append(not_allowed(event, _stranger_sentence(event)))
            continue
        mismatches += digest_mismatch(event)
        wanted = expected[found] if found < len(expected) else "no further event"
        found += 1
        if event.digests.get(_SHA256, b"").hex() != wanted:
            sentence = f"A boot application was accepted because of {_authority(event)}, not of the release's key."
            mismatches.append(not_allowed(event, sentence, code=RejectionCode.SECURE_BOOT_KEYS, expected=wanted))
    if found < len(expected):
        sentence = "No boot application was verified by the release's key."
        mismatches.append(Mismatch(RejectionCode.SECURE_BOOT_KEYS, sentence, "boot", pcr=7, expected=expected[found]))
    return mismatches


def _authority(event: Event) -> str:
    try:
        variable = parse_uefi_variable(event.data)
    except FormatError:
        return "something unreadable"
    # EFI_SIGNATURE_DATA: SignatureOwner, then the certificate.
    return f"{describe_certificate(variable.data[16:])} in {printable(variable.name.encode())}"
