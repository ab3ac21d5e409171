"""Grants: what an accepted evidence earns. Leases for every release still allowed, shares, a device certificate.

A grant is prepared before the deciding transaction begins, because signing and wrapping take time, and is stored in it
together with everything that the decision changes.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sealwright_licensing.device_certificates import DeviceCertificate, issue_device_certificate
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.journal import PRUNED_EVERY, drop_oldest
from sealwright_licensing.keys import SigningKeys
from sealwright_licensing.leases import ProvenState, SignedLease, bound_lease, issue_lease, lease_warnings
from sealwright_licensing.licenses import covered, joined
from sealwright_licensing.records import (
    Device,
    DeviceCertificateRecord,
    LeaseRecord,
    License,
    NextNonce,
    ReleaseRecord,
    ReleaseShares,
)
from sealwright_licensing.release import KeyRelease
from sealwright_licensing.release_proofs import ReleaseProofs
from sealwright_licensing.store import Transaction
from sealwright_licensing.stored_releases import stored_approvals
from sealwright_policies.appraisal.reference_values import PartitionWrappedShares
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import VerificationError
from sealwright_policies.tcg.structures import Public, parse_public
from sealwright_policies.transparency.release_proof import ReleaseProof
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_policies.wire.messages import MESSAGE_LIMIT, Grant, PartitionShares

MOST_RELEASES = 16
"""Leases that one grant holds."""
NEXT_NONCE_SIZE = 32
MOST_RECORDS, KEPT_RECORDS = 1500, 1000
"""Leases, and certificates, of one device that are kept: years of an honest box, a bound for one that never stops."""


@dataclass(frozen=True, slots=True)
class GrantedRelease:
    """A release to lease: its record, its manifest, its PCR values at the unseal point, and shares if it is new."""

    record: ReleaseRecord
    release: Release
    unseal_pcrs: dict[str, str]
    shares: Sequence[ReleaseShares]


@dataclass(frozen=True, slots=True)
class PreparedGrant:
    """A grant ready to be sent, and what is to be stored with it."""

    reply: bytes
    number: int
    next_nonce: bytes
    leases: tuple[SignedLease, ...]
    certificate: DeviceCertificate
    device: Device
    issued_at: int

    def partitions(self, release_id: str) -> str:
        """Payload ids that the lease of a release opens, comma-separated."""
        leases = (lease for lease in self.leases if lease.terms.release_id == release_id)
        return joined(name for lease in leases for name in lease.payload_ids)

    def store(self, transaction: Transaction) -> None:
        """Record leases, certificate, the next nonce, and the device with what it may use."""
        if self.device.revision % PRUNED_EVERY == 0:
            for kind in (LeaseRecord, DeviceCertificateRecord):
                drop_oldest(
                    transaction,
                    kind,
                    "issued_at",
                    most=MOST_RECORDS,
                    kept=KEPT_RECORDS,
                    device_id=self.device.device_id,
                )
        for lease in self.leases:
            terms = lease.terms
            transaction.add(
                LeaseRecord(
                    lease_id=terms.lease_id,
                    device_id=terms.device_id,
                    license_id=terms.license_id,
                    release_id=terms.release_id,
                    number=terms.number,
                    issued_at=terms.issued_at,
                    expires_at=terms.expires_at,
                    clock_end_ms=terms.clock_end_ms,
                    max_reset_count=terms.max_reset_count,
                    max_ticks=terms.max_ticks,
                )
            )
        expires_at = self.leases[0].terms.expires_at
        transaction.add(
            DeviceCertificateRecord(
                self.certificate.serial, self.device.device_id, self.issued_at, expires_at, self.certificate.pem
            )
        )
        transaction.add(NextNonce(self.device.device_id, self.next_nonce, self.number))
        most = max(self.device.granted_ticks, *(lease.terms.max_ticks for lease in self.leases))
        transaction.put(replace(self.device, granted_ticks=most))


@dataclass(frozen=True, slots=True)
class Grantor:
    """Prepares grants."""

    keys: SigningKeys
    key_release: KeyRelease
    proofs: ReleaseProofs

    def prepare(
        self,
        license_: License,
        device: Device,
        releases: Sequence[GrantedRelease],
        *,
        number: int,
        resets: int = 0,
        elapsed_s: int = 0,
        now: int,
    ) -> PreparedGrant:
        """Sign leases of number N and the device certificate, wrap the shares of new releases.

        Args:
            device: as the evidence has just shown it; its SRK and counters were verified.
            releases: the one that was attested first.
            number: N of the leases.
            resets, elapsed_s: resets of the TPM and seconds since the last contact.

        Raises:
            VerificationError: BUDGET_EXHAUSTED; RELEASE_NOT_LOGGED of the attested release.
        """
        known = self.keys.of(releases[0].release.manifest)
        # A box refuses a lease by a key that its image does not know; another image asks for its own when it runs.
        served = [one for one in releases if self.keys.serves(one.release.manifest, known)]
        chosen, proofs = self._logged(served)
        next_nonce = secrets.token_bytes(NEXT_NONCE_SIZE)
        state = ProvenState.of(device)
        bounds = bound_lease(license_, state, now=now)
        warnings = lease_warnings(license_, state, resets=resets, elapsed_s=elapsed_s, now=now)
        leases = tuple(
            issue_lease(
                known,
                license_,
                device,
                bounds,
                one.release.manifest,
                lease_id=secrets.token_hex(8),
                release_id=one.release.release_id,
                unseal_pcrs=one.unseal_pcrs,
                number=number,
                next_nonce=next_nonce,
                warnings=warnings,
                log=proof,
                now=now,
            )
            for one, proof in zip(chosen, proofs, strict=True)
        )
        certificate = issue_device_certificate(
            known,
            parse_public(device.ak_public).key(),
            device_id=device.device_id,
            license_id=device.license_id,
            tier=device.tier,
            features=license_.features.split(",") if license_.features else [],
            now=now,
            expires_at=bounds.expires_at,
        )
        srk = parse_public(device.srk_public)
        grant = Grant(
            device_id=device.device_id,
            license_id=device.license_id,
            leases=[lease.token for lease in leases],
            shares=[share for one in chosen for share in self._shares(srk, license_, Tier(device.tier), one, known)],
            release_approvals=[approval for one in chosen for approval in stored_approvals(one.record)],
            device_certificate=certificate.pem,
            service_time=now,
        )
        return PreparedGrant(document_bytes(grant), number, next_nonce, leases, certificate, device, now)

    def _logged(self, releases: Sequence[GrantedRelease]) -> tuple[list[GrantedRelease], list[ReleaseProof]]:
        """As many releases as one grant holds, with their proofs; without those others that are not in the log."""
        chosen, proofs = [releases[0]], [self.proofs.of(releases[0].release.release_id)]
        for one in releases[1:MOST_RELEASES]:
            try:
                proofs.append(self.proofs.of(one.release.release_id))
            except VerificationError:
                continue
            chosen.append(one)
        return chosen, proofs

    def _shares(
        self, srk: Public, license_: License, tier: Tier, granted: GrantedRelease, known: SigningKeys
    ) -> list[PartitionShares]:
        if not granted.shares:  # as in nearly every renewal
            return []
        opened = {payload.verity.root_hash for payload in covered(license_, tier, granted.release.manifest)}
        wrapped = [
            parse_json(PartitionWrappedShares, one.wrapped.encode("ascii"), limit=MESSAGE_LIMIT)
            for one in granted.shares
            if one.partition_id in opened
        ]
        return self.key_release.release_shares(
            srk,
            wrapped,
            lease_policy_key=known.lease_policy.public_key(),
            release_key_pem=granted.release.manifest.release_key,
        )
