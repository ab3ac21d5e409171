"""Whether two domains chain, and whether a box may open what lies in them (spec/domain-flow.md, 4.3 to 4.5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sealwright_policies.appraisal.reference_values import DomainSummary, Manifest, version_key
from sealwright_policies.domains.canonical import domain_digest
from sealwright_policies.domains.chain import excesses
from sealwright_policies.domains.levels import beyond_level
from sealwright_policies.domains.limits import LIMITS
from sealwright_policies.domains.model import LEVELS, Domain, Form
from sealwright_policies.domains.reader import DomainFile
from sealwright_policies.errors import RejectionCode, VerificationError


@dataclass(frozen=True, slots=True)
class DomainPair:
    """The domain that data comes from, and the one that it goes to."""

    source: Domain
    target: Domain


def require_declared(domain: Domain, manifest: Manifest, whose: str) -> None:
    """Demand that a release declares this very domain, signed by its owner if it names a key.

    Raises:
        VerificationError: DOMAIN_UNKNOWN, MANIFEST_MISMATCH, OWNER_UNSIGNED.
    """
    found = next((one for one in manifest.domains if one.name == domain.name), None)
    if found is None:
        raise VerificationError(
            RejectionCode.DOMAIN_UNKNOWN, f"The release of {whose} declares no domain {domain.name}."
        )
    _require_digest(domain, found, whose)
    if domain.owner.key is not None and found.signed is None:
        raise VerificationError(
            RejectionCode.OWNER_UNSIGNED,
            f"The release of {whose} leaves out what the owner of {domain.name} has signed.",
        )


def _require_digest(domain: Domain, summary: DomainSummary, whose: str) -> None:
    if summary.digest != domain_digest(domain).hex():
        raise VerificationError(
            RejectionCode.MANIFEST_MISMATCH,
            f"The release of {whose} has a domain {domain.name} that says something else.",
        )


def require_chained(pair: DomainPair, form: Form) -> None:
    """Demand that both sides say yes to a form, and that the target is within the source where it is bound.

    Raises:
        VerificationError: DOMAIN_NOT_CHAINED, DOMAIN_EXCEEDS_LEVEL, DOMAIN_EXCEEDS_CHAIN.
    """
    source, target = pair.source, pair.target
    offered = {one for flow in source.flow if flow.to == target.name for one in flow.forms}
    taken = {one for chain in target.chain if chain.source == source.name for one in chain.forms}
    for forms, sentence in (
        (offered, f"{source.name} does not let {form.value} flow to {target.name}."),
        (taken, f"{target.name} does not take {form.value} from {source.name}."),
    ):
        if form not in forms:
            raise VerificationError(RejectionCode.DOMAIN_NOT_CHAINED, sentence)
    below, above = _file(target), _file(source)
    if form.is_bound and LEVELS.beyond(target.level, source.level):
        raise VerificationError(
            RejectionCode.DOMAIN_EXCEEDS_LEVEL,
            f"{form.value} would flow down from level {source.level.value} to {target.level.value}.",
        )
    for limit, excess in beyond_level(below):
        raise VerificationError(
            RejectionCode.DOMAIN_EXCEEDS_LEVEL, f"{target.name}: {limit.key}: {excess.found}, wider than its level."
        )
    for limit in LIMITS.values() if form.is_bound else ():
        for excess in excesses(limit, limit.value(target), above):
            raise VerificationError(
                RejectionCode.DOMAIN_EXCEEDS_CHAIN,
                f"{target.name}: {limit.key}: {excess.found}, and {source.name} allows {excess.allowed}.",
            )


def require_opening(domain: Domain, *, version: str, tier: str, features: Collection[str]) -> None:
    """Demand that a box may open what lies in a domain.

    Args:
        domain: what it says.
        version: of the product that the box runs.
        tier, features: of its device certificate.

    Raises:
        VerificationError: VERSION_BELOW_FLOOR, RELEASE_NOT_ALLOWED, TIER_NOT_ALLOWED, NOT_ENTITLED.
    """
    rule = domain.open
    running = version_key(version)
    if running < version_key(rule.from_version):
        raise VerificationError(
            RejectionCode.VERSION_BELOW_FLOOR, f"{domain.name} opens from {rule.from_version} on, not for {version}."
        )
    if running >= version_key(rule.below_version):
        raise VerificationError(
            RejectionCode.RELEASE_NOT_ALLOWED, f"{domain.name} opens below {rule.below_version}, not for {version}."
        )
    if tier not in {one.value for one in rule.tiers}:
        raise VerificationError(
            RejectionCode.TIER_NOT_ALLOWED, f"{domain.name} does not open on a TPM of the tier {tier}."
        )
    if missing := sorted(set(rule.features).difference(features)):
        raise VerificationError(
            RejectionCode.NOT_ENTITLED, f"{domain.name} demands of the licence: {', '.join(missing)}."
        )


def _file(domain: Domain) -> DomainFile:
    """As the rules for files take it; nobody is told a line."""
    return DomainFile(domain.name, "", domain)
