"""The text under which a box took what it holds, and whether a later one is within it (spec/domain-flow.md, 12).

A domain is a name; what its owner has agreed to is a text. A later release may have another under the same name. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from sealwright_policies.domains.canonical import DOMAIN_LABEL, canonical_form
from sealwright_policies.domains.fields import Name
from sealwright_policies.domains.limits import LIMITS
from sealwright_policies.domains.model import Chain, Domain, Owner
from sealwright_policies.domains.orders import listed
from sealwright_policies.domains.reader import DOMAIN_FILE_LIMIT
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Bytes64K, Document, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.framing import framed_digest

ENTRUSTED_LIMIT = 128 * 1024


class EntrustedText(Document):
    """What a domain said at that time."""

    version: Annotated[int, Field(ge=1, le=1)]
    digest: Sha256Hex
    form: Bytes64K
    """Canonical form, of the keys that there were."""
    owners: Annotated[dict[Name, Owner], Field(max_length=16)]
    """Of the domains that it took bound forms from: they sign what runs on that."""

    @property
    def domain(self) -> Domain:
        """As this release reads it: silent on the keys that are newer, which forbids what they let."""
        return parse_json(Domain, self.form, limit=DOMAIN_FILE_LIMIT)


def entrusted_text(name: str, known: Mapping[str, Domain]) -> EntrustedText:
    """What a domain says now, of a release that has these."""
    form = canonical_form(known[name])
    return EntrustedText(
        version=1,
        digest=framed_digest(DOMAIN_LABEL, form).hex(),
        form=form,
        owners={one.source: known[one.source].owner for one in known[name].chain if one.is_bound},
    )


def parse_entrusted(content: bytes) -> EntrustedText:
    """Read a text that was kept.

    Raises:
        FormatError: it is malformed, not of its digest, or has keys that this release does not know.
    """
    text = parse_json(EntrustedText, content, limit=ENTRUSTED_LIMIT)
    if framed_digest(DOMAIN_LABEL, text.form).hex() != text.digest:
        raise FormatError("EntrustedText: digest: not that of the form.")
    if {one.source for one in text.domain.chain if one.is_bound} != set(text.owners):
        raise FormatError("EntrustedText: owners: not those of the domains that it takes from.")
    return text


def entrusted_bytes(text: EntrustedText) -> bytes:
    """As it is kept."""
    return document_bytes(text)


def widenings(then: EntrustedText, now: EntrustedText) -> tuple[str, ...]:
    """In what a later text is wider than the one under which something was taken; empty if it may have it."""
    before, after = then.domain, now.domain
    if before.name != after.name:
        return (f"name: {after.name}, was {before.name}",)
    return (
        *wider_limits(before, after),
        *_other_owner("owner", before.owner, after.owner),
        *_dropped_chains(before, after),
        *(
            sentence
            for source, owner in then.owners.items()
            if source in now.owners
            for sentence in _other_owner(f"owner of {source}", owner, now.owners[source])
        ),
    )


def wider_limits(before: Domain, after: Domain) -> Iterator[str]:
    """Keys in which a domain is wider than it was, and how."""
    for limit in LIMITS.values():
        for excess in limit.order.beyond(limit.value(after), limit.value(before)):
            yield f"{limit.key}: {excess.found}, was {excess.allowed}"


def _other_owner(key: str, before: Owner, after: Owner) -> Iterator[str]:
    """Another owner has agreed to nothing; one who signed no longer does, or for less."""
    if (before.kind, before.name) != (after.kind, after.name):
        yield f"{key}: {after.name}, was {before.name}"
    if before.key is None:
        return
    if before.key != after.key:
        yield f"{key}: {'another key' if after.key else 'no key'}"
    elif after.vendor_workloads and not before.vendor_workloads:
        yield f"{key}: vendor_workloads"


def _dropped_chains(before: Domain, after: Domain) -> Iterator[str]:
    """Who signs what runs on data that came from there is asked by its chain."""
    taken = {one.source: _bound(one) for one in after.chain}
    for one in before.chain:
        if missing := _bound(one) - taken.get(one.source, set()):
            yield f"chain: {listed(missing)} from {one.source} no more"


def _bound(chain: Chain) -> set[str]:
    return {form.value for form in chain.forms if form.is_bound}
