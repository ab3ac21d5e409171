"""Vectors of the appraisal's rules about a boot: firmware, Secure Boot, boot applications, kernel image."""

from __future__ import annotations

from sealwright_policies.appraisal.measurements import IMAGE_SECURITY_DATABASE
from sealwright_policies.appraisal.pe import authenticode_sha256, uki_sections
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.messages import Evidence
from sealwright_testing.appraisal_case import (
    Case,
    Events,
    added,
    before_uki,
    booted,
    changed,
    inserted_before_separator,
    plain,
    without,
)
from sealwright_testing.event_logs import LoggedEvent, LogWriter, separator, sha1_log
from sealwright_testing.evidence_factory import (
    LOAD_OPTIONS_TAG,
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
    utf16,
    variable_event,
)
from sealwright_testing.software_tpm import ALG_SHA256

T = EventType
CONFIG = T.EV_EFI_VARIABLE_DRIVER_CONFIG


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


def with_other_keys(box: SyntheticBox, events: Events) -> Events:
    """All of another owner's keys are enrolled."""
    other = secure_boot_keys("Other")
    before, after = secure_boot_events(box.keys), secure_boot_events(other)
    return [after[before.index(event)] if event in before[:4] else event for event in events]


def with_secure_boot_off(box: SyntheticBox, events: Events) -> Events:
    """Secure Boot is off, so nothing was verified."""
    variable = replaced(events, 7, 0, data=secure_boot_events(box.keys, enabled=False)[0].data)
    return [event for event in variable if event.type != T.EV_EFI_VARIABLE_AUTHORITY]


def with_kek_first(_: SyntheticBox, events: Events) -> Events:
    """KEK was measured before PK."""
    in_pcr7 = [event for event in events if event.pcr == 7]
    result = replaced(events, 7, 1, data=in_pcr7[2].data)
    return replaced(result, 7, 2, data=in_pcr7[1].data)


def with_other_db(_: SyntheticBox, events: Events) -> Events:
    """The log shows the release's db, another one was measured."""
    digests = {ALG_SHA256: measured(7, 0, b"the keys that are enrolled", b"").digest(ALG_SHA256)}
    return replaced(events, 7, 3, digests=digests)


def with_other_vendor(box: SyntheticBox, events: Events) -> Events:
    """PK is a variable of another vendor."""
    data = variable_event(7, CONFIG, IMAGE_SECURITY_DATABASE, "PK", box.keys.pk).data
    return replaced(events, 7, 1, data=data)


def secure_boot_cases() -> dict[str, Case]:
    """Section 5.4."""
    keys, disabled, stranger = Code.SECURE_BOOT_KEYS, Code.SECURE_BOOT_DISABLED, Code.EVENT_NOT_ALLOWED
    authority = variable_event(
        7, T.EV_EFI_VARIABLE_AUTHORITY, IMAGE_SECURITY_DATABASE, "db", bytes(16) + certificate("Other CA")
    )
    extra = variable_event(7, CONFIG, IMAGE_SECURITY_DATABASE, "dbt", signature_list(certificate("Time stamps")))
    return {
        "secure-boot-off": Case("Secure Boot is off", "5.4", booted(with_secure_boot_off), (disabled, keys)),
        "secure-boot-other-keys": Case("other keys are enrolled", "5.4", booted(with_other_keys), (keys, keys, keys)),
        "secure-boot-disguised-keys": Case(
            "the log shows the release's db, the digest is of another",
            "5.4",
            booted(with_other_db),
            (Code.EVENT_DIGEST_MISMATCH,),
        ),
        "secure-boot-variables-swapped": Case("KEK before PK", "5.4", booted(with_kek_first), (stranger,)),
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
            inserted_before_separator(LoggedEvent(7, CONFIG, b"short")),
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
            booted(with_other_vendor),
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


def with_smbios_command_line(_: SyntheticBox, events: Events) -> Events:
    """systemd-stub appended what it found in SMBIOS to the kernel's command line."""
    extra = utf16("init=/bin/sh")
    return [
        *replaced(events, 9, 0, digests={ALG_SHA256: measured(9, 0, extra, b"").digest(ALG_SHA256)}),
        measured(12, T.EV_IPL, extra, extra),
    ]


def release_cases() -> dict[str, Case]:
    """Sections 5.5 to 5.8."""
    application, line, uki, stranger = (
        Code.BOOT_APPLICATION,
        Code.KERNEL_COMMAND_LINE,
        Code.UKI_MISMATCH,
        Code.EVENT_NOT_ALLOWED,
    )
    started = T.EV_EFI_BOOT_SERVICES_APPLICATION

    return {
        "application-other": Case(
            "another boot application was started", "5.5", changed(4, 2, b"shim"), (application,)
        ),
        "application-first": Case(
            "another boot application ran before the release's",
            "5.5",
            before_uki(LoggedEvent(4, started, b"shell")),
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
        "application-second": Case(
            "a boot option before failed, as the release lists it",
            "5.5",
            before_uki(
                LoggedEvent(4, T.EV_EFI_ACTION, b"Returning from EFI Application from Boot Option"),
                LoggedEvent(4, T.EV_EFI_ACTION, b"Calling EFI Application from Boot Option"),
            ),
        ),
        "application-and-kernel": Case(
            "the firmware measured the kernel inside too, as the release lists it",
            "5.5",
            booted(lambda box, e: [*e, LoggedEvent(4, started, bytes(32), {ALG_SHA256: kernel_digest(box)})]),
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
            "the command line was extended through SMBIOS", "5.8", booted(with_smbios_command_line), (line, line)
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


def kernel_digest(box: SyntheticBox) -> bytes:
    """As firmware measures the kernel inside the UKI."""
    return authenticode_sha256(uki_sections(box.uki)[".linux"])
