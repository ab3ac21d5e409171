"""systemd's measurement log."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.eventlog import parse_userspace_log

PHASES = ("enter-initrd", "leave-initrd", "sysinit")


def record(string: str, **changes: Any) -> bytes:
    entry = {
        "pcr": 11,
        "digests": [
            {"hashAlg": "sha1", "digest": hashlib.sha1(string.encode()).hexdigest()},
            {"hashAlg": "sha256", "digest": hashlib.sha256(string.encode()).hexdigest()},
        ],
        "content_type": "systemd",
        "content": {"eventType": "phase", "string": string, "bootId": "0" * 32, "timestamp": 12345},
    } | changes
    return b"\x1e" + json.dumps(entry).encode() + b"\n"


LOG = b"".join(map(record, PHASES))


def test_the_records_are_read_in_order() -> None:
    log = parse_userspace_log(LOG)
    assert [(event.pcr, event.event_type, event.string) for event in log] == [(11, "phase", p) for p in PHASES]
    assert not log.truncated


def test_an_empty_log_has_no_events() -> None:
    """Nothing was measured yet."""
    assert len(parse_userspace_log(b"")) == 0


def test_replay_goes_on_from_the_firmware_log() -> None:
    start = {11: b"\x11" * 32, 4: b"\x44" * 32}
    value = start[11]
    for phase in PHASES:
        value = hashlib.sha256(value + hashlib.sha256(phase.encode()).digest()).digest()
    assert parse_userspace_log(LOG).replay(AlgorithmId.SHA256, start) == {11: value, 4: start[4]}


@pytest.mark.parametrize("cut", range(1, len(record("sysinit"))))
def test_a_last_record_cut_off_is_left_out_and_reported(cut: int) -> None:
    """The box was reset, or the log was read, while systemd wrote."""
    log = parse_userspace_log(LOG[:-cut])
    assert len(log) == len(PHASES) - 1
    # Of the last record nothing may be left but its separator, which is a record not begun.
    assert log.truncated == (cut != len(record("sysinit")) - 1)


def test_a_broken_record_before_the_last_is_malformed() -> None:
    """Only the end may be missing: a hole in the middle is damage."""
    with pytest.raises(FormatError):
        parse_userspace_log(record("enter-initrd")[:-20] + record("sysinit"))


def test_a_record_without_pcr_extends_none() -> None:
    """An NV index was extended instead."""
    log = parse_userspace_log(record("x", pcr=None))
    assert log.events[0].pcr is None
    assert log.replay() == {}


@pytest.mark.parametrize(
    "data",
    [
        b"no separator\n",
        b"\x1e[]\n",
        b"\x1e{}\n",
        b"\x1e\xff\n",
        b"\x1e" + b"[" * 100_000 + b"\n",
        b"\x1e" + b"9" * 5000 + b"\n",
        record("x", pcr=24),
        record("x", pcr=-1),
        record("x", pcr=True),
        record("x", pcr="11"),
        record("x", pcr=11.0),
        record("x", digests={}),
        record("x", digests=["00"]),
        record("x", digests=[{"hashAlg": "sha256", "digest": "00"}]),
        record("x", digests=[{"hashAlg": "sha256", "digest": "zz" * 32}]),
        record("x", digests=[{"hashAlg": "sha256", "digest": "00" * 32}] * 2),
        record("x", digests=[{"hashAlg": 11, "digest": "00" * 32}]),
        record("x", content=None),
        record("x", content={"eventType": 1}),
        b'\x1e{"pcr": 11, "pcr": 12, "digests": [], "content": {}}\n',
        b'\x1e{"pcr": NaN, "digests": [], "content": {}}\n',
        record("x") * 20_000,
        b"\x1e\n" * 20_000,
        b" " * (5 << 20),
    ],
)
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_userspace_log(data)


def test_a_bank_of_an_unknown_hash_is_passed_over() -> None:
    """systemd measures into every active bank, whatever it is."""
    digests = [{"hashAlg": "whirlpool", "digest": "00" * 64}, {"hashAlg": "sha256", "digest": "11" * 32}]
    assert parse_userspace_log(record("x", digests=digests)).events[0].digests == {AlgorithmId.SHA256: b"\x11" * 32}
