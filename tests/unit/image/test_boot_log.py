"""What ``approve-boot`` takes from a machine's event log, and what it refuses to sign."""

from __future__ import annotations

import hashlib

import pytest

from sealwright_image.boot_log import MOST_TEXT, Images, boot_applications, read_boot
from sealwright_policies.appraisal.pe import authenticode_sha256
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.eventlog import EventLog, parse_event_log
from sealwright_policies.tcg.eventlog import EventType as T
from sealwright_testing.event_logs import LoggedEvent, LogWriter, replay, separator, sha1_log
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.software_tpm import ALG_SHA256
from sealwright_testing.synthetic_uki import SECTIONS, build_kernel

BOX = SyntheticBox()
UKI, KERNEL = authenticode_sha256(BOX.uki), authenticode_sha256(SECTIONS[".linux"])
IMAGES = Images(UKI.hex(), KERNEL.hex())
CALLING = LoggedEvent(4, T.EV_EFI_ACTION, b"Calling EFI Application from Boot Option")
OMITTED = LoggedEvent(4, T.EV_OMIT_BOOT_DEVICE_EVENTS, b"BOOT ATTEMPTS OMITTED")
OWN = LoggedEvent(4, T.EV_EFI_BOOT_SERVICES_APPLICATION, bytes(32), {ALG_SHA256: UKI})
INNER = LoggedEvent(4, T.EV_EFI_BOOT_SERVICES_APPLICATION, bytes(32), {ALG_SHA256: KERNEL})
TOOL = LoggedEvent(4, T.EV_EFI_BOOT_SERVICES_APPLICATION, b"maker's tool")
TOOL_DIGEST = hashlib.sha256(TOOL.data).hexdigest()
PE = build_kernel(b"a tool of somebody's own")
PE_STREAM = PE[:152] + PE[156:232] + PE[240:]
"""What its Authenticode digest is taken over: all but the checksum and the entry of the certificate table."""


def log(*events: LoggedEvent) -> EventLog:
    return parse_event_log(LogWriter().log(events))


def refused(*events: LoggedEvent, named: frozenset[str] = frozenset()) -> str:
    with pytest.raises(VerificationError) as caught:
        read_boot(log(*events), IMAGES, named)
    assert caught.value.code is RejectionCode.BOOT_APPLICATION
    return str(caught.value)


@pytest.mark.parametrize("events", [(OMITTED, CALLING, separator(4), OWN), (OMITTED, separator(4), OWN, INNER)])
def test_a_boot_of_the_release_is_one_way_to_the_value_in_the_tpm(events: tuple[LoggedEvent, ...]) -> None:
    boot = read_boot(log(*events), IMAGES)

    (application,) = boot_applications(boot, [], None)
    assert application.pcr4 == replay(events, ALG_SHA256)[4].hex()
    assert application.name == f"log-{application.pcr4[:12]}"
    assert boot.account[0] == "says 'BOOT ATTEMPTS OMITTED'"
    assert "starts this release's kernel image" in boot.account


def test_a_log_of_another_system_is_two_ways_up_to_its_boot_loader() -> None:
    """Whether this firmware measures the inner kernel cannot be seen."""
    events = (OMITTED, CALLING, separator(4))
    loader = LoggedEvent(4, T.EV_EFI_BOOT_SERVICES_APPLICATION, b"another system's loader")

    boot = read_boot(log(*events, loader, TOOL), IMAGES)

    plain, with_kernel = boot_applications(boot, [], "maker-x")
    assert (plain.name, plain.pcr4) == ("maker-x", replay([*events, OWN], ALG_SHA256)[4].hex())
    assert with_kernel.name == "maker-x-and-kernel"
    assert with_kernel.pcr4 == replay([*events, OWN, INNER], ALG_SHA256)[4].hex()
    assert boot_applications(boot, [plain, with_kernel], None) == []


def test_a_way_that_is_listed_is_nothing_new() -> None:
    boot = read_boot(parse_event_log(LogWriter().log(BOX.boot_events())), IMAGES)

    assert boot_applications(boot, BOX.release.measurements.boot_applications, None) == []


def test_an_application_before_the_release_must_be_named() -> None:
    """Whoever hands in a log of a machine that ran his tool first does not get the tool approved."""
    events = (CALLING, separator(4), TOOL, OWN)

    assert f"--application {TOOL_DIGEST}" in refused(*events)
    assert f"--application {TOOL_DIGEST}" in refused(*events, named=frozenset({"00" * 32}))
    (application,) = boot_applications(read_boot(log(*events), IMAGES, {TOOL_DIGEST}), [], None)
    assert TOOL_DIGEST in application.events


@pytest.mark.parametrize(
    "event",
    [
        LoggedEvent(4, T.EV_EFI_ACTION, CALLING.data, {ALG_SHA256: hashlib.sha256(b"tool").digest()}),
        LoggedEvent(4, T.EV_SEPARATOR, bytes(4), {ALG_SHA256: hashlib.sha256(b"tool").digest()}),
        LoggedEvent(4, T.EV_SEPARATOR, b"\1\0\0\0"),
        LoggedEvent(4, T.EV_IPL, b"a text of no boot event"),
        LoggedEvent(4, T.EV_EFI_ACTION, PE_STREAM),
        LoggedEvent(4, T.EV_ACTION, PE_STREAM),
        LoggedEvent(4, T.EV_OMIT_BOOT_DEVICE_EVENTS, PE_STREAM),
        LoggedEvent(4, T.EV_EFI_ACTION, b"a" * (MOST_TEXT + 1)),
        LoggedEvent(4, T.EV_EFI_ACTION, b"a\0b"),
        LoggedEvent(4, T.EV_EFI_ACTION, b"a\0\0"),
        LoggedEvent(4, T.EV_EFI_ACTION, b"a\x7f"),
        LoggedEvent(4, T.EV_EFI_ACTION, b"a\xe9"),
        INNER,
    ],
)
def test_what_does_not_explain_itself_is_code(event: LoggedEvent) -> None:
    """A text that is not the one measured or is none, an error's separator, the kernel without its image before it."""
    assert "--application" in refused(event, separator(4), OWN)
    if event is not INNER:  # an application ends what is taken from another system's log
        assert "--application" in refused(event, separator(4), TOOL)


def test_the_bytes_of_an_image_make_its_digest() -> None:
    """So a forged log can show a tool, which its firmware measured by this digest, as the data of an action."""
    assert hashlib.sha256(PE_STREAM).digest() == authenticode_sha256(PE)


@pytest.mark.parametrize("text", [b"a" * MOST_TEXT, b"a" * MOST_TEXT + b"\0"])
def test_a_short_text_explains_itself(text: bytes) -> None:
    assert read_boot(log(LoggedEvent(4, T.EV_ACTION, text), separator(4), OWN), IMAGES).ways


@pytest.mark.parametrize("behind", [(TOOL,), (INNER, TOOL), (INNER, INNER), (CALLING,)])
def test_the_release_must_come_last(behind: tuple[LoggedEvent, ...]) -> None:
    assert "not the last" in refused(CALLING, separator(4), OWN, *behind, named=frozenset({TOOL_DIGEST}))


@pytest.mark.parametrize(
    "raw",
    [
        LogWriter().log([]),
        LogWriter().log([CALLING, separator(4)]),
        sha1_log([LoggedEvent(4, T.EV_EFI_ACTION, CALLING.data)]),
    ],
)
def test_a_log_without_a_measured_boot_is_malformed(raw: bytes) -> None:
    with pytest.raises(FormatError):
        read_boot(parse_event_log(raw), IMAGES)
