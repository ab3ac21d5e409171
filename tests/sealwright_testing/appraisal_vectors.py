"""Writes the vectors of ``tests/vectors/appraisal/``: evidence that is as it should be, and broken in one thing each.

Run ``python -m sealwright_testing.appraisal_vectors tests/vectors/appraisal`` after a change of rules or formats: it
draws new keys and writes every vector anew. What each must come to is written here by hand, never taken from a run.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.clock import DeviceBaseline
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.encoding import pcr_values
from sealwright_policies.wire.framing import UNLOCKED_WORD
from sealwright_policies.wire.messages import Evidence
from sealwright_testing.appraisal_boot_cases import firmware_cases, release_cases, secure_boot_cases
from sealwright_testing.appraisal_case import Case, hidden, plain, said
from sealwright_testing.appraisal_variant_cases import variant_cases
from sealwright_testing.event_logs import LoggedEvent, LogWriter
from sealwright_testing.evidence_factory import (
    LEASE_INDEX,
    LICENSE_ID,
    NONCE,
    NOW,
    PHASES,
    TICK_INDEX,
    SyntheticBox,
    userspace_events,
    userspace_record,
)
from sealwright_testing.software_tpm import RH_OWNER, Clock, SoftwareAk

COMMON = "common"
HELD = DeviceBaseline(reset_count=11, restart=2, clock_ms=3_000_000, ticks=38, lease_number=3)


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
                boot_log=LogWriter().log([LoggedEvent(0, EventType.EV_POST_CODE, b"invented"), *box.boot_events()])
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
        | variant_cases()
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
        "variants": case.variants(box).decode() if case.variants else None,
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
