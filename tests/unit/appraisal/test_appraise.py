"""The appraisal as a whole: what a result holds, and that altered evidence is never affirmed.

Each rule has its vectors in ``tests/vectors/appraisal``.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sealwright_policies.appraisal.appraise import appraise, unseal_point
from sealwright_policies.appraisal.boot_ways import CALLING_EFI_APPLICATION
from sealwright_policies.appraisal.clock import DeviceBaseline
from sealwright_policies.appraisal.measurements import ZERO
from sealwright_policies.appraisal.reference_values import UNSEAL_SET, ProductVersion, version_key
from sealwright_policies.appraisal.release import find_release
from sealwright_policies.appraisal.result import AttestationResult, Status, describe, to_ear
from sealwright_policies.errors import RejectionCode, SealwrightError, VerificationError
from sealwright_policies.tcg.eventlog import EventType, parse_event_log, parse_userspace_log
from sealwright_policies.wire.encoding import Document
from sealwright_policies.wire.messages import Evidence, Purpose
from sealwright_testing.event_logs import LoggedEvent, LogWriter
from sealwright_testing.evidence_factory import LICENSE_ID, NONCE, NOW, SyntheticBox, userspace_events

BOX = SyntheticBox()
GOOD = BOX.evidence()


def judge(evidence: Evidence = GOOD, **changes: Any) -> AttestationResult:
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


def test_a_box_as_it_should_be_is_affirmed_with_what_the_service_needs() -> None:
    result = judge()

    assert result.status is Status.AFFIRMING
    assert result.reading is not None
    assert (result.reading.clock_ms, result.reading.ticks, result.reading.lease_number) == (3_600_000, 40, 3)
    assert result.lease_counter_name.hex() == BOX.counter_names.lease
    assert result.baseline is not None
    assert set(result.baseline.pinned) == {0, 2, 3}
    assert result.baseline.pinned[0] == result.pcrs[0]
    result.require_affirming()


def test_its_own_baseline_affirms_the_next_evidence() -> None:
    assert judge(baseline=judge().baseline).status is Status.AFFIRMING


def test_the_unseal_values_are_of_the_moment_of_unsealing_not_of_the_quote() -> None:
    result = judge()
    manifest = BOX.release.manifest.measurements

    assert tuple(sorted(result.unseal_pcrs)) == UNSEAL_SET
    assert result.unseal_pcrs[11].hex() == manifest.boot_phases.unseal != result.pcrs[11].hex()
    assert result.unseal_pcrs[15] == ZERO != result.pcrs[15]
    assert {pcr: result.unseal_pcrs[pcr] for pcr in (0, 2, 4, 7)} == {pcr: result.pcrs[pcr] for pcr in (0, 2, 4, 7)}
    assert unseal_point(parse_event_log(GOOD.boot_log), BOX.release) == result.unseal_pcrs


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": bytes(32)},
        {"device_id": "b" * 52},
        {"license_id": "license-2"},
        {"purpose": Purpose.ENROLL},
        {"release": SyntheticBox(keys=BOX.keys, manifest_changes={"vendor": "Other"}).release},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_evidence_for_something_else_is_refused(changes: dict[str, Any]) -> None:
    assert judge(**changes).codes == (RejectionCode.QUALIFYING_DATA_MISMATCH,)


def test_evidence_of_another_device_is_refused() -> None:
    assert judge(ak=SyntheticBox(keys=BOX.keys).public).codes == (RejectionCode.SIGNATURE_INVALID,)


def test_without_a_verified_quote_nothing_unverified_is_in_the_result() -> None:
    result = judge(nonce=bytes(32))

    assert (result.reading, result.boot, result.baseline) == (None, None, None)
    assert (dict(result.pcrs), dict(result.unseal_pcrs)) == ({}, {})


def test_a_refused_result_holds_no_values_to_go_on_with() -> None:
    result = judge(BOX.evidence(userspace=userspace_events(closing=())))

    assert result.status is Status.CONTRAINDICATED
    assert (result.baseline, dict(result.unseal_pcrs)) == (None, {})


def test_a_refusal_raises_its_first_code_and_carries_all() -> None:
    box_time_travel = DeviceBaseline(99, 0, 0, 99, 0)

    with pytest.raises(VerificationError) as caught:
        judge(baseline=box_time_travel).require_affirming()

    assert caught.value.code is RejectionCode.ROLLED_BACK
    assert len(caught.value.details["mismatches"]) == 2
    assert json.dumps(caught.value.details["mismatches"])


def test_a_mismatch_names_event_expectation_and_finding_in_a_sentence() -> None:
    started = LoggedEvent(4, EventType.EV_EFI_BOOT_SERVICES_APPLICATION, b"shell")
    result = judge(BOX.evidence(events=[*BOX.boot_events(), started]))

    (mismatch,) = result.mismatches
    assert (
        parse_event_log(BOX.evidence(events=[*BOX.boot_events(), started]).boot_log)
        .events[mismatch.event_index or 0]
        .data
        == b"shell"
    )
    assert mismatch.expected == "no further event"
    assert mismatch.found == started.digest(0x000B).hex()
    assert (
        f"event {mismatch.event_index} of the boot log, PCR 4: The firmware started a boot application"
        in describe(result)[1]
    )


def test_a_result_is_told_in_words_and_as_an_ear() -> None:
    lines = describe(judge())
    ear = to_ear(judge())

    assert lines[0].startswith("affirming: synthetic-box 1.2.0")
    assert any("Secure Boot is on" in line for line in lines)
    assert json.loads(json.dumps(ear))["submods"]["box"]["ear.status"] == "affirming"
    against = to_ear(judge(version_floor="9"))["submods"]
    assert against["box"]["ear.trustworthiness-vector"]["configuration"] == 96  # type: ignore[index]


@pytest.mark.parametrize(
    ("action", "status"),
    [(CALLING_EFI_APPLICATION, Status.AFFIRMING), (b"Entering ROM Based Setup", Status.CONTRAINDICATED)],
)
def test_an_application_may_be_called_in_pcr_5_and_nothing_else(action: bytes, status: Status) -> None:
    """As ThinkPads measure it. PCR 5 is reported, not pinned; what runs is PCR 4's to say."""
    events = BOX.boot_events()
    place = next(at for at, event in enumerate(events) if event.pcr == 5)
    events.insert(place, LoggedEvent(5, EventType.EV_EFI_ACTION, action))
    assert judge(BOX.evidence(events=events)).status is status


