"""What a domain's ``[open]`` demands of a box: its payloads are neither leased nor given without it."""

from __future__ import annotations

from typing import Any

import pytest

from sealwright_licensing.operations.licenses import change_terms
from sealwright_licensing.operations.terms import TermChanges
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.lease import verify_lease
from sealwright_policies.wire.messages import Grant
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.evidence_factory import NOW, payload_fields
from sealwright_testing.license_world import OPERATOR, LicenseWorld, grant, synthetic_box

ANY = list(TpmTier)
WIDE, NARROW = "01" * 32, "02" * 32
"""Root hashes of what lies in the one domain and in the other."""


def domain(name: str, tiers: list[TpmTier], *features: str) -> dict[str, Any]:
    """As a manifest lists it."""
    return {
        "name": name,
        "level": "confidential",
        "owner": "somebody",
        "digest": "d0" * 32,
        "egress": [],
        "flows": [],
        "opening": {"tiers": tiers, "features": list(features)},
    }


def enrolled(world: LicenseWorld, *domains: dict[str, Any]) -> tuple[EnrolledDevice, Grant]:
    """A box with a software TPM and two models, of the first domain and of the second."""
    payloads = [
        payload_fields(root_hash) | {"payload_id": name, "domain": one["name"]}
        for name, root_hash, one in zip(("medical", "finance"), (WIDE, NARROW), domains, strict=True)
    ]
    world.box = synthetic_box(payloads=payloads, domains=list(domains))
    world.import_release(world.box)
    license_, (code,) = world.issue()
    device = world.device()
    given = world.enroll(device, code)
    return EnrolledDevice(world, license_, device, verify_lease(given.leases[0], world.service)), given


def leased(grant: Grant, world: LicenseWorld) -> list[str]:
    """Payload ids."""
    return [one.payload_id for one in verify_lease(grant.leases[0], world.service).partitions]


def test_a_domain_is_not_opened_on_another_kind_of_tpm(world: LicenseWorld) -> None:
    _, given = enrolled(world, domain("wide", ANY), domain("narrow", [TpmTier.DISCRETE, TpmTier.FIRMWARE]))
    assert (leased(given, world), len(given.shares)) == (["medical"], 1)


def test_a_domain_is_opened_with_the_features_that_it_demands(world: LicenseWorld) -> None:
    """And no longer, once the licence has them no more."""
    box, given = enrolled(world, domain("wide", ANY), domain("narrow", ANY, "training", "export"))
    assert (leased(given, world), len(given.shares)) == (["medical"], 1)
    for features, opened in (
        ("training", ["medical"]),
        ("export,training", ["medical", "finance"]),
        ("export", ["medical"]),
    ):
        change_terms(world.store, OPERATOR, box.license_.license_id, TermChanges(features=features), now=NOW)
        given = grant(box.ask(box.nonce()))
        assert leased(given, world) == opened
        assert (NARROW in {one.partition_id for one in given.shares}) is ("finance" in opened)


@pytest.mark.parametrize(
    ("tiers", "features", "code"),
    [
        ([TpmTier.DISCRETE], (), RejectionCode.TIER_NOT_ALLOWED),
        (ANY, ("training",), RejectionCode.NOT_ENTITLED),
    ],
)
def test_a_box_for_which_no_domain_opens_is_denied(
    world: LicenseWorld, tiers: list[TpmTier], features: tuple[str, ...], code: RejectionCode
) -> None:
    denied(code, lambda: enrolled(world, domain("one", tiers, *features), domain("other", tiers, *features)))


def test_a_release_that_lists_no_opening_is_opened_as_before(world: LicenseWorld) -> None:
    silent = domain("one", ANY) | {"opening": None}
    _, given = enrolled(world, silent, silent | {"name": "other"})
    assert leased(given, world) == ["medical", "finance"]
