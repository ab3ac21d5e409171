"""What a renewal is decided on: everything that the store knows of the device, its licence and its releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sealwright_licensing.baselines import stored_pcrs
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.grants import GrantedRelease
from sealwright_licensing.licenses import (
    covered,
    joined,
    require_release,
)
from sealwright_licensing.records import (
    ClockSighting,
    Device,
    DeviceRelease,
    DeviceStatus,
    License,
    NextNonce,
    ReleaseRecord,
    ReleaseShares,
    RenewalReply,
    SpentNonce,
)
from sealwright_licensing.store import Transaction, query, query_named
from sealwright_licensing.stored_releases import stored_release
from sealwright_policies.appraisal.clock import PINNED_PCRS
from sealwright_policies.appraisal.reference_values import UNSEAL_SET
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError
from sealwright_policies.wire.messages import RenewalRequest


@dataclass(frozen=True, slots=True)
class Held:
    """What the store knows when a request comes in."""

    device: Device
    license_: License
    record: ReleaseRecord
    replies: tuple[RenewalReply, ...]
    """Stored replies to this nonce."""
    open_replies: tuple[int, ...]
    """N of every stored reply."""
    next_nonce: NextNonce | None
    spent: bool
    provisioned: DeviceRelease | None
    """The release, if the device has been given its shares."""
    others: tuple[tuple[DeviceRelease, ReleaseRecord], ...]
    """Further releases that it has been given shares for, newest first."""
    untrusted: tuple[str, ...]
    """Ids of further releases that are not believed any more; a grant forgets that the device had them."""
    shares: tuple[ReleaseShares, ...]
    sightings: tuple[ClockSighting, ...]
    """Of a device that is held."""


def require_known(found: Sequence[Device]) -> Device:
    """The device of a look-up.

    Raises:
        VerificationError: DEVICE_UNKNOWN: none, or one that was retired.
    """
    if not found or found[0].status is DeviceStatus.RETIRED:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, "the device is not enrolled")
    return found[0]


def look_up_held(transaction: Transaction, request: RenewalRequest) -> Held:
    """Read it, in one round trip.

    Raises:
        VerificationError: DEVICE_UNKNOWN, LICENSE_UNKNOWN, RELEASE_UNKNOWN.
        OperationError: the release is not believed.
    """
    device_id, nonce, release_id = request.device_id, request.nonce, request.release_id
    # One round trip: the decisions of all boxes pass here, each of them twice.
    devices, licenses, provisioned, replies, next_nonces, spent, shares, releases, sightings = transaction.find_each(
        query(Device, device_id=device_id),
        query(License, license_id=request.license_id),
        query(DeviceRelease, device_id=device_id),
        query(RenewalReply, device_id=device_id),
        query(NextNonce, device_id=device_id, nonce=nonce),
        query(SpentNonce, nonce=nonce),
        query(ReleaseShares, release_id=release_id),
        query_named(ReleaseRecord, {"release_id": release_id}, DeviceRelease, device_id=device_id),
        query(ClockSighting, device_id=device_id),
    )
    device = require_known(devices)
    if not licenses or device.license_id != request.license_id:
        raise VerificationError(RejectionCode.LICENSE_UNKNOWN, "the device is enrolled under another licence")
    newest_first = sorted(provisioned, key=lambda one: (-one.seen_at, one.release_id))
    others = [one for one in newest_first if one.release_id != release_id]
    record = _require_release_known(releases.pop(release_id, None), release_id)
    untrusted = tuple(one.release_id for one in others if isinstance(releases.get(one.release_id), OperationError))
    return Held(
        device=device,
        license_=licenses[0],
        record=record,
        # Stored replies may hold leases for releases that are not believed any more.
        replies=() if untrusted else tuple(one for one in replies if one.nonce == nonce),
        open_replies=tuple(sorted(one.lease_number for one in replies)),
        next_nonce=next_nonces[0] if next_nonces else None,
        spent=bool(spent),
        provisioned=next((one for one in provisioned if one.release_id == release_id), None),
        others=tuple(
            (one, release) for one in others if isinstance(release := releases.get(one.release_id), ReleaseRecord)
        ),
        untrusted=untrusted,
        shares=tuple(shares),
        sightings=tuple(sightings) if device.status is DeviceStatus.HELD else (),
    )


def _require_release_known(found: ReleaseRecord | OperationError | None, release_id: str) -> ReleaseRecord:
    if isinstance(found, OperationError):
        raise found
    if found is None:
        raise VerificationError(
            RejectionCode.RELEASE_UNKNOWN, f"release {release_id[:16]} has not been imported into this service"
        )
    return found


def still_allowed(held: Held, unseal: Mapping[str, str]) -> Sequence[GrantedRelease]:
    """Other releases on the device, e.g. the one before an update, as far as the licence still allows them.

    Their boot applications and keys are as they last were. The firmware is the machine's: a lease for firmware that was
    there before the one that is pinned now would open under what an update has mended.
    """
    firmware = {str(pcr): unseal[str(pcr)] for pcr in PINNED_PCRS if pcr in UNSEAL_SET}
    allowed = []
    for provisioned, record in held.others:
        release = stored_release(record)
        try:
            require_release(held.license_, Tier(held.device.tier), record, release.manifest)
        except VerificationError:
            continue
        allowed.append(GrantedRelease(record, release, stored_pcrs(provisioned.unseal_pcrs) | firmware, ()))
    return allowed


def given_release(held: Held, proved: int) -> DeviceRelease:
    """The attested release as the device has it after this grant: its shares are given at the N in there.

    That is now if the release is new to the device, or if the licence has come to cover more of it.
    """
    payloads = covered(held.license_, Tier(held.device.tier), stored_release(held.record).manifest)
    names = {payload.payload_id for payload in payloads}
    known = held.provisioned
    if known is None:
        return DeviceRelease(held.device.device_id, held.record.release_id, "", 0, proved, joined(names))
    had = set(filter(None, known.partitions.split(",")))
    if names <= had:
        return known
    return replace(known, lease_number=proved, partitions=joined(names | had))
