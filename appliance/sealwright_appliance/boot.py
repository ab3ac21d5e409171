"""What a boot comes to: the pure rules of unlocking.

States, the order in which stored leases are tried, why one does not open, and which reason is reported. Reads no TPM,
disk or clock; :mod:`.unlock` does, and asks here. The diagnosis explains a refusal; the TPM alone refuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sealwright_policies.errors import RejectionCode
from sealwright_policies.wire.encoding import pcr_bytes
from sealwright_policies.wire.lease import Lease


class BoxState(StrEnum):
    """What the box does, as console, status and tests name it."""

    STARTING = "starting"
    WAITING_FOR_ACTIVATION = "waiting-for-activation"
    LOCKED = "locked"
    UNLOCKED = "unlocked"
    SERVING = "serving"
    ENDED = "ended"
    ACTIVATED = "activated"


TRANSITIONS: Mapping[BoxState, frozenset[BoxState]] = {
    BoxState.STARTING: frozenset({BoxState.WAITING_FOR_ACTIVATION, BoxState.LOCKED, BoxState.UNLOCKED}),
    BoxState.WAITING_FOR_ACTIVATION: frozenset({BoxState.ACTIVATED}),
    BoxState.LOCKED: frozenset({BoxState.LOCKED}),
    BoxState.UNLOCKED: frozenset({BoxState.SERVING, BoxState.ENDED}),
    BoxState.SERVING: frozenset({BoxState.UNLOCKED, BoxState.SERVING, BoxState.ENDED}),
    BoxState.ENDED: frozenset({BoxState.ENDED}),
    BoxState.ACTIVATED: frozenset(),
}
"""All but a restart: nothing unseals twice in a boot, so locked and ended lead on only through one."""


def next_state(present: BoxState, wanted: BoxState) -> BoxState:
    """The wanted state.

    Raises:
        ValueError: there is no way to it but a restart; a bug of the caller.
    """
    if wanted not in TRANSITIONS[present]:
        raise ValueError(f"a box that is {present} cannot become {wanted} without a restart")
    return wanted


class BoxCode(StrEnum):
    """Reasons of the box itself, beside the rejection codes that it shares with the service."""

    NOT_ACTIVATED = "NOT_ACTIVATED"
    TPM = "TPM"
    STATE_VOLUME = "STATE_VOLUME"
    PAYLOAD_CORRUPTED = "PAYLOAD_CORRUPTED"
    PAYLOAD_MISSING = "PAYLOAD_MISSING"
    NOT_LICENSED = "NOT_LICENSED"
    NOT_RUN = "NOT_RUN"
    RETENTION = "RETENTION"
    DOMAIN_CHANGED = "DOMAIN_CHANGED"
    RESULTS_ASIDE = "RESULTS_ASIDE"
    PAYLOAD_NOT_CLOSED = "PAYLOAD_NOT_CLOSED"
    ENGINE_FAILED = "ENGINE_FAILED"
    MODEL_TOO_LARGE = "MODEL_TOO_LARGE"
    UNLOCK_FAILED = "UNLOCK_FAILED"
    SERVICE_UNREACHABLE = "SERVICE_UNREACHABLE"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason why something does not open: a code of :class:`BoxCode` or ``RejectionCode``, and a sentence."""

    code: str
    sentence: str
    pcr: int | None = None


@dataclass(frozen=True, slots=True)
class TpmReading:
    """What a lease is compared with."""

    clock_ms: int
    reset_count: int
    ticks: int
    number: int
    pcrs: Mapping[int, bytes]
    srk_name: bytes
    tick_counter_name: bytes
    lease_counter_name: bytes


PCR_MEANINGS: Mapping[int, tuple[RejectionCode, str]] = {
    0: (RejectionCode.FIRMWARE_CHANGED, "firmware"),
    2: (RejectionCode.FIRMWARE_CHANGED, "option ROMs"),
    4: (RejectionCode.BOOT_APPLICATION, "what the firmware started"),
    7: (RejectionCode.SECURE_BOOT_KEYS, "Secure Boot state and keys"),
    11: (RejectionCode.UKI_MISMATCH, "kernel image and boot phases"),
    12: (RejectionCode.KERNEL_COMMAND_LINE, "kernel command line"),
    13: (RejectionCode.EVENT_NOT_ALLOWED, "system extensions"),
    14: (RejectionCode.EVENT_NOT_ALLOWED, "shim keys"),
    15: (RejectionCode.SYSTEM_IDENTITY, "closed after unlocking"),
}


