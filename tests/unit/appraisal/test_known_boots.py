"""Boots that are remembered: the same verdict as without, for the release that they were judged by, and a bound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from sealwright_policies.appraisal import appraise as module
from sealwright_policies.appraisal.appraise import KNOWN_BOOTS, appraise
from sealwright_policies.appraisal.known_boots import Boot, KnownBoots
from sealwright_policies.appraisal.result import AttestationResult, BootSummary, Status
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.messages import Evidence, Purpose
from sealwright_testing.evidence_factory import LICENSE_ID, NONCE, NOW, SyntheticBox, userspace_events

BOX = SyntheticBox()
GOOD = BOX.evidence()
BOOT = Boot({}, {}, (), BootSummary("", "", 0, ()), b"digest")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    KNOWN_BOOTS.clear()
    yield
    KNOWN_BOOTS.clear()


def judge(evidence: Evidence, **changes: Any) -> AttestationResult:
    arguments: dict[str, Any] = {
        "ak": BOX.public,
        "nonce": NONCE,
        "device_id": BOX.device_id,
        "license_id": LICENSE_ID,
        "release": BOX.release,
        "purpose": Purpose.RENEW,
        "now": NOW,
    }
    return appraise(evidence, **(arguments | changes))


def test_logs_that_come_again_are_not_read_again_and_show_the_same() -> None:
    first = judge(GOOD)
    with patch.object(module, "parse_event_log", side_effect=AssertionError("read again")):
        assert judge(GOOD) == first
    assert first.status is Status.AFFIRMING
    assert first.boot_logs_digest


def test_known_logs_do_not_stand_for_another_quote() -> None:
    """Whoever replays a good box's logs over the quote of his own, bad boot."""
    judge(GOOD)
    bad = BOX.evidence(pcrs={9: bytes(32)}, boot_log=GOOD.boot_log)

    assert RejectionCode.EVENT_LOG_REPLAY_MISMATCH in judge(bad).codes


def test_known_logs_are_judged_anew_for_another_release() -> None:
    judge(GOOD)
    manifest = BOX.release.manifest
    measurements = manifest.measurements.model_copy(update={"pcr9_events": ["0" * 64]})
    other = replace(BOX.release, manifest=manifest.model_copy(update={"measurements": measurements}))

    assert judge(GOOD, release=other).status is Status.CONTRAINDICATED
    assert judge(GOOD).status is Status.AFFIRMING


def test_logs_with_which_something_is_wrong_are_not_remembered() -> None:
    bad = BOX.evidence(userspace=[*userspace_events(), (12, "something")])
    assert judge(bad).status is Status.CONTRAINDICATED
    assert len(KNOWN_BOOTS) == 0


def test_the_one_unused_for_longest_is_forgotten_first() -> None:
    known = KnownBoots(most=2)
    for log in (b"1", b"2"):
        known.keep(log, b"", BOX.release, BOOT)
    assert known.find(b"1", b"", BOX.release) is BOOT
    known.keep(b"3", b"", BOX.release, BOOT)

    assert len(known) == 2
    assert known.find(b"2", b"", BOX.release) is None
    assert known.find(b"1", b"", BOX.release) is BOOT


def test_both_logs_count() -> None:
    known = KnownBoots()
    known.keep(b"12", b"3", BOX.release, BOOT)
    assert known.find(b"1", b"23", BOX.release) is None
    assert known.find(b"12", b"", BOX.release) is None
