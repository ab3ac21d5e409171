"""Vectors of ``tests/vectors/decisions/`` about a licence's terms: start, end, overage, coverage, transfer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sealwright_licensing.leases import DAY_S
from sealwright_licensing.records import (
    ActivationCodeRecord,
    DeviceRelease,
    DeviceStatus,
    License,
    Overage,
    TickLedger,
)
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.wire.lease import EndBehaviour
from sealwright_testing.decision_case import Case
from sealwright_testing.decision_scene import ENROLLED_AT, LICENSE, Scene
from sealwright_testing.evidence_factory import NOW


def terms_cases(scene: Scene) -> dict[str, Case]:
    """All of them."""
    return _transfers(scene) | _coverage(scene) | _ends(scene)


def _transfers(scene: Scene) -> dict[str, Case]:
    """A box takes another one's place; the licence has one seat."""
    one_seat = replace(LICENSE, seats=1)
    other = scene.enrolled_other(charged_ticks=10)
    code = replace(scene.code, replaces=other.device_id)
    used = 10 + 900 - 2
    ledger = TickLedger(LICENSE.license_id, other.device_id, used)
    gone = replace(other, status=DeviceStatus.RETIRED)
    lease = {"max_ticks": 5 + LICENSE.tick_budget - (LICENSE.tick_budget - 1)}

    def proof(*records: object, code_: ActivationCodeRecord = code, **expected: Any) -> Case:
        denial = expected.pop("denial", None)
        found = [scene.release, scene.pending, code_, one_seat, *records]
        return Case("licence.md 8", "prove", found, denial, expected=expected)

    return {
        "transfer-challenge": Case("licence.md 8", "challenge", [scene.release, scene.root, code, one_seat, other]),
        "transfer-without-its-code": Case(
            "licence.md 8", "challenge", [scene.release, scene.root, scene.code, one_seat, other], Code.TOO_MANY_DEVICES
        ),
        "transfer-retires-the-old": proof(other, rows={"Device": 2, "TickLedger": 1}, leases=[{"max_ticks": 5 + 864}]),
        "transfer-takes-over-what-was-used": proof(
            replace(other, charged_ticks=LICENSE.tick_budget - 900 + 2 - 1), leases=[lease]
        ),
        "transfer-takes-over-all": proof(
            replace(other, charged_ticks=LICENSE.tick_budget - 900 + 2),
            denial=Code.BUDGET_EXHAUSTED,
            rows={"Device": 1, "TickLedger": 0},
        ),
        "transfer-of-a-retired-device": proof(
            gone, replace(ledger, charged_ticks=LICENSE.tick_budget - 1), leases=[lease]
        ),
    }


def _coverage(scene: Scene) -> dict[str, Case]:
    """Shares of what a licence has come to cover."""
    device = scene.enrolled()
    had = DeviceRelease(device.device_id, scene.release.release_id, scene.unseal_pcrs, NOW - DAY_S, 0, "medical")

    def case(provisioned: DeviceRelease, license_: License, number: int, partitions: str) -> Case:
        row = {"lease_number": number, "partitions": partitions}
        return Case(
            "licence.md 6", "renew", [scene.release, license_, device, provisioned], expected={"device_release": row}
        )

    return {
        "coverage-as-before": case(had, LICENSE, 0, "medical"),
        "coverage-has-grown": case(replace(had, partitions="finance"), LICENSE, 1, "finance,medical"),
        "coverage-from-before-entitlements": case(replace(had, partitions=""), LICENSE, 1, "medical"),
    }


def _ends(scene: Scene) -> dict[str, Case]:
    """Start, end, grace and what comes after; and seats beyond the seats."""
    device, end = scene.enrolled(), "licence.md 4"
    ended = replace(LICENSE, expires_at=NOW - 60)
    kept = replace(LICENSE, expires_at=ENROLLED_AT + 1, at_end=EndBehaviour.KEEP_RELEASES)
    half = replace(LICENSE, seats=2, overage=Overage.HALF)
    taken = [scene.enrolled_other(device_id=f"device-{number}") for number in range(3)]

    def renewal(code: Code | None, license_: License, **lease: Any) -> Case:
        return Case(
            end, "renew", [scene.release, license_, device], code, expected={"leases": [lease]} if lease else {}
        )

    def challenge(code: Code | None, license_: License, *records: object, section: str = end) -> Case:
        return Case(section, "challenge", [scene.release, scene.root, scene.code, license_, *records], code)

    return {
        "end-in-grace": renewal(None, replace(ended, grace_s=61), expires_at=NOW + 1, clock_end_ms=3_601_000),
        "end-of-grace": renewal(Code.EXPIRED, replace(ended, grace_s=60)),
        "end-run-out": renewal(
            None, replace(LICENSE, expires_at=NOW + 60, at_end=EndBehaviour.RUN_OUT), expires_at=NOW + 30 * DAY_S
        ),
        "end-run-out-is-over": renewal(Code.EXPIRED, replace(ended, at_end=EndBehaviour.RUN_OUT)),
        "end-keeps-releases": renewal(None, kept, expires_at=NOW + 30 * DAY_S),
        "end-keeps-no-later-release": renewal(Code.RELEASE_NOT_ALLOWED, replace(kept, expires_at=ENROLLED_AT)),
        "end-new-device-in-grace": challenge(Code.EXPIRED, replace(ended, grace_s=61)),
        "end-new-device-where-releases-are-kept": challenge(Code.EXPIRED, kept),
        "start-is-now": challenge(None, replace(LICENSE, starts_at=NOW)),
        "boots-without-contact": Case(
            "lease.md 5",
            "renew",
            [scene.release, replace(LICENSE, boots_without_contact=7), device],
            expected={"leases": [{"max_reset_count": 12 + 7}]},
        ),
        "overage-last-is-free": challenge(None, half, *taken[:2], section="licence.md 3"),
        "overage-taken": challenge(Code.TOO_MANY_DEVICES, half, *taken, section="licence.md 3"),
        "overage-unlimited": challenge(None, replace(half, overage=Overage.UNLIMITED), *taken, section="licence.md 3"),
    }
