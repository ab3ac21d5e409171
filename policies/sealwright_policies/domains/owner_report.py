"""Whose a domain of a release is, and by what: for commands that show a manifest to people."""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_policies.appraisal.reference_values import DomainSummary
from sealwright_policies.domains.canonical import parse_canonical_form
from sealwright_policies.domains.ownership import key_id


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a manifest shows of a domain's owner."""

    owner: str
    key_id: str | None
    """Hex; None: the domain names no key."""
    workloads: dict[str, str]
    """Root hashes of images that the owner has signed, hex, by payload id."""
    vendor_workloads: bool
    """Whether the vendor's word is enough for workloads."""

    def line(self) -> str:
        """For people."""
        if self.key_id is None:
            return f"{self.owner}, by the vendor's word only"
        signed = ", ".join(f"{name} {root_hash[:16]}" for name, root_hash in self.workloads.items())
        more = "; other workloads by the vendor's word" if self.vendor_workloads else ""
        return f"{self.owner}, signed by key {self.key_id}; workloads signed: {signed or 'none'}{more}"


def ownership(summary: DomainSummary) -> Ownership:
    """Of a domain in a verified manifest."""
    if summary.signed is None:
        return Ownership(summary.owner, None, {}, vendor_workloads=True)
    domain = parse_canonical_form(summary.signed.canonical_form)
    identity = key_id(domain)
    workloads = {one.payload_id: one.root_hash for one in summary.signed.workloads}
    return Ownership(summary.owner, identity.hex() if identity else None, workloads, domain.owner.vendor_workloads)


def ownership_changes(old: DomainSummary | None, new: DomainSummary) -> list[str]:
    """What another release changes of whose a domain is; of a domain that is new, only that it is signed."""
    before = ownership(old) if old is not None else None
    after = ownership(new)
    lines = []
    if before is None:
        lines += [f"owner     domain {new.name}: signed by key {after.key_id}"] if after.key_id else []
    elif before.key_id != after.key_id:
        now = f"signed by key {after.key_id}" if after.key_id else "by the vendor's word only"
        was = f"signed by key {before.key_id}" if before.key_id else "by the vendor's word only"
        lines.append(f"owner     domain {new.name}: {now}, was {was}")
    if before is not None and after.vendor_workloads and not before.vendor_workloads:
        lines.append(f"opened    domain {new.name}: workloads that its owner has not signed")
    known = before.workloads if before else {}
    return lines + [
        f"opened    domain {new.name}: image {root_hash[:16]} of workload {name}, signed by its owner"
        for name, root_hash in after.workloads.items()
        if known.get(name) != root_hash
    ]
