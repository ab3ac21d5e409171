"""The rules of unlocking: order of leases, reasons, states."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_appliance.boot import (
    BoxState,
    Obstacle,
    TpmReading,
    first_reason,
    lease_obstacles,
    nearest_pcr_obstacles,
    next_state,
    order_leases,
    renewable,
)
from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.lease import EndBehaviour, Lease
from sealwright_testing.release_log import release_proof

PCRS = {0: b"\0" * 32, 4: b"\4" * 32, 7: b"\7" * 32, 11: b"\x0b" * 32}
RELEASE = "ab" * 32
LOGGED = release_proof(Ed25519PrivateKey.generate(), RELEASE)


def name(byte: int) -> bytes:
    """A TPM Name."""
    return b"\x00\x0b" + bytes([byte]) * 32


def lease(**changes: Any) -> Lease:
    """A lease that opens at :data:`READING`."""
    fields: dict[str, Any] = {
        "version": 1,
        "lease_id": "lease-1",
        "device_id": "a" * 52,
        "license_id": "license-1",
        "release_id": RELEASE,
        "srk_name": name(1).hex(),
        "tick_counter_name": name(2).hex(),
        "lease_counter_name": name(3).hex(),
        "unseal_pcrs": {str(pcr): value.hex() for pcr, value in PCRS.items()},
        "clock_end_ms": 1_000_000,
        "max_reset_count": 10,
        "max_ticks": 100,
        "number": 5,
        "next_nonce": bytes(32),
        "issued_at": 1_800_000_000,
        "expires_at": 1_800_086_400,
        "max_request_s": 60,
        "renew_after_s": 3600,
        "license": {
            "ends_at": 1_830_000_000,
            "grace_ends_at": 1_830_000_000,
            "at_end": EndBehaviour.CLOSE,
            "budget_end_ticks": 9000,
            "features": [],
        },
        "warnings": [],
        "log": LOGGED,
        "partitions": [{"partition_id": "cd" * 32, "payload_id": "medical", "signature": b"x"}],
    }
    return Lease(**(fields | changes))


READING = TpmReading(
    clock_ms=1_000_000,
    reset_count=10,
    ticks=100,
    number=5,
    pcrs=PCRS,
    srk_name=name(1),
    tick_counter_name=name(2),
    lease_counter_name=name(3),
)


def test_a_lease_opens_up_to_its_bounds() -> None:
    """All comparisons are 'at most'."""
    assert lease_obstacles(lease(), READING) == ()


@pytest.mark.parametrize(
    ("reading", "code", "word"),
    [
        (replace(READING, clock_ms=1_000_001), RejectionCode.LEASE_EXPIRED, "clock"),
        (replace(READING, reset_count=11), RejectionCode.LEASE_EXPIRED, "restarts"),
        (replace(READING, ticks=101), RejectionCode.LEASE_EXPIRED, "tick"),
        (replace(READING, number=6), RejectionCode.LEASE_EXPIRED, "number"),
        (replace(READING, srk_name=name(9)), RejectionCode.SRK_NAME_MISMATCH, "TPM"),
        (replace(READING, tick_counter_name=name(9)), RejectionCode.COUNTER_INVALID, "counter"),
        (replace(READING, lease_counter_name=name(9)), RejectionCode.COUNTER_INVALID, "counter"),
        (replace(READING, pcrs=PCRS | {0: bytes(31) + b"\1"}), RejectionCode.FIRMWARE_CHANGED, "PCR 0"),
        (replace(READING, pcrs=PCRS | {4: bytes(32)}), RejectionCode.BOOT_APPLICATION, "PCR 4"),
        (replace(READING, pcrs=PCRS | {7: bytes(32)}), RejectionCode.SECURE_BOOT_KEYS, "PCR 7"),
        (replace(READING, pcrs=PCRS | {11: bytes(32)}), RejectionCode.UKI_MISMATCH, "PCR 11"),
    ],
)
def test_each_bound_has_its_reason(reading: TpmReading, code: RejectionCode, word: str) -> None:
    """One thing is wrong, one reason is given, and it names the thing."""
    (obstacle,) = lease_obstacles(lease(), reading)
    assert obstacle.code == code
    assert word in obstacle.sentence


def test_all_reasons_are_listed() -> None:
    """Not only the first."""
    reading = replace(READING, clock_ms=2_000_000, ticks=101, pcrs=PCRS | {7: bytes(32)})
    assert len(lease_obstacles(lease(), reading)) == 3


def test_leases_are_tried_in_order() -> None:
    """The present number before the next, the longer before the shorter, nothing else."""
    present = lease(lease_id="present")
    longer = lease(lease_id="longer", expires_at=1_900_000_000)
    following = lease(lease_id="following", number=6)
    old, far = lease(lease_id="old", number=4), lease(lease_id="far", number=7)
    other = lease(lease_id="other", release_id="ee" * 32)
    ordered = order_leases([far, following, other, present, old, longer], RELEASE, 5)
    assert [each.lease_id for each in ordered] == ["longer", "present", "following"]


def test_the_nearest_attempt_gives_the_reason() -> None:
    """A renewed lease that only the changed firmware stops, beside an old one that is stopped by everything."""
    near = (Obstacle(RejectionCode.FIRMWARE_CHANGED, "near"),)
    far = (Obstacle(RejectionCode.LEASE_EXPIRED, "a"), Obstacle(RejectionCode.FIRMWARE_CHANGED, "b"))
    assert first_reason([far, near]) == near[0]


def test_what_changed_comes_before_what_expired() -> None:
    """Of one attempt the reason that a renewal does not cure is reported."""
    expired = Obstacle(RejectionCode.LEASE_EXPIRED, "a")
    changed = Obstacle(RejectionCode.KERNEL_COMMAND_LINE, "b")
    assert first_reason([(expired, changed)]) == changed


def test_no_stored_lease_is_a_reason() -> None:
    """Nothing to try."""
    assert first_reason([]).code == RejectionCode.LEASE_EXPIRED


def test_any_of_the_variants_will_do() -> None:
    """A release lists several ways through PCR 4."""
    other = PCRS | {4: bytes(32)}
    assert nearest_pcr_obstacles([other, PCRS], PCRS) == ()
    (obstacle,) = nearest_pcr_obstacles([other, other | {7: bytes(32)}], PCRS)
    assert obstacle.pcr == 4


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        (BoxState.LOCKED, BoxState.SERVING),
        (BoxState.LOCKED, BoxState.UNLOCKED),
        (BoxState.ENDED, BoxState.SERVING),
        (BoxState.ENDED, BoxState.UNLOCKED),
        (BoxState.WAITING_FOR_ACTIVATION, BoxState.SERVING),
        (BoxState.ACTIVATED, BoxState.UNLOCKED),
    ],
)
def test_nothing_opens_without_a_restart(present: BoxState, wanted: BoxState) -> None:
    """PCR 15 is closed: no state of a running box leads to an unsealing."""
    with pytest.raises(ValueError, match="without a restart"):
        next_state(present, wanted)


def test_a_box_serves_and_ends() -> None:
    """The usual way."""
    assert next_state(BoxState.STARTING, BoxState.UNLOCKED) is BoxState.UNLOCKED
    assert next_state(BoxState.UNLOCKED, BoxState.SERVING) is BoxState.SERVING
    assert next_state(BoxState.SERVING, BoxState.ENDED) is BoxState.ENDED


def test_a_new_lease_does_not_cure_everything() -> None:
    """A restart for a lease that cannot open would go on for ever."""
    assert renewable(RejectionCode.LEASE_EXPIRED)
    assert not renewable(RejectionCode.SECURE_BOOT_KEYS)
    assert not renewable("PAYLOAD_CORRUPTED")
    assert not renewable(None)
