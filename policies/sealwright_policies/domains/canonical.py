"""The canonical form of a domain, its digest, and the summary that a release manifest carries (spec/domain.md, 6)."""

from __future__ import annotations

import json
from typing import Any

from sealwright_policies.appraisal.reference_values import (
    DomainEndpoint,
    DomainFlow,
    DomainOpening,
    DomainSummary,
    SignedDomain,
)
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.reader import DOMAIN_FILE_LIMIT
from sealwright_policies.errors import FormatError
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.framing import framed_digest

DOMAIN_LABEL = "sealwright/v1/domain"


def canonical_form(domain: Domain) -> bytes:
    """The one encoding of what a domain says."""
    return _encoded(_sorted(domain.model_dump(mode="json", by_alias=True))).encode("utf-8")


def parse_canonical_form(content: bytes) -> Domain:
    """Read a domain in its one encoding.

    Raises:
        FormatError: any other bytes.
    """
    domain = parse_json(Domain, content, limit=DOMAIN_FILE_LIMIT)
    if canonical_form(domain) != content:
        raise FormatError("Domain: not in canonical form.")
    return domain


def domain_digest(domain: Domain) -> bytes:
    """SHA-256 over label and canonical form, 32 bytes."""
    return framed_digest(DOMAIN_LABEL, canonical_form(domain))


def summarise(domain: Domain, signed: SignedDomain | None = None) -> DomainSummary:
    """What a release manifest says about a domain, with what its owner has signed; lists in canonical order."""
    values = json.loads(canonical_form(domain))
    return DomainSummary(
        name=domain.name,
        level=domain.level.value,
        owner=domain.owner.name,
        digest=domain_digest(domain).hex(),
        egress=[DomainEndpoint(**one) for one in values["egress"]],
        flows=[DomainFlow(**one) for one in values["flow"]],
        signed=signed,
        opening=DomainOpening(
            tiers=[TpmTier(one) for one in values["open"]["tiers"]], features=values["open"]["features"]
        ),
    )


def _encoded(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _sorted(value: Any) -> Any:
    """All lists of a domain are sets."""
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted((_sorted(each) for each in value), key=_encoded)
    return value
