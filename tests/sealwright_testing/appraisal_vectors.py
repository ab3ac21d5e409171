"""Writes the vectors of ``tests/vectors/appraisal/``: evidence that is as it should be, and broken in one thing each.

Run ``python -m sealwright_testing.appraisal_vectors tests/vectors/appraisal`` after a change of rules or formats: it
draws new keys and writes every vector anew. What each must come to is written here by hand, never taken from a run.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.clock import DeviceBaseline
from sealwright_policies.appraisal.measurements import IMAGE_SECURITY_DATABASE
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.encoding import pcr_values
from sealwright_policies.wire.framing import UNLOCKED_WORD
from sealwright_policies.wire.messages import Evidence
from sealwright_testing.event_logs import LoggedEvent, LogWriter, separator, sha1_log
from sealwright_testing.evidence_factory import (
    LEASE_INDEX,
    LICENSE_ID,
    LOAD_OPTIONS_TAG,
    NONCE,
    NOW,
    PHASES,
    TICK_INDEX,
    SyntheticBox,
    certificate,
    measured,
    quoted_values,
    replaced,
    secure_boot_events,
    secure_boot_keys,
    signature_list,
    tagged,
    userspace_events,
    userspace_record,
    utf16,
    variable_event,
)
from sealwright_testing.software_tpm import ALG_SHA256, RH_OWNER, Clock, SoftwareAk

T = EventType
COMMON = "common"
HELD = DeviceBaseline(reset_count=11, restart=2, clock_ms=3_000_000, ticks=38, lease_number=3)
Events = list[LoggedEvent]


@dataclass(frozen=True)
class Case:
    """One vector. ``expected`` lists all codes in order; empty means affirming."""

    description: str
    section: str
    evidence: Callable[[SyntheticBox], Evidence]
    expected: tuple[Code, ...] = ()
    baseline: DeviceBaseline | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    outcome: str | None = None
    """``malformed`` or ``unsupported``, where there is no result."""


def plain(**changes: Any) -> Callable[[SyntheticBox], Evidence]:
    """Evidence with these arguments."""
    return lambda box: box.evidence(**changes)


def booted(change: Callable[[SyntheticBox, Events], Events]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which other events were measured and logged."""
    return lambda box: box.evidence(events=change(box, box.boot_events()))


def added(*events: LoggedEvent) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which these were measured too, last."""
    return booted(lambda _, before: [*before, *events])


def inserted_before_separator(event: LoggedEvent) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which firmware measured this too."""

    def change(_: SyntheticBox, events: Events) -> Events:
        first = next(index for index, each in enumerate(events) if each.type == T.EV_SEPARATOR)
        return [*events[:first], event, *events[first:]]

    return booted(change)


