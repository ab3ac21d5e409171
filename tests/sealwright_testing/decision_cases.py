"""The vectors of ``tests/vectors/decisions/``: each a change of an ordinary scene, and what it must come to.

Nearly every denial stands beside the grant that it is one step away from, so a rule that denies everything fails too.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

from sealwright_licensing.enrollment_opening import MOST_PENDING_PER_CODE
from sealwright_licensing.leases import DAY_S
from sealwright_licensing.records import (
    ClockSighting,
    DeviceRelease,
    DeviceStatus,
    LicenseStatus,
    NextNonce,
    RenewalReply,
    SpentNonce,
    TickLedger,
)
from sealwright_policies.errors import RejectionCode as Code
from sealwright_testing.decision_case import Case
from sealwright_testing.decision_scene import LICENSE, Scene
from sealwright_testing.decision_terms_cases import terms_cases
from sealwright_testing.evidence_factory import NOW

RIGHTS = "decisions.md 2"
WITHOUT_RIGHTS: dict[str, tuple[Any, Code]] = {
    "license-revoked": (replace(LICENSE, status=LicenseStatus.REVOKED), Code.REVOKED),
    "license-suspended": (replace(LICENSE, status=LicenseStatus.SUSPENDED), Code.SUSPENDED),
    "license-begins-next-second": (replace(LICENSE, starts_at=NOW + 1), Code.NOT_YET_VALID),
    "license-ends-now": (replace(LICENSE, expires_at=NOW), Code.EXPIRED),
    "license-for-other-tier": (replace(LICENSE, tiers="discrete,firmware"), Code.TIER_NOT_ALLOWED),
    "license-for-other-product": (replace(LICENSE, product="another"), Code.RELEASE_NOT_ALLOWED),
    "license-with-higher-floor": (replace(LICENSE, version_floor="99"), Code.VERSION_BELOW_FLOOR),
    "license-for-other-payload": (replace(LICENSE, partitions="finance"), Code.NOT_ENTITLED),
    "license-for-other-domain": (replace(LICENSE, domains="finance"), Code.NOT_ENTITLED),
}
"""Licences under which neither an enrolment nor a renewal is granted."""


def cases(scene: Scene) -> dict[str, Case]:
    """All of them."""
    enrollments = _challenges(scene) | _seats(scene) | _proofs(scene)
    renewals = _renewals(scene) | _older_releases(scene) | _nonces(scene) | _clocks(scene)
    return enrollments | renewals | terms_cases(scene)


def _lease(number: int) -> dict[str, Any]:
    """The ordinary one."""
    return {
        "number": number,
        "clock_end_ms": 3_600_000 + 30 * DAY_S * 1000,
        "max_reset_count": 12 + 120,
        "max_ticks": 5 + 864,
    }


def _challenges(scene: Scene) -> dict[str, Case]:
    base = [scene.release, scene.root]

    def case(code: Code | None, *records: object, section: str = RIGHTS, **changes: Any) -> Case:
        pending = 0 if code else 1
        return Case(
            section, "challenge", [*base, *records], code, expected={"rows": {"PendingEnrollment": pending}}, **changes
        )

    def without_root(code: Code, *records: object) -> Case:
        return Case("enrollment.md 2", "challenge", [scene.release, *records], code)

    own = [scene.spent(), scene.enrolled(), scene.reply()]
    testing, test_id = replace(LICENSE, allow_test_images=True), {"release_id": scene.test_release.release_id}
    open_now = [replace(scene.pending, enrollment_id=f"open-{number}") for number in range(MOST_PENDING_PER_CODE)]
    over = [replace(one, expires_at=NOW - 1) for one in open_now]
    denials = {
        f"challenge-{name}": case(code, license_, scene.code) for name, (license_, code) in WITHOUT_RIGHTS.items()
    }
    return denials | {
        "challenge-granted": case(None, LICENSE, scene.code),
        "challenge-license-ends-next-second": case(None, replace(LICENSE, expires_at=NOW + 1), scene.code),
        "challenge-code-unknown": case(Code.ACTIVATION_CODE_INVALID, LICENSE),
        "challenge-code-of-no-license": case(Code.ACTIVATION_CODE_INVALID, scene.code),
        "challenge-code-spent-by-this-tpm": case(None, LICENSE, *own, section="enrollment.md 5"),
        "challenge-code-spent-by-other-tpm": case(
            Code.ACTIVATION_CODE_INVALID,
            *[LICENSE, scene.spent(), scene.enrolled_other(), scene.reply(device_id=scene.other.device_id)],
        ),
        "challenge-code-spent-by-other-ak": case(
            Code.ACTIVATION_CODE_INVALID,
            *[LICENSE, scene.spent(), scene.enrolled(), scene.reply(ak_public=scene.other.ak.public_area)],
        ),
        "challenge-code-spent-fifteen-days-ago": case(
            Code.ACTIVATION_CODE_INVALID,
            *[LICENSE, scene.spent(), scene.enrolled(), scene.reply(expires_at=NOW - 1)],
            section="enrollment.md 5",
        ),
        "challenge-release-unknown": Case(RIGHTS, "challenge", [scene.root, LICENSE, scene.code], Code.RELEASE_UNKNOWN),
        "challenge-release-withdrawn": Case(
            RIGHTS,
            "challenge",
            [replace(scene.release, withdrawn=True), scene.root, LICENSE, scene.code],
            Code.RELEASE_NOT_ALLOWED,
        ),
        "challenge-test-image": case(
            Code.RELEASE_NOT_ALLOWED, scene.test_release, LICENSE, scene.code, message=test_id
        ),
        "challenge-test-image-allowed": case(None, scene.test_release, testing, scene.code, message=test_id),
        "challenge-maker-unknown": without_root(Code.EK_CHAIN_INVALID, LICENSE, scene.code),
        "challenge-too-many-open": Case(
            RIGHTS, "challenge", [*base, LICENSE, scene.code, *open_now], Code.RATE_LIMITED
        ),
        "challenge-one-more-may-be-open": Case(RIGHTS, "challenge", [*base, LICENSE, scene.code, *open_now[1:]]),
        "challenge-open-ones-are-over": case(None, LICENSE, scene.code, *over, section="enrollment.md 3"),
    }


def _seats(scene: Scene) -> dict[str, Case]:
    one_seat = replace(LICENSE, seats=1)
    other_license = replace(LICENSE, license_id="license-2")
    taken = Code.TOO_MANY_DEVICES
    foreign = scene.enrolled_other(license_id="license-2")

    def case(code: Code | None, *records: object) -> Case:
        return Case(RIGHTS, "challenge", [scene.release, scene.root, scene.code, *records], code)

    return {
        "seats-taken": case(taken, one_seat, scene.enrolled_other()),
        "seats-taken-by-held-device": case(taken, one_seat, scene.enrolled_other(status=DeviceStatus.HELD)),
        "seats-last-is-free": case(None, LICENSE, scene.enrolled_other()),
        "seats-of-other-license": case(None, one_seat, other_license, foreign),
        "seats-of-retired-device": case(None, one_seat, scene.enrolled_other(status=DeviceStatus.RETIRED)),
        "tpm-enrolled-under-other-license": case(taken, LICENSE, other_license, scene.enrolled(license_id="license-2")),
        "tpm-enrolled-by-other-ek-same-ak": case(
            taken, LICENSE, other_license, replace(foreign, ak_public=scene.pending.ak_public)
        ),
        "tpm-enrolled-by-other-ek-same-srk": case(
            taken, LICENSE, other_license, replace(foreign, srk_public=scene.pending.srk_public)
        ),
        "tpm-retired": case(None, LICENSE, scene.enrolled(status=DeviceStatus.RETIRED)),
    }


def _proofs(scene: Scene) -> dict[str, Case]:
    base = [scene.release, scene.code, scene.pending]
    kept = [LICENSE, scene.release, scene.spent(), scene.reply()]
    released = DeviceRelease(scene.device.device_id, scene.release.release_id, scene.unseal_pcrs, NOW, 0)
    repeated = {"reply": base64.b64encode(scene.reply().reply).decode()}
    wrong = {"secret": base64.b64encode(bytes(32)).decode()}
    used_up = TickLedger(LICENSE.license_id, scene.device.device_id, LICENSE.tick_budget)
    other_used_up = replace(used_up, device_id=scene.other.device_id)
    same_tpm = scene.enrolled_other(status=DeviceStatus.RETIRED, ak_public=scene.pending.ak_public)
    lease = _lease(1)

    def case(code: Code | None, *records: object, section: str = "enrollment.md 4", **changes: Any) -> Case:
        return Case(section, "prove", records, code, **changes)

    denials = {
        f"proof-{name}": case(code, *base, license_, section=RIGHTS, expected={"rows": {"Device": 0}})
        for name, (license_, code) in WITHOUT_RIGHTS.items()
    }
    return denials | {
        "proof-granted": case(
            None, *base, LICENSE, expected={"leases": [lease], "rows": {"Device": 1, "PendingEnrollment": 0}}
        ),
        "proof-release-not-logged": case(
            Code.RELEASE_NOT_LOGGED,
            *[*base, LICENSE],
            section=RIGHTS,
            is_logged=False,
            expected={"rows": {"Device": 0}},
        ),
        "proof-in-the-last-second": case(None, *base, LICENSE, now=NOW + 600),
        "proof-late": case(Code.ENROLLMENT_EXPIRED, *base, LICENSE, now=NOW + 601, section="enrollment.md 3"),
        "proof-of-no-enrolment": case(Code.ENROLLMENT_EXPIRED, *base[:2], LICENSE),
        "proof-with-other-secret": case(Code.CREDENTIAL_SECRET_MISMATCH, *base, LICENSE, message=wrong),
        "proof-license-gone": case(Code.LICENSE_UNKNOWN, *base, section=RIGHTS),
        "proof-release-withdrawn": case(
            Code.RELEASE_NOT_ALLOWED, LICENSE, *base[1:], replace(scene.release, withdrawn=True), section=RIGHTS
        ),
        "proof-code-spent-meanwhile": case(
            Code.ACTIVATION_CODE_INVALID,
            *[LICENSE, scene.release, scene.pending, scene.spent("enrollment-2"), scene.enrolled_other()],
            section="enrollment.md 5",
        ),
        "proof-seat-taken-meanwhile": case(
            Code.TOO_MANY_DEVICES, *base, replace(LICENSE, seats=1), scene.enrolled_other(), section="enrollment.md 5"
        ),
        "proof-budget-used-up-before": case(Code.BUDGET_EXHAUSTED, *base, LICENSE, used_up, section="lease.md 5"),
        "proof-budget-used-up-by-other-ek": case(
            Code.BUDGET_EXHAUSTED, *base, LICENSE, same_tpm, other_used_up, section="lease.md 5"
        ),
        "proof-one-tick-left": case(
            None,
            *[*base, LICENSE, replace(used_up, charged_ticks=LICENSE.tick_budget - 1)],
            section="lease.md 5",
            expected={"leases": [lease | {"max_ticks": 6}]},
        ),
        "proof-repeated": case(None, *kept, released, scene.enrolled(), section="enrollment.md 5", expected=repeated),
        "proof-repeated-with-other-secret": case(
            Code.CREDENTIAL_SECRET_MISMATCH, *kept, scene.enrolled(), message=wrong, section="enrollment.md 5"
        ),
        "proof-repeated-late": case(
            Code.ENROLLMENT_EXPIRED, *kept, scene.enrolled(), now=NOW + DAY_S + 1, section="enrollment.md 5"
        ),
        "proof-repeated-by-held-device": case(
            Code.ROLLED_BACK, *kept, scene.enrolled(status=DeviceStatus.HELD), section="enrollment.md 5"
        ),
        "proof-repeated-by-retired-device": case(
            Code.DEVICE_UNKNOWN, *kept, scene.enrolled(status=DeviceStatus.RETIRED), section="enrollment.md 5"
        ),
        "proof-repeated-release-withdrawn": case(
            Code.RELEASE_NOT_ALLOWED,
            *[
                LICENSE,
                scene.spent(),
                scene.reply(),
                released,
                scene.enrolled(),
                replace(scene.release, withdrawn=True),
            ],
            section="enrollment.md 5",
        ),
    }


def _renewals(scene: Scene) -> dict[str, Case]:
    device = scene.enrolled()
    used_up = replace(device, charged_ticks=LICENSE.tick_budget - 3)

    def case(code: Code | None, *records: object, section: str = RIGHTS, **changes: Any) -> Case:
        return Case(section, "renew", [scene.release, *records], code, **changes)

    denials = {f"renewal-{name}": case(code, license_, device) for name, (license_, code) in WITHOUT_RIGHTS.items()}
    return denials | {
        "renewal-granted": case(
            None,
            LICENSE,
            device,
            section="renewal.md 2",
            expected={"leases": [_lease(2)], "device": {"ticks": 5, "clock_ms": 3_600_000, "granted_ticks": 900}},
        ),
        "renewal-release-not-logged": case(Code.RELEASE_NOT_LOGGED, LICENSE, device, is_logged=False),
        "renewal-ends-with-license": case(
            None,
            *[replace(LICENSE, expires_at=NOW + 60), device],
            section="lease.md 5",
            expected={
                "leases": [{"expires_at": NOW + 60, "clock_end_ms": 3_660_000, "max_reset_count": 62, "max_ticks": 80}]
            },
        ),
        "renewal-of-unknown-device": case(Code.DEVICE_UNKNOWN, LICENSE),
        "renewal-of-retired-device": case(Code.DEVICE_UNKNOWN, LICENSE, replace(device, status=DeviceStatus.RETIRED)),
        "renewal-of-held-device": case(
            Code.ROLLED_BACK, LICENSE, replace(device, status=DeviceStatus.HELD), section="renewal.md 5"
        ),
        "renewal-of-cloned-device": case(
            Code.DEVICE_CLONED,
            LICENSE,
            replace(device, status=DeviceStatus.HELD, held_code="DEVICE_CLONED"),
            section="renewal.md 5",
        ),
        "renewal-under-other-license": case(
            Code.LICENSE_UNKNOWN,
            LICENSE,
            replace(LICENSE, license_id="license-2"),
            replace(device, license_id="license-2"),
        ),
        "renewal-release-unknown": Case(RIGHTS, "renew", [LICENSE, device], Code.RELEASE_UNKNOWN),
        "renewal-release-withdrawn": Case(
            RIGHTS, "renew", [replace(scene.release, withdrawn=True), LICENSE, device], Code.RELEASE_NOT_ALLOWED
        ),
        "renewal-budget-used-up": case(Code.BUDGET_EXHAUSTED, LICENSE, used_up, section="lease.md 5"),
        "renewal-one-tick-left": case(
            None,
            *[LICENSE, replace(used_up, charged_ticks=LICENSE.tick_budget - 4)],
            section="lease.md 5",
            expected={"leases": [{"max_ticks": 6}]},
        ),
    }


def _older_releases(scene: Scene) -> dict[str, Case]:
    device, lease = scene.enrolled(), _lease(2)
    older = DeviceRelease(device.device_id, scene.test_release.release_id, scene.unseal_pcrs, NOW - DAY_S, 0)
    testing = replace(LICENSE, allow_test_images=True)
    stale = replace(older, unseal_pcrs=older.unseal_pcrs.replace(scene.pcrs[2].hex(), "22" * 32))
    first, second = scene.release.release_id, scene.test_release.release_id
    firmware = {"0": scene.pcrs[0].hex(), "2": scene.pcrs[2].hex()}

    def case(*records: object, leases: list[dict[str, Any]]) -> Case:
        found = [scene.release, scene.test_release, *records]
        return Case("renewal.md 2", "renew", found, expected={"leases": leases})

    return {
        "renewal-older-release-too": case(
            testing, device, older, leases=[lease | {"release_id": first}, lease | {"release_id": second}]
        ),
        "renewal-older-release-not-allowed": case(LICENSE, device, older, leases=[{"release_id": first}]),
        "renewal-older-release-of-older-firmware": case(
            testing, device, stale, leases=[{"unseal_pcrs": firmware}, {"unseal_pcrs": firmware}]
        ),
    }


def _nonces(scene: Scene) -> dict[str, Case]:
    device, nonce = scene.enrolled(), scene.nonce
    invalid, later = Code.NONCE_INVALID, NOW + 7 * DAY_S
    kept = RenewalReply(device.device_id, 1, nonce, b"{}")
    repeated = {"reply": base64.b64encode(kept.reply).decode()}

    def case(code: Code | None, *records: object, section: str = "renewal.md 1", **changes: Any) -> Case:
        return Case(section, "renew", [scene.release, LICENSE, device, *records], code, **changes)

    return {
        "nonce-of-other-service": case(invalid, nonce_key=bytes(32)),
        "nonce-in-the-last-second": case(None, now=NOW + 300),
        "nonce-too-old": case(invalid, now=NOW + 301),
        "nonce-spent": case(invalid, SpentNonce(nonce, NOW + 300)),
        "nonce-of-the-lease": case(None, NextNonce(device.device_id, nonce, 1), now=later),
        "nonce-of-other-number": case(invalid, NextNonce(device.device_id, nonce, 2), now=later),
        "nonce-of-other-devices-lease": case(invalid, NextNonce(scene.other.device_id, nonce, 1), now=later),
        "nonce-repeated": case(
            None, kept, SpentNonce(nonce, NOW + 300), now=later, section="renewal.md 3", expected=repeated
        ),
        "nonce-repeated-with-other-number": case(
            invalid, replace(kept, lease_number=2), now=later, section="renewal.md 3"
        ),
        "nonce-repeated-license-revoked": Case(
            "renewal.md 3", "renew", [scene.release, WITHOUT_RIGHTS["license-revoked"][0], device, kept], Code.REVOKED
        ),
    }


def _clocks(scene: Scene) -> dict[str, Case]:
    def case(code: Code | None, expected: dict[str, Any], **held: Any) -> Case:
        records = [scene.release, LICENSE, scene.enrolled(**held)]
        section = "renewal.md 5" if code else "renewal.md 4"
        return Case(section, "renew", records, code, expected={"device": expected})

    def cloned(code: Code, older_clock_ms: int, expected: dict[str, Any]) -> Case:
        """A history that can have come to what is shown, and a minute ago another of this Clock, a reset before."""
        device = scene.enrolled(
            status=DeviceStatus.HELD, held_code="ROLLED_BACK", held_because="why", reset_count=11, clock_ms=1_000
        )
        newer = ClockSighting(device.device_id, 1, 1, NOW - 620, 3_000_000, 12, 0, 4, 1, "ok")
        older = replace(newer, number=2, history=2, seen_at=NOW - 60, reset_count=11, code="ROLLED_BACK")
        records = [scene.release, LICENSE, device, newer, replace(older, clock_ms=older_clock_ms)]
        return Case("renewal.md 6", "renew", records, code, expected={"device": expected})

    own_firmware = scene.enrolled().pinned_pcrs
    other_firmware = own_firmware.replace(scene.pcrs[2].hex(), "22" * 32)
    third_firmware = own_firmware.replace(scene.pcrs[2].hex(), "33" * 32)
    held = {"status": "held", "clock_ms": 3_600_000, "reset_count": 12, "ticks": 5, "charged_ticks": 895}
    live = {"status": "live", "charged_ticks": 0}
    rolled_back = Code.ROLLED_BACK
    return {
        "clock-lost-at-a-reset": case(
            None, live | {"charged_ticks": 2, "clock_ms": 3_600_000}, reset_count=11, clock_ms=3_600_000 + 61 * 60_000
        ),
        "clock-went-back": case(
            Code.CLOCK_WENT_BACK,
            held | {"held_code": "CLOCK_WENT_BACK", "ticks": 4, "charged_ticks": 896},
            clock_ms=3_600_001,
        ),
        "clock-went-back-too-far-at-a-reset": case(
            Code.CLOCK_WENT_BACK, live | {"clock_ms": 7_860_000}, reset_count=11, clock_ms=7_860_000
        ),
        "clock-went-back-or-was-overtaken": case(
            Code.NONCE_INVALID, live | {"clock_ms": 3_600_001}, clock_ms=3_600_001, seen_at=NOW + 1
        ),
        "ticks-put-back-or-overtaken": case(Code.NONCE_INVALID, live | {"ticks": 6}, ticks=6, seen_at=NOW + 1),
        "ticks-put-back": case(rolled_back, held | {"lease_number": 1}, ticks=6),
        "resets-put-back": case(rolled_back, held | {"ticks": 4, "charged_ticks": 896}, reset_count=13),
        "ticks-put-back-behind-the-lease": case(rolled_back, held | {"charged_ticks": 995}, ticks=1000),
        "lease-number-put-back": case(
            rolled_back, held | {"ticks": 4, "charged_ticks": 896, "lease_number": 2}, lease_number=2
        ),
        "cloned": cloned(Code.DEVICE_CLONED, 2_900_000, {"held_code": "DEVICE_CLONED"}),
        "cloned-or-the-same-history": cloned(Code.ROLLED_BACK, 3_590_000, {"held_code": "ROLLED_BACK"}),
        "firmware-approved": Case(
            "licence.md 9",
            "renew",
            [scene.release, LICENSE, scene.enrolled(pinned_pcrs=other_firmware, approved_pcrs=own_firmware)],
            expected={"device": {"pinned_pcrs": own_firmware, "approved_pcrs": "{}"}},
        ),
        "firmware-approved-but-not-updated": Case(
            "licence.md 9",
            "renew",
            [scene.release, LICENSE, scene.enrolled(approved_pcrs=other_firmware)],
            expected={"device": {"pinned_pcrs": own_firmware, "approved_pcrs": other_firmware}},
        ),
        "firmware-approved-is-another": Case(
            "licence.md 9",
            "renew",
            [scene.release, LICENSE, scene.enrolled(pinned_pcrs=other_firmware, approved_pcrs=third_firmware)],
            Code.FIRMWARE_CHANGED,
            expected={"device": {"pinned_pcrs": other_firmware}, "rows": {"DeviceFirmware": 1}},
        ),
        "firmware-changed": case(
            Code.FIRMWARE_CHANGED,
            live,
            pinned_pcrs=other_firmware,
        ),
    }
