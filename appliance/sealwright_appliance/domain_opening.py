"""Whether a domain may be opened here: what its ``[open]`` demands of release, TPM and licence (spec/domain.md, 7).

By :mod:`.unlock`, at each start, for what lies on the box and is no payload. Payloads are judged by the licence
service, and a peer of a flow by the box at the other end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sealwright_appliance.boot import Obstacle
from sealwright_appliance.lease_store import LeaseStore
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_service
from sealwright_policies.domains.model import Domain
from sealwright_policies.errors import FormatError, RejectionCode, SealwrightError, VerificationError
from sealwright_policies.flows.permission import require_opening
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.lease import Lease

CURES: Mapping[str, str] = {
    RejectionCode.VERSION_BELOW_FLOOR: "It opens under a release of such a version.",
    RejectionCode.RELEASE_NOT_ALLOWED: "It opens under a release of such a version.",
    RejectionCode.TIER_NOT_ALLOWED: "It opens on a machine with another TPM.",
    RejectionCode.NOT_ENTITLED: "It opens at the start behind a renewal, once the licence has that.",
}
TIER_UNKNOWN = (
    "does not open on every TPM, and the device certificate does not say which this is. A renewal brings another one."
)


@dataclass(frozen=True, slots=True)
class BoxRights:
    """What the licence service says of a box."""

    tier: TpmTier | None
    """None: nobody can tell."""
    features: frozenset[str]
    """Of the licence."""


def rights_of(paths: Paths, lease: Lease, say: Callable[[str], None]) -> BoxRights:
    """Rights of this box.

    Features stand in the lease, which the TPM has let open. The kind of TPM stands in the device certificate alone, so
    it has to be of this device, and not to have ended before the newest lease was issued: the box's clock may say
    anything.

    Args:
        paths: of the box.
        lease: by which it is open.
        say: tells why the certificate is none.
    """
    features = frozenset(lease.license.features)
    try:
        return BoxRights(_certified_tier(paths, lease), features)
    except (SealwrightError, ValueError) as error:
        say(f"device certificate: {error}")
        return BoxRights(None, features)


def obstacle_to_domain(domain: Domain, version: str, rights: BoxRights) -> Obstacle | None:
    """Why a domain may not be opened here; None if it may.

    Args:
        domain: what it says.
        version: of the product that runs.
        rights: of the box.
    """
    tiers = list(TpmTier) if rights.tier is None else [rights.tier]
    try:
        for tier in tiers:
            require_opening(domain, version=version, tier=tier.value, features=rights.features)
    except VerificationError as refused:
        if rights.tier is None and refused.code is RejectionCode.TIER_NOT_ALLOWED:
            return Obstacle(refused.code, f"{domain.name} {TIER_UNKNOWN}")
        sentence = str(refused).removeprefix(f"{refused.code}: ")
        return Obstacle(refused.code, f"{sentence} {CURES[refused.code]}")
    return None


def _certified_tier(paths: Paths, lease: Lease) -> TpmTier:
    service = load_service(paths)
    store = LeaseStore(paths.leases, paths.shares, paths.identity, service, None)
    pem = store.load_device_certificate()
    if pem is None:
        raise FormatError("There is none.")
    newest = max((one.issued_at for one in store.load_leases()), default=0)
    certified = verify_device_certificate(pem, service.device_ca, now=max(newest, lease.issued_at))
    if certified.device_id != lease.device_id:
        raise VerificationError(RejectionCode.DEVICE_UNKNOWN, f"It is of device {certified.device_id}.")
    return TpmTier(certified.tier)