def test_changed_settings_and_lost_time_are_noted() -> None:
    held = DeviceBaseline(11, 0, 4_000_000, 0, 0, reported={5: ZERO})

    result = judge(baseline=held)

    assert result.status is Status.AFFIRMING
    assert result.clock_loss_ms == 400_000
    assert [note.split()[0] for note in result.notes] == ["A", "The", "PCR"]


@pytest.mark.parametrize(("lower", "higher"), [("1.9", "1.10"), ("1", "1.0.0.1"), ("0.9", "1")])
def test_versions_compare_by_number(lower: str, higher: str) -> None:
    assert version_key(lower) < version_key(higher)
    assert version_key("1.2") == version_key("1.2.0")


@pytest.mark.parametrize("text", ["", "1.", "1.x", "1.2.3.4.5", "-1", "9" * 5000])
def test_what_does_not_compare_by_number_is_no_version(text: str) -> None:
    """Python refuses to read 5000 digits as a number."""
    with pytest.raises(ValidationError):
        TypeAdapter(ProductVersion).validate_python(text)


def test_an_unknown_release_is_refused() -> None:
    known = {BOX.release.release_id: BOX.release}

    assert find_release(BOX.release.release_id, known) is BOX.release
    with pytest.raises(VerificationError) as caught:
        find_release("00" * 32, known)
    assert caught.value.code is RejectionCode.RELEASE_UNKNOWN


def meaning(evidence: Evidence) -> object:
    """All that a signature covers, directly or through a PCR."""
    boot = [(e.pcr, e.digests.get(0x000B)) for e in parse_event_log(evidence.boot_log).events if e.extends]
    userspace = [(e.pcr, e.digests.get(0x000B)) for e in parse_userspace_log(evidence.userspace_log)]
    statements = [
        (each.attest, each.signature) for each in (evidence.quote, evidence.tick_counter, evidence.lease_counter)
    ]
    return boot, userspace, statements, evidence.pcrs, evidence.payload


def changed_bytes(raw: bytes, data: st.DataObject) -> bytes:
    start = data.draw(st.integers(0, len(raw)))
    removed = data.draw(st.integers(0, 8))
    return raw[:start] + data.draw(st.binary(max_size=8)) + raw[start + removed :]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_altered_evidence_is_never_affirmed_unless_it_means_the_same(data: st.DataObject) -> None:
    """Any bytes of any field changed: our errors, a refusal, or the same digests in the same order."""
    members: dict[str, Any] = {
        name: dict(value) if isinstance(value, Document | dict) else value for name, value in GOOD
    }
    name = data.draw(st.sampled_from(sorted(members)))
    if name == "pcrs":
        pcr = data.draw(st.sampled_from(sorted(members["pcrs"])))
        members["pcrs"][pcr] = data.draw(st.binary(min_size=32, max_size=32)).hex()
    elif isinstance(members[name], dict):
        part = data.draw(st.sampled_from(sorted(members[name])))
        members[name][part] = changed_bytes(members[name][part], data)
    else:
        members[name] = changed_bytes(members[name], data)
    altered = Evidence(**members)
    try:
        result = judge(altered)
    except SealwrightError:
        return
    assert result.status is Status.CONTRAINDICATED or meaning(altered) == meaning(GOOD)


EVENTS = st.builds(
    LoggedEvent,
    pcr=st.integers(0, 23),
    type=st.sampled_from([int(each) for each in EventType]) | st.integers(0, 2**32 - 1),
    data=st.binary(max_size=64),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=3), st.integers(0, 60))
def test_what_was_measured_beside_a_good_boot_is_never_overlooked(extra: list[LoggedEvent], place: int) -> None:
    """Whatever else was measured and logged: it is refused, or it is of a kind that PCR 0 to 3, 5 and 6 may hold."""
    events = BOX.boot_events()
    result = judge(BOX.evidence(events=[*events[:place], *extra, *events[place:]]))

    extending = [event for event in extra if event.type != EventType.EV_NO_ACTION]
    assert result.status is Status.CONTRAINDICATED or all(event.pcr in (0, 1, 2, 3, 5, 6) for event in extending)


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, max_size=12))
def test_any_log_is_judged_without_an_error_of_another_kind(events: list[LoggedEvent]) -> None:
    assert judge(BOX.evidence(boot_log=LogWriter().log(events))).status is Status.CONTRAINDICATED
