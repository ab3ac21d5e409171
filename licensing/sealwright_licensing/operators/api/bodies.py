"""What operators send: documents, read as strictly as those of boxes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, StringConstraints

from sealwright_licensing.endorsement import Tier
from sealwright_licensing.leases import DAY_S
from sealwright_licensing.licenses import joined
from sealwright_licensing.operations import terms
from sealwright_licensing.operations.terms import TermChanges
from sealwright_licensing.records import Overage, RenewalBasis
from sealwright_policies.appraisal.reference_values import ProductVersion
from sealwright_policies.wire.encoding import Document, Identifier, Sha256Hex
from sealwright_policies.wire.lease import EndBehaviour

MOST_SEATS = 10_000
"""Of one request: it answers with a code for each."""
Days = Annotated[int, Field(ge=1, le=terms.MOST_DAYS)]
Hours = Annotated[int, Field(ge=1, le=terms.MOST_DAYS * 24)]
Seats = Annotated[int, Field(ge=1, le=MOST_SEATS)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Names = Annotated[tuple[Identifier, ...], Field(max_length=256)]
Note = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(frozen=True, extra="forbid", strict=True, json_schema_extra={"examples": [fields]})


class Nothing(Document):
    """A body without members; no body at all is the same."""


class LicenseIssue(Document):
    """A new licence. What is left out is as policies/spec/licence.md, 2 says."""

    model_config = _example(product="sealed-advisor", seats=5, days=365, tiers=["discrete"], note="Ward 3")

    product: Identifier
    seats: Seats = 1
    days: Days = 365
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=len(Tier))]
    lease_days: Annotated[int, Field(ge=1, le=366)] = terms.DEFAULT_LEASE_DAYS
    renew_after_s: Annotated[int, Field(ge=1, le=366 * DAY_S)] | None = None
    max_request_s: Annotated[int, Field(ge=1, le=terms.MOST_REQUEST_S)] = terms.DEFAULT_MAX_REQUEST_S
    powered_on_hours: Hours | None = None
    starts_at: Count | None = None
    grace_days: Annotated[int, Field(ge=0, le=terms.MOST_DAYS)] = 0
    overage: Overage = Overage.NONE
    at_end: EndBehaviour = EndBehaviour.CLOSE
    renewal_basis: RenewalBasis = RenewalBasis.EXPIRY
    boots_without_contact: Annotated[int, Field(ge=0, le=terms.MOST_BOOTS)] = 0
    partitions: Names = ()
    domains: Names = ()
    features: Names = ()
    version_floor: ProductVersion = "0"
    allow_test_images: bool = False
    note: Note = ""


class LicenseChange(Document):
    """Terms that become others; what is left out stays."""

    model_config = _example(seats=10, overage="1.25")

    seats: Annotated[int, Field(ge=1, le=terms.MOST_SEATS)] | None = None
    overage: Overage | None = None
    grace_s: Count | None = None
    at_end: EndBehaviour | None = None
    renewal_basis: RenewalBasis | None = None
    tick_budget: Count | None = None
    lease_s: Count | None = None
    renew_after_s: Count | None = None
    boots_without_contact: Count | None = None
    max_request_s: Count | None = None
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=len(Tier))] | None = None
    allow_test_images: bool | None = None
    partitions: Names | None = None
    domains: Names | None = None
    features: Names | None = None
    note: Note | None = None

    def changes(self) -> TermChanges:
        """As the operation takes them."""
        given = self.model_dump()
        lists = {name: joined(given[name]) for name in terms.LISTED if given[name] is not None}
        return TermChanges(**(given | lists))


class LicenseRenewal(Document):
    """A duration to add."""

    model_config = _example(days=365)

    days: Days
    powered_on_hours: Hours | None = None
    """Running time to add; left out: all of it."""


class VersionFloor(Document):
    """The lowest version that is allowed."""

    model_config = _example(version="2.0")

    version: ProductVersion
    lower: bool = False
    """Whether versions that the floor refuses today are to be allowed again."""


class Resumption(Document):
    """How a held device goes on."""

    model_config = _example(history=1)

    history: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Of a device that is said to be two: the one that goes on."""


class TransferOrder(Document):
    """A device that is to be replaced."""

    model_config = _example(at_once=False)

    at_once: bool = False
    """Retire it now, and not when the other one enrols."""


class FirmwareApproval(Document):
    """Exactly these values are approved."""

    model_config = _example(digest="5e" * 32)

    digest: Sha256Hex


class Settlement(Document):
    """The operator's word about disputed receipts."""

    model_config = _example(count=True)

    count: bool
    """Whether they were served and are added to the totals."""