def pcr_obstacles(expected: Mapping[int, bytes], found: Mapping[int, bytes]) -> tuple[Obstacle, ...]:
    """One obstacle per PCR that is not as expected."""
    return tuple(
        Obstacle(code, f"PCR {pcr} ({meaning}) is {found[pcr].hex()}, expected {value.hex()}.", pcr)
        for pcr, value in sorted(expected.items())
        if found[pcr] != value
        for code, meaning in [PCR_MEANINGS.get(pcr, (RejectionCode.PCR_MISMATCH, "measurements"))]
    )


def nearest_pcr_obstacles(variants: Sequence[Mapping[int, bytes]], found: Mapping[int, bytes]) -> tuple[Obstacle, ...]:
    """Obstacles of the variant with the fewest; none if one fits."""
    return min((pcr_obstacles(variant, found) for variant in variants), key=len, default=())


def order_leases(leases: Iterable[Lease], release_id: str, number: int) -> list[Lease]:
    """Leases of the running release to try when the lease counter stands at ``number``, in this order.

    First those of this number, the one that ends last before the others. Then those of the next number, which a power
    cut between storing and incrementing has left: the counter has to be incremented before one of them is tried.
    """
    fitting = [lease for lease in leases if lease.release_id == release_id and lease.number in (number, number + 1)]
    return sorted(fitting, key=lambda lease: (lease.number, -lease.expires_at, lease.lease_id))


def lease_obstacles(lease: Lease, reading: TpmReading) -> tuple[Obstacle, ...]:
    """Every reason why a lease does not open here and now; empty if the TPM should unseal."""
    found: list[Obstacle] = []
    if bytes.fromhex(lease.srk_name) != reading.srk_name:
        found.append(
            Obstacle(RejectionCode.SRK_NAME_MISMATCH, "The lease is for another TPM, or this one was cleared.")
        )
    names = (bytes.fromhex(lease.tick_counter_name), bytes.fromhex(lease.lease_counter_name))
    if names != (reading.tick_counter_name, reading.lease_counter_name):
        found.append(Obstacle(RejectionCode.COUNTER_INVALID, "A counter of the TPM is not the one of the lease."))
    found.extend(pcr_obstacles(pcr_bytes(lease.unseal_pcrs), reading.pcrs))
    found.extend(
        Obstacle(RejectionCode.LEASE_EXPIRED, sentence)
        for passed, sentence in (
            (
                reading.number != lease.number,
                f"The lease is number {lease.number}, the TPM's lease counter is at {reading.number}.",
            ),
            (
                reading.clock_ms > lease.clock_end_ms,
                f"The lease ended {_duration(reading.clock_ms - lease.clock_end_ms)} ago by the TPM's clock.",
            ),
            (
                reading.reset_count > lease.max_reset_count,
                f"The lease allows {lease.max_reset_count} restarts of the TPM, there have been {reading.reset_count}.",
            ),
            (
                reading.ticks > lease.max_ticks,
                f"The lease allows running time up to tick {lease.max_ticks}, the TPM is at {reading.ticks}.",
            ),
        )
        if passed
    )
    return tuple(found)


def first_reason(attempts: Sequence[tuple[Obstacle, ...]]) -> Obstacle:
    """The reason to report when no lease opened: of the attempt that was nearest to it, the gravest obstacle.

    A changed boot explains an old lease better than the other way round, so what is not LEASE_EXPIRED comes first.
    """
    if not attempts:
        return Obstacle(RejectionCode.LEASE_EXPIRED, "No stored lease is for this release and the TPM's lease counter.")
    nearest = min(attempts, key=len)
    return min(nearest, key=lambda obstacle: obstacle.code == RejectionCode.LEASE_EXPIRED)


def renewable(code: str | None) -> bool:
    """Whether a new lease from the service can open a box that is locked for this reason."""
    return code in {
        RejectionCode.LEASE_EXPIRED,
        RejectionCode.FIRMWARE_CHANGED,
        RejectionCode.COUNTER_INVALID,
    }


def _duration(milliseconds: int) -> str:
    seconds = milliseconds // 1000
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
