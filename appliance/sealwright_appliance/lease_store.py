"""Leases, shares and identity on the state volume.

Leases of number N and N + 1 stand side by side from the moment a renewal arrives until the next proof: whatever moment
the power fails at, one of them opens (policies/spec/renewal.md, 2). Everything is verified when it is
stored and again when it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, remove_durably, write_durably
from sealwright_appliance.status import ReleaseStatus
from sealwright_appliance.tpm_unseal import SealedObject
from sealwright_policies.errors import FormatError, VerificationError
from sealwright_policies.transparency.release_proof import require_logged_as
from sealwright_policies.wire.encoding import Bytes4K, Document, Identifier, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.framing import domain_key_id
from sealwright_policies.wire.lease import LEASE_LIMIT, Lease, verify_lease
from sealwright_policies.wire.messages import DeviceId, ReleaseApproval
from sealwright_policies.wire.service import LicenseService

SHARES_LIMIT = 1024 * 1024
APPROVALS_MOST = 256
"""The oldest make room."""
IDENTITY_LIMIT = 64 * 1024
CERTIFICATE_LIMIT = 64 * 1024
DEVICE_CERTIFICATE = "device-certificate.pem"


class ImportedShare(Document):
    """A share as this TPM loads it."""

    public: Bytes4K
    private: Bytes4K

    def sealed(self) -> SealedObject:
        """For :func:`sealwright_appliance.tpm_unseal.unseal`."""
        return SealedObject(self.public, self.private)


class StoredShares(Document):
    """Both shares of a partition, and the release key's approvals for the second."""

    version: Annotated[int, Field(ge=1, le=1)]
    partition_id: Sha256Hex
    lease_share: ImportedShare
    release_share: ImportedShare
    approvals: Annotated[list[ReleaseApproval], Field(max_length=64)]


class DomainKeyApprovals(Document):
    """The release key's approvals for the domain key, of all releases that the box was told of."""

    version: Annotated[int, Field(ge=1, le=1)]
    approvals: Annotated[list[ReleaseApproval], Field(max_length=APPROVALS_MOST)]


class Identity(Document):
    """Who the box is to the licence service; written when the activation is complete."""

    version: Annotated[int, Field(ge=1, le=1)]
    device_id: DeviceId
    license_id: Identifier
    ek_public: Bytes4K
    srk_public: Bytes4K
    ak_public: Bytes4K


@dataclass(frozen=True, slots=True)
class LeaseStore:
    """The folders ``leases``, ``shares`` and ``identity``."""

    leases: Path
    shares: Path
    identity: Path
    service: LicenseService
    release: ReleaseStatus | None
    """The release that runs; None where there is none, and so nothing to lease."""

    def verify(self, token: str) -> Lease:
        """Verify a lease, and that the log has its release under the name that our own manifest gives it.

        Raises:
            FormatError, VerificationError: it is not the service's, or LOG_PROOF_INVALID.
        """
        lease = verify_lease(token, self.service)
        if self.release is not None and lease.release_id == self.release.release_id:
            require_logged_as(lease.log, self.release.product, self.release.version)
        return lease

    def store_leases(self, tokens: Iterable[str]) -> list[Lease]:
        """Verify leases and put them beside those that are there.

        Raises:
            FormatError, VerificationError: one of them is not the service's; none is stored then.
        """
        verified = [(token, self.verify(token)) for token in tokens]
        for token, lease in verified:
            write_durably(self.leases / f"{lease.number}-{lease.lease_id}.jws", token.encode("ascii"))
        return [lease for _, lease in verified]

    def load_leases(self) -> list[Lease]:
        """All leases that still verify, lowest number first. Others are passed over: they open nothing."""
        found: list[Lease] = []
        for path in sorted(self.leases.glob("*.jws")):
            content = read_file(path, LEASE_LIMIT)
            try:
                found.append(self.verify((content or b"").decode("ascii", errors="replace")))
            except (FormatError, VerificationError):
                continue
        return sorted(found, key=lambda lease: (lease.number, lease.lease_id))

    def delete_leases_below(self, number: int) -> None:
        """Delete leases that a later, proven number has replaced."""
        for lease in self.load_leases():
            if lease.number < number:
                remove_durably(self.leases / f"{lease.number}-{lease.lease_id}.jws")

    def store_shares(self, shares: StoredShares) -> None:
        """Keep the shares of one partition."""
        write_durably(self._share_file(shares.partition_id), document_bytes(shares))

    def load_shares(self, partition_id: str) -> StoredShares | None:
        """The shares of a partition, None if there are none."""
        content = read_file(self._share_file(partition_id), SHARES_LIMIT)
        return None if content is None else parse_json(StoredShares, content, limit=SHARES_LIMIT)

    def add_approvals(self, approvals: Sequence[ReleaseApproval]) -> None:
        """Add approvals that came with a grant: to the partitions that we hold shares of, and of the domain key."""
        domain_key = domain_key_id().hex()
        known = self.domain_key_approvals()
        new = [one for one in approvals if one.partition_id == domain_key and one not in known]
        if new:
            kept = DomainKeyApprovals(version=1, approvals=[*known, *new][-APPROVALS_MOST:])
            write_durably(self._domain_key_approvals, document_bytes(kept))
        for partition_id in {approval.partition_id for approval in approvals}:
            shares = self.load_shares(partition_id)
            if shares is None:
                continue
            fresh = [a for a in approvals if a.partition_id == partition_id and a not in shares.approvals]
            if fresh:
                self.store_shares(shares.model_copy(update={"approvals": [*shares.approvals, *fresh]}))

    def domain_key_approvals(self) -> list[ReleaseApproval]:
        """Those of the domain key; of a damaged file none, the next grant brings them again."""
        content = read_file(self._domain_key_approvals, SHARES_LIMIT)
        try:
            return parse_json(DomainKeyApprovals, content or b"", limit=SHARES_LIMIT).approvals
        except FormatError:
            return []

    def store_identity(self, identity: Identity) -> None:
        """The last step of an activation: from now on the box is activated."""
        write_durably(self.identity / "identity.json", document_bytes(identity))

    def load_identity(self) -> Identity | None:
        """Who the box is, None before activation."""
        content = read_file(self.identity / "identity.json", IDENTITY_LIMIT)
        return None if content is None else parse_json(Identity, content, limit=IDENTITY_LIMIT)

    def store_device_certificate(self, pem: str) -> None:
        """Keep what third parties may ask for."""
        write_durably(self.identity / DEVICE_CERTIFICATE, pem.encode("ascii"))

    def load_device_certificate(self) -> str | None:
        """It, PEM; None before the first grant."""
        content = read_file(self.identity / DEVICE_CERTIFICATE, CERTIFICATE_LIMIT)
        return None if content is None else content.decode("ascii", errors="replace")

    @property
    def _domain_key_approvals(self) -> Path:
        return self.shares / "domain-key.json"

    def _share_file(self, partition_id: str) -> Path:
        return self.shares / partition_id / "shares.json"