def without(keep: Callable[[LoggedEvent], bool]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence of a boot in which some events were not measured."""
    return booted(lambda _, events: [event for event in events if keep(event)])


def hidden(keep: Callable[[LoggedEvent], bool]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence whose log leaves out events that were measured."""
    return lambda box: box.evidence(boot_log=LogWriter().log(event for event in box.boot_events() if keep(event)))


def said(words: list[tuple[int, str]]) -> Callable[[SyntheticBox], Evidence]:
    """Evidence in which systemd measured these words."""
    return lambda box: box.evidence(userspace=words)


def changed(pcr: int, position: int, content: bytes) -> Callable[[SyntheticBox], Evidence]:
    """Evidence in which one event is of other content, its description the same."""
    digests = {ALG_SHA256: measured(pcr, 0, content, b"").digest(ALG_SHA256)}
    return booted(lambda _, events: replaced(events, pcr, position, digests=digests))


def statement_cases() -> dict[str, Case]:
    """Section 2."""
    qualifying, counter, signer = Code.QUALIFYING_DATA_MISMATCH, Code.COUNTER_INVALID, Code.SIGNER_NOT_ENDORSEMENT
    early = Clock(reset_count=11)

    def owner_ak(box: SyntheticBox) -> Evidence:
        genuine, box.ak = box.ak, SoftwareAk(box.ak.key, hierarchy=RH_OWNER)
        try:
            return box.evidence()
        finally:
            box.ak = genuine

    def other_payload(box: SyntheticBox) -> Evidence:
        return box.evidence(extra=box.bound(payload=b"what was quoted"), payload=b"what is sent")

    def unquoted_value(box: SyntheticBox) -> Evidence:
        return box.evidence(quote=box.evidence().quote, pcrs={16: bytes(32)})

    return {
        "good": Case("as it should be", "2", plain(), baseline=HELD),
        "good-first": Case("as it should be, nothing held of the device", "2", plain()),
        "other-nonce": Case("made for another nonce", "2", plain(extra=bytes(32)), (qualifying,) * 3),
        "other-payload": Case("the payload is not the one quoted", "2", other_payload, (qualifying,) * 3),
        "unquoted-value": Case(
            "a value is given for a PCR outside the quote", "2", unquoted_value, (Code.PCR_SELECTION_MISMATCH,)
        ),
        "owner-ak": Case("signed under Owner, where reset counts are obfuscated", "2", owner_ak, (signer,) * 3),
        "counter-of-other-boot": Case(
            "the tick counter was certified one boot earlier",
            "2",
            lambda box: box.evidence(
                tick_counter=box.ak.nv_certify(40, index=TICK_INDEX, extra=box.bound(), clock=early)
            ),
            (counter,),
        ),
        "one-index-for-both-counters": Case(
            "the lease counter is certified as tick counter too",
            "2",
            lambda box: box.evidence(tick_counter=box.ak.nv_certify(40, index=LEASE_INDEX, extra=box.bound())),
            (counter, counter),
        ),
        "counter-of-other-index": Case(
            "the lease counter is another index than the enrolled one",
            "2",
            lambda box: box.evidence(lease_counter=box.ak.nv_certify(3, index=0x01C10208, extra=box.bound())),
            (counter,),
        ),
    }


def clock_cases() -> dict[str, Case]:
    """Section 3."""
    back, rolled = Code.CLOCK_WENT_BACK, Code.ROLLED_BACK

    def at(clock: Clock | None = None, **held: int) -> dict[str, Any]:
        return {"evidence": plain(clock=clock or Clock()), "baseline": DeviceBaseline(**(asdict(HELD) | held))}

    lost = Clock(clock_ms=1_000_000)
    return {
        "clock-jumped-ahead": Case("the clock was set ahead, which is legal", "3", **at(Clock(clock_ms=1 << 50))),
        "clock-same": Case(
            "the same reading as the one held", "3", **at(reset_count=12, restart=0, clock_ms=3_600_000)
        ),
        "clock-lost-in-power-cut": Case("a power cut lost less than the bound", "3", **at(lost)),
        "clock-lost-too-much": Case(
            "a power cut lost more than the bound",
            "3",
            expected=(back,),
            **at(lost, clock_ms=1_000_000 + 70 * 60_000 + 1),
        ),
        "clock-back-without-reset": Case(
            "the clock is lower within one boot",
            "3",
            expected=(back,),
            **at(reset_count=12, restart=0, clock_ms=3_600_001),
        ),
        "reset-count-lower": Case("fewer resets than seen before", "3", expected=(rolled,), **at(reset_count=13)),
        "restart-count-lower": Case(
            "fewer restarts than seen in this boot", "3", expected=(rolled,), **at(reset_count=12, restart=1)
        ),
        "ticks-lower": Case("the tick counter was put back", "3", expected=(rolled,), **at(ticks=41)),
        "lease-number-lower": Case("the lease counter was put back", "3", expected=(rolled,), **at(lease_number=4)),
    }


def replay_cases() -> dict[str, Case]:
    """Section 4."""
    replay = Code.EVENT_LOG_REPLAY_MISMATCH
    return {
        "event-hidden": Case(
            "an option ROM was measured and is not in the log",
            "4",
            hidden(lambda e: e.data != bytes(32) or e.pcr != 2),
            (replay,),
        ),
        "event-invented": Case(
            "the log tells of an event that was not measured",
            "4",
            lambda box: box.evidence(
                boot_log=LogWriter().log([LoggedEvent(0, T.EV_POST_CODE, b"invented"), *box.boot_events()])
            ),
            (replay,),
        ),
        "extend-without-event": Case(
            "PCR 12 was extended and no log says why",
            "4",
            plain(pcrs={12: b"\x12" * 32}),
            (replay, Code.PCR_MISMATCH),
        ),
        "log-malformed": Case(
            "the log is cut off",
            "4",
            lambda box: box.evidence(boot_log=LogWriter().log(box.boot_events())[:-1]),
            outcome="malformed",
        ),
        "userspace-log-malformed": Case(
            "systemd's log is not JSON", "4", plain(userspace_log=b"\x1e{]\n"), outcome="malformed"
        ),
        "userspace-log-cut-off": Case(
            "the last record of systemd's log was cut off",
            "4",
            lambda box: box.evidence(
                userspace_log=b"".join(userspace_record(*event) for event in userspace_events())[:-20]
            ),
            (replay, Code.BOOT_PHASE),
        ),
    }


def firmware_cases() -> dict[str, Case]:
    """Sections 5.1 to 5.3."""
    bank, stranger = Code.BANK_INCOMPLETE, Code.EVENT_NOT_ALLOWED

    def sha1_only(box: SyntheticBox) -> Evidence:
        events = [LoggedEvent(event.pcr, event.type, event.data) for event in box.boot_events()]
        return box.evidence(boot_log=sha1_log(events))

    def undigested(box: SyntheticBox) -> Evidence:
        events = box.boot_events()
        unmeasured = next(event for event in events if event.pcr == 1)
        values = quoted_values([event for event in events if event is not unmeasured], userspace_events())
        log = LogWriter().log(replaced(events, 1, 0, digests={}))
        return box.evidence(boot_log=log, pcrs=values)

    zeros = {ALG_SHA256: bytes(32)}
    return {
        "bank-sha1-only": Case("the firmware logs SHA-1 alone", "5.1", sha1_only, (bank,)),
        "bank-event-without-digest": Case("an event has no SHA-256 digest", "5.1", undigested, (bank,)),
        "bank-zero-digest": Case(
            "an event's SHA-256 digest is zero",
            "5.1",
            booted(lambda _, e: replaced(e, 6, 0, digests=zeros)),
            (bank, Code.EVENT_DIGEST_MISMATCH),
        ),
        "bank-pcr-untouched": Case("PCR 6 was never measured into", "5.1", without(lambda e: e.pcr != 6), (bank,)),
        "bank-pcr-not-closed": Case(
            "PCR 1 has no separator", "5.1", without(lambda e: e.pcr != 1 or e.type != T.EV_SEPARATOR), (bank,)
        ),
        "bank-pcr-zero": Case(
            "PCR 3 is zero although the log tells of its separator",
            "5.1",
            plain(pcrs={3: bytes(32)}),
            (Code.EVENT_LOG_REPLAY_MISMATCH, bank),
        ),
        "separator-of-error": Case(
            "the firmware reports an error",
            "5.2",
            booted(lambda _, e: replaced(e, 6, 0, data=b"\x01\0\0\0")),
            (stranger,),
        ),
        "separator-all-ones": Case(
            "a separator of ones, which the profile allows",
            "5.2",
            booted(lambda _, e: replaced(e, 6, 0, data=b"\xff" * 4)),
        ),
        "separator-twice": Case("PCR 2 is closed twice", "5.2", added(separator(2)), (stranger,)),
        "separator-other-digest": Case(
            "a separator whose digest is of something else",
            "5.2",
            changed(3, 0, b"something else"),
            (Code.EVENT_DIGEST_MISMATCH,),
        ),
        "application-in-pcr1": Case(
            "a boot application in the PCR of settings",
            "5.3",
            inserted_before_separator(LoggedEvent(1, T.EV_EFI_BOOT_SERVICES_APPLICATION, b"application")),
            (stranger,),
        ),
        "unknown-type-in-pcr0": Case(
            "an event type that no profile knows",
            "5.3",
            inserted_before_separator(LoggedEvent(0, 0x7777, b"?")),
            (stranger,),
        ),
        "action-unknown-in-pcr5": Case(
            "an action other than leaving boot services",
            "5.3",
            added(LoggedEvent(5, T.EV_EFI_ACTION, b"Entering shell")),
            (stranger,),
        ),
        "action-other-digest-in-pcr5": Case(
            "an allowed action whose digest is of another",
            "5.3",
            added(measured(5, T.EV_EFI_ACTION, b"Entering shell", b"Exit Boot Services Invocation")),
            (Code.EVENT_DIGEST_MISMATCH,),
        ),
    }


def secure_boot_cases() -> dict[str, Case]:
    """Section 5.4."""
    keys, disabled, stranger = Code.SECURE_BOOT_KEYS, Code.SECURE_BOOT_DISABLED, Code.EVENT_NOT_ALLOWED
    config = T.EV_EFI_VARIABLE_DRIVER_CONFIG

    def other_keys(box: SyntheticBox, events: Events) -> Events:
        other = secure_boot_keys("Other")
        before, after = secure_boot_events(box.keys), secure_boot_events(other)
        return [after[before.index(event)] if event in before[:4] else event for event in events]

    def off(_: SyntheticBox, events: Events) -> Events:
        variable = replaced(events, 7, 0, data=secure_boot_events(secure_boot_keys_once(), enabled=False)[0].data)
        return [event for event in variable if event.type != T.EV_EFI_VARIABLE_AUTHORITY]

    def swapped(_: SyntheticBox, events: Events) -> Events:
        in_pcr7 = [event for event in events if event.pcr == 7]
        result = replaced(events, 7, 1, data=in_pcr7[2].data)
        return replaced(result, 7, 2, data=in_pcr7[1].data)

    def disguised(_: SyntheticBox, events: Events) -> Events:
        digests = {ALG_SHA256: measured(7, 0, b"the keys that are enrolled", b"").digest(ALG_SHA256)}
        return replaced(events, 7, 3, digests=digests)

    def other_vendor(box: SyntheticBox, events: Events) -> Events:
        data = variable_event(7, config, IMAGE_SECURITY_DATABASE, "PK", box.keys.pk).data
        return replaced(events, 7, 1, data=data)

    authority = variable_event(
        7, T.EV_EFI_VARIABLE_AUTHORITY, IMAGE_SECURITY_DATABASE, "db", bytes(16) + certificate("Other CA")
    )
    extra = variable_event(7, config, IMAGE_SECURITY_DATABASE, "dbt", signature_list(certificate("Time stamps")))
    return {
        "secure-boot-off": Case("Secure Boot is off", "5.4", booted(off), (disabled, keys)),
        "secure-boot-other-keys": Case("other keys are enrolled", "5.4", booted(other_keys), (keys, keys, keys)),
        "secure-boot-disguised-keys": Case(
            "the log shows the release's db, the digest is of another",
            "5.4",
            booted(disguised),
            (Code.EVENT_DIGEST_MISMATCH,),
        ),
        "secure-boot-variables-swapped": Case("KEK before PK", "5.4", booted(swapped), (stranger,)),
        "secure-boot-variable-twice": Case(
            "db was measured twice",
            "5.4",
            booted(lambda _, events: replaced(events, 7, 4, data=[e for e in events if e.pcr == 7][3].data)),
            (stranger, keys),
        ),
        "secure-boot-dbx-missing": Case(
            "dbx was not measured",
            "5.4",
            without(lambda e: e.pcr != 7 or "dbx".encode("utf-16-le") not in e.data),
            (keys,),
        ),
        "secure-boot-extra-variable": Case(
            "a variable that no rule knows", "5.4", inserted_before_separator(extra), (stranger,)
        ),
        "secure-boot-debug-mode": Case(
            "the firmware is in debug mode",
            "5.4",
            inserted_before_separator(LoggedEvent(7, T.EV_EFI_ACTION, b"UEFI Debug Mode")),
            (stranger,),
        ),
        "secure-boot-unreadable-variable": Case(
            "a variable event that holds no variable",
            "5.4",
            inserted_before_separator(LoggedEvent(7, config, b"short")),
            (stranger,),
        ),
        "secure-boot-option-rom-by-other-key": Case(
            "firmware ran code by another key before the boot loader",
            "5.4",
            inserted_before_separator(authority),
            (keys,),
        ),
        "secure-boot-variable-of-other-vendor": Case(
            "a PK that is not the firmware's",
            "5.4",
            booted(other_vendor),
            (stranger, keys),
        ),
        "secure-boot-disguised-authority": Case(
            "the log shows the release's authority, the digest is of another",
            "5.4",
            changed(7, 6, b"another certificate"),
            (Code.EVENT_DIGEST_MISMATCH, keys),
        ),
        "secure-boot-second-authority": Case(
            "a further boot application by another key", "5.4", added(authority), (keys,)
        ),
        "secure-boot-event-after-separator": Case(
            "a variable measured after the separator", "5.4", added(extra), (stranger,)
        ),
    }


_KEYS_ONCE: list[Any] = []


def secure_boot_keys_once() -> Any:
    """Some keys; drawing them takes a second."""
    if not _KEYS_ONCE:
        _KEYS_ONCE.append(secure_boot_keys())
    return _KEYS_ONCE[0]


def release_cases() -> dict[str, Case]:
    """Sections 5.5 to 5.8."""
    application, line, uki, stranger = (
        Code.BOOT_APPLICATION,
        Code.KERNEL_COMMAND_LINE,
        Code.UKI_MISMATCH,
        Code.EVENT_NOT_ALLOWED,
    )
    started = T.EV_EFI_BOOT_SERVICES_APPLICATION

    def smbios(_: SyntheticBox, events: Events) -> Events:
        extra = utf16("init=/bin/sh")
        return [
            *replaced(events, 9, 0, digests={ALG_SHA256: measured(9, 0, extra, b"").digest(ALG_SHA256)}),
            measured(12, T.EV_IPL, extra, extra),
        ]

    return {
        "application-other": Case(
            "another boot application was started", "5.5", changed(4, 2, b"shim"), (application,)
        ),
        "application-first": Case(
            "another boot application ran before the release's",
            "5.5",
            booted(
                lambda _, e: [
                    *[x for x in e if x.type != started],
                    LoggedEvent(4, started, b"shell"),
                    *[x for x in e if x.type == started],
                ]
            ),
            (application, application),
        ),
        "application-after": Case(
            "another one was started afterwards", "5.5", added(LoggedEvent(4, started, b"next")), (application,)
        ),
        "application-retried": Case(
            "a boot option failed first",
            "5.5",
            inserted_before_separator(
                LoggedEvent(4, T.EV_EFI_ACTION, b"Returning from EFI Application from Boot Option")
            ),
            (application, application, application),
        ),
        "application-missing": Case(
            "no boot application was measured", "5.5", without(lambda e: e.type != started), (application,)
        ),
        "command-line-other": Case(
            "the kernel got another command line", "5.6", changed(9, 0, b"init=/bin/sh"), (line,)
        ),
        "initrd-other": Case("the kernel got another initrd", "5.6", changed(9, 1, b"initrd"), (uki,)),
        "initrd-extra": Case(
            "the kernel got a second initrd",
            "5.6",
            added(LoggedEvent(9, T.EV_EVENT_TAG, tagged(LOAD_OPTIONS_TAG, b"x"))),
            (stranger,),
        ),
        "kernel-stub-silent": Case(
            "the kernel's stub measured nothing", "5.6", without(lambda e: e.pcr != 9), (line, uki)
        ),
        "uki-section-changed": Case("the initrd section is another", "5.7", changed(11, 7, b"initrd"), (uki,)),
        "uki-section-added": Case(
            "a section more than the release has", "5.7", added(LoggedEvent(11, T.EV_IPL, utf16(".dtb"))), (uki,)
        ),
        "uki-silent": Case("systemd-stub measured nothing", "5.7", without(lambda e: e.pcr != 11), (uki,)),
        "smbios-command-line": Case(
            "the command line was extended through SMBIOS", "5.8", booted(smbios), (line, line)
        ),
        "system-extension": Case(
            "a system extension lay on the ESP", "5.8", added(LoggedEvent(13, T.EV_IPL, utf16("sysext"))), (stranger,)
        ),
        "machine-owner-key": Case(
            "shim measured its keys", "5.8", added(LoggedEvent(14, T.EV_IPL, b"MokList\0")), (stranger,)
        ),
        "grub": Case(
            "GRUB measured its commands", "5.8", added(LoggedEvent(8, T.EV_IPL, b"grub_cmd: ls\0")), (stranger,)
        ),
    }


def userspace_cases() -> dict[str, Case]:
    """Section 5.9."""
    phase, identity, stranger = Code.BOOT_PHASE, Code.SYSTEM_IDENTITY, Code.EVENT_NOT_ALLOWED
    usual = userspace_events()
    return {
        "phase-not-reached": Case("the box is not ready yet", "5.9", said(userspace_events(PHASES[:3])), (phase,)),
        "phase-other": Case(
            "a phase that is another",
            "5.9",
            said(userspace_events(("enter-initrd", "shell", "sysinit", "ready"))),
            (phase,),
        ),
        "phase-further": Case("the box is shutting down", "5.9", said([*usual, (11, "shutdown")]), (phase,)),
        "not-closed": Case("PCR 15 was not closed", "5.9", said(userspace_events(closing=())), (identity,)),
        "closed-twice": Case("PCR 15 was extended again", "5.9", said([*usual, (15, UNLOCKED_WORD)]), (identity,)),
        "machine-id": Case(
            "the machine id was measured before the closing word",
            "5.9",
            said(userspace_events(closing=("machine-id:0123456789abcdef", UNLOCKED_WORD))),
            (identity, identity),
        ),
        "os-separator": Case("systemd measured into PCR 12", "5.9", said([*usual, (12, "os-separator")]), (stranger,)),
    }


def value_cases() -> dict[str, Case]:
    """Sections 6 and 7."""

    def pinned(pcr: int) -> DeviceBaseline:
        return DeviceBaseline(11, 2, 3_000_000, 38, 3, pinned={pcr: b"\x0f" * 32})

    reported = DeviceBaseline(11, 2, 3_000_000, 38, 3, reported={1: b"\x0f" * 32})
    return {
        "firmware-changed": Case("PCR 0 is not the pinned one", "6", plain(), (Code.FIRMWARE_CHANGED,), pinned(0)),
        "option-rom-changed": Case("PCR 2 is not the pinned one", "6", plain(), (Code.FIRMWARE_CHANGED,), pinned(2)),
        "settings-changed": Case("PCR 1 changed, which is reported and allowed", "6", plain(), baseline=reported),
        "version-below-floor": Case(
            "the release is too old", "7", plain(), (Code.VERSION_BELOW_FLOOR,), arguments={"version_floor": "1.10"}
        ),
        "version-at-floor": Case("the release is the floor", "7", plain(), arguments={"version_floor": "1.2"}),
        "everything-at-once": Case(
            "an old release on other firmware, put back, with a phase missing: all are listed",
            "1",
            said(userspace_events(PHASES[:3])),
            (Code.VERSION_BELOW_FLOOR, Code.ROLLED_BACK, Code.BOOT_PHASE, Code.FIRMWARE_CHANGED),
            DeviceBaseline(13, 0, 0, 0, 0, pinned={0: b"\x0f" * 32}),
            {"version_floor": "2"},
        ),
    }


def cases() -> dict[str, Case]:
    """All vectors by name."""
    return (
        statement_cases()
        | clock_cases()
        | replay_cases()
        | firmware_cases()
        | secure_boot_cases()
        | release_cases()
        | userspace_cases()
        | value_cases()
    )


def write(directory: Path) -> None:
    """Write every vector below a directory, replacing those that are there."""
    box = SyntheticBox()
    directory.mkdir(parents=True, exist_ok=True)
    for folder in directory.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    common = directory / COMMON
    common.mkdir()
    (common / "release.json").write_bytes(box.release_envelope)
    manifest_key = box.manifest_key.public_key()
    pem = manifest_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (common / "manifest-key.pem").write_bytes(pem)
    for name, case in cases().items():
        folder = directory / name
        folder.mkdir()
        described = {"description": case.description, "spec": f"appraisal.md {case.section}", "operation": "appraise"}
        _dump(folder / "manifest.json", described)
        _dump(folder / "input.json", _input(box, case))
        _dump(folder / "expected.json", _expected(case))


def _input(box: SyntheticBox, case: Case) -> dict[str, Any]:
    return {
        "evidence": case.evidence(box).model_dump(mode="json"),
        "ak": base64.b64encode(box.ak.public_area).decode(),
        "nonce": NONCE.hex(),
        "device_id": box.device_id,
        "license_id": LICENSE_ID,
        "purpose": "renew",
        "now": NOW,
        "counter_names": box.counter_names.model_dump(mode="json"),
        "baseline": _baseline(case.baseline),
        **case.arguments,
    }


def _baseline(baseline: DeviceBaseline | None) -> dict[str, Any] | None:
    if baseline is None:
        return None
    members = asdict(baseline)
    return members | {name: pcr_values(members[name]) for name in ("pinned", "reported")}


def _expected(case: Case) -> dict[str, Any]:
    if case.outcome is not None:
        return {"outcome": case.outcome}
    if not case.expected:
        return {"outcome": "accepted"}
    return {"outcome": "rejected", "code": case.expected[0].value, "codes": [code.value for code in case.expected]}


def _dump(path: Path, members: dict[str, Any]) -> None:
    path.write_text(json.dumps(members, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
