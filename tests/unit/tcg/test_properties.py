"""Whatever the bytes: parsers raise the errors they promise and no others, and what they accept, they read back."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwright_policies.cli_quote_files import parse_pcr_values
from sealwright_policies.errors import SealwrightError
from sealwright_policies.tcg import eventlog, events
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.attest import parse_attest
from sealwright_policies.tcg.device_path import device_path_text
from sealwright_policies.tcg.event_text import describe_event, text_or_hex
from sealwright_policies.tcg.eventlog import Event, EventType, parse_event_log
from sealwright_policies.tcg.foreign_logs import refuse_foreign_log
from sealwright_policies.tcg.nv import counter_public, parse_nv_public
from sealwright_policies.tcg.public import parse_public, parse_public_2b
from sealwright_policies.tcg.signature import parse_signature
from sealwright_policies.tcg.userspacelog import parse_userspace_log
from sealwright_testing.attestations import AttestFields, SoftwareAk, quote_bytes
from sealwright_testing.event_logs import LoggedEvent, LogWriter, replay, separator, sha1_log, startup_locality

AK = SoftwareAk()
QUOTE = quote_bytes(AttestFields(AK.qualified_name, bytes(32)), {0: bytes(32), 7: bytes(32)})
RECORD = {
    "pcr": 11,
    "digests": [{"hashAlg": "sha256", "digest": "00" * 32}],
    "content_type": "systemd",
    "content": {"eventType": "phase", "string": "sysinit"},
}
LOG = LogWriter((AlgorithmId.SHA1, AlgorithmId.SHA256)).log([startup_locality(3), *map(separator, range(8))])


def replay_all(data: bytes) -> None:
    """Parse, describe and replay a log."""
    log = parse_event_log(data)
    for event in log.events:
        json.dumps(describe_event(event))
    for bank in log.banks:
        log.missing(bank)
        log.replay(bank)


def read_key(data: bytes) -> None:
    """Parse a public area and use it."""
    public = parse_public(data)
    _ = public.name
    public.key()


PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "attest": (parse_attest, QUOTE),
    "signature": (parse_signature, AK.sign(QUOTE)),
    "public": (read_key, AK.public.area),
    "public_2b": (parse_public_2b, AK.public.area_2b),
    "nv_public": (parse_nv_public, counter_public(0x01C10200, written=True).area),
    "event log": (replay_all, LOG),
    "SHA-1 event log": (replay_all, sha1_log(map(separator, range(8)))),
    "userspace log": (parse_userspace_log, b"\x1e" + json.dumps(RECORD).encode() + b"\n"),
    "UEFI variable": (events.parse_uefi_variable, bytes(16) + b"\2" + bytes(7) + b"\1" + bytes(7) + b"d\0b\0\1"),
    "image load": (events.parse_image_load, bytes(24) + b"\4" + bytes(7) + b"\x7f\xff\4\0"),
    "tagged event": (events.parse_tagged_event, b"\xec\x22\x3b\x8f\2\0\0\0ab"),
    "GPT event": (events.parse_gpt_event, b"EFI PART" + bytes(76) + b"\x80" + bytes(7) + b"\1" + bytes(7 + 128)),
    "firmware blob": (events.parse_firmware_blob, bytes(16)),
    "described firmware blob": (events.parse_firmware_blob2, b"\2ab" + bytes(16)),
    "signature lists": (events.parse_signature_lists, bytes(16) + b"\x2d\0\0\0\0\0\0\0\x11\0\0\0" + bytes(17)),
    "log of another kind": (refuse_foreign_log, bytes(8) + b"\x11" * 16 + b"\6\0\0\0im-ang" + bytes(40)),
    "PCR values": (
        lambda data: parse_pcr_values(data, AlgorithmId.SHA256),
        json.dumps({"pcrs": {"sha256": {"0": "00" * 32}}}).encode(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PARSERS)
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    parser, _ = PARSERS[name]
    with contextlib.suppress(SealwrightError):
        parser(data)


@pytest.mark.parametrize("name", PARSERS)
def test_bent_bytes(name: str) -> None:
    """A bounded fuzz loop over good input: bytes changed, cut out, doubled; always the same seed."""
    parser, good = PARSERS[name]
    source = random.Random(20261123)
    for _ in range(1500):
        data = bytearray(good)
        for _ in range(source.randrange(1, 5)):
            position = source.randrange(len(data) + 1)
            match source.randrange(4):
                case 0:
                    data[position : position + 1] = bytes((source.randrange(256),))
                case 1:
                    del data[position : position + source.randrange(1, 9)]
                case 2:
                    data[position:position] = data[position : position + source.randrange(1, 40)]
                case _:
                    data[position : position + 4] = source.choice((b"\xff" * 4, bytes(4), b"\0\0\0\x80", b"\x01\0\0\0"))
        try:
            parser(bytes(data))
        except SealwrightError:
            continue


NO_END = {"event log", "SHA-1 event log", "userspace log", "log of another kind"}
"""Logs may end after any whole event; the vectors cut them elsewhere. The last only looks how a file begins."""


@pytest.mark.parametrize("name", sorted(set(PARSERS) - NO_END))
def test_every_truncation_is_refused(name: str) -> None:
    """All of these structures know their end."""
    parser, good = PARSERS[name]
    parser(good)
    for length in range(len(good)):
        if length == 0 and name == "signature lists":
            continue
        with pytest.raises(SealwrightError):
            parser(good[:length])


@pytest.mark.parametrize(
    "name", ["attest", "signature", "public", "public_2b", "nv_public", "UEFI variable", "tagged event"]
)
def test_a_trailing_byte_is_refused(name: str) -> None:
    parser, good = PARSERS[name]
    with pytest.raises(SealwrightError):
        parser(good + b"\0")


@given(data=st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_text_for_people_never_fails(data: bytes) -> None:
    """Descriptions are best effort for every type, and are JSON."""
    device_path_text(data)
    json.dumps(text_or_hex(data))
    for event_type in EventType:
        json.dumps(describe_event(Event(0, 0, event_type, {}, data)))


def logged_events(banks: tuple[int, ...]) -> st.SearchStrategy[list[LoggedEvent]]:
    types = st.sampled_from([kind for kind in EventType if kind is not EventType.EV_EFI_HCRTM_EVENT])
    event = st.builds(LoggedEvent, pcr=st.integers(0, 23), type=types, data=st.binary(max_size=64))
    return st.lists(event.map(lambda each: replace(each, digests=None)), max_size=20)


@given(listed=logged_events((AlgorithmId.SHA1, AlgorithmId.SHA256)), locality=st.sampled_from([0, 3, 4]))
@settings(max_examples=100, deadline=None)
def test_a_written_log_is_read_and_replayed(listed: list[LoggedEvent], locality: int) -> None:
    """Any log that the writer writes comes back event by event, and its replay is the writer's."""
    listed = [each for each in listed if not each.data.startswith(b"StartupLocality\0")]
    writer = LogWriter((AlgorithmId.SHA1, AlgorithmId.SHA256))
    log = parse_event_log(writer.log([startup_locality(locality), *listed]))
    assert [(e.pcr, e.type, e.data) for e in log.events[2:]] == [(e.pcr, e.type, e.data) for e in listed]
    for bank in (AlgorithmId.SHA1, AlgorithmId.SHA256):
        assert log.replay(bank) == replay(listed, bank, locality=locality)
        assert log.missing(bank) == ()


def parsed_or_refused(data: bytes) -> object:
    """The log, or why it is none."""
    try:
        return parse_event_log(data)
    except SealwrightError as error:
        return str(error)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(LOG) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(LOG)))
def test_events_read_at_one_go_are_those_read_field_by_field(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(LOG)
    for position, value in changes:
        data[position] = value
    cut = bytes(data[: end or None])
    at_one_go = parsed_or_refused(cut)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eventlog, "_read_usual_events", lambda _data, offset, _events, _banks: offset)
        assert parsed_or_refused(cut) == at_one_go
