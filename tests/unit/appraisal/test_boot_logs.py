"""The digest of both boot logs: what two boots have in common, and nothing that they have not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.appraisal.boot_logs import digest_of_logs, replay_quote_set
from sealwright_policies.errors import FormatError, UnsupportedError
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.encoding import pcr_values
from sealwright_testing.event_logs import LoggedEvent, LogWriter
from sealwright_testing.evidence_factory import SyntheticBox, userspace_events, userspace_record

BOX = SyntheticBox()
EVENTS = BOX.boot_events()
WORDS = b"".join(userspace_record(pcr, word) for pcr, word in userspace_events())
SAME = digest_of_logs(LogWriter().log(EVENTS), WORDS)


def test_bytes_that_differ_at_every_boot_do_not_count() -> None:
    """Times and boot ids in systemd's log; in firmware's, events that extend nothing."""
    later = WORDS.replace(b'"timestamp":1', b'"timestamp":2').replace(b"0" * 32 + b'"', b"1" * 32 + b'"')
    assert later != WORDS
    silent = LoggedEvent(0, EventType.EV_NO_ACTION, b"an address")
    assert digest_of_logs(LogWriter().log([silent, *EVENTS]), later) == SAME


def test_a_record_of_an_nv_index_does_not_count() -> None:
    record = userspace_record(11, "x").replace(b'"pcr":11,', b'"nv_index":1,')
    assert digest_of_logs(LogWriter().log(EVENTS), WORDS + record) == SAME


@pytest.mark.parametrize(
    "change",
    [
        lambda events: [*events, LoggedEvent(1, EventType.EV_EFI_ACTION, b"more")],
        lambda events: events[:-1],
        lambda events: [events[1], events[0], *events[2:]],
        lambda events: [replace(events[0], pcr=6), *events[1:]],
        lambda events: [replace(events[0], type=EventType.EV_POST_CODE), *events[1:]],
        lambda events: [replace(events[0], data=events[0].data + b"x"), *events[1:]],
    ],
)
def test_every_measurement_of_the_firmware_counts(change: Callable[[list[LoggedEvent]], list[LoggedEvent]]) -> None:
    """Also its type, which no PCR covers."""
    extending = [event for event in EVENTS if event.type != EventType.EV_NO_ACTION]
    assert digest_of_logs(LogWriter().log(extending), WORDS) == SAME
    assert digest_of_logs(LogWriter().log(change(extending)), WORDS) != SAME


@pytest.mark.parametrize(
    "words",
    [
        WORDS + userspace_record(11, "more"),
        WORDS.replace(b'"pcr":15', b'"pcr":14'),
        WORDS.replace(b'"eventType":"phase"', b'"eventType":"phase2"', 1),
        b"",
    ],
)
def test_every_word_of_systemd_counts(words: bytes) -> None:
    assert digest_of_logs(LogWriter().log(EVENTS), words) != SAME


def test_the_values_are_those_of_the_quote() -> None:
    evidence = BOX.evidence()
    assert pcr_values(replay_quote_set(evidence.boot_log, evidence.userspace_log)) == evidence.pcrs


@given(st.text(max_size=8, alphabet=st.characters(exclude_categories=())))
def test_any_event_type_that_json_can_say_has_a_digest(kind: str) -> None:
    """Half a character too, which has no UTF-8."""
    record = userspace_record(11, "word", kind)
    assert len(digest_of_logs(LogWriter().log(EVENTS), record)) == 32


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_logs_raise_anything_else(firmware: bytes, userspace: bytes) -> None:
    for read in (digest_of_logs, replay_quote_set):
        with pytest.raises((FormatError, UnsupportedError)):
            read(b"\xff" + firmware, b"{" + userspace)
