"""A manifest lists the domains of its payloads, by summaries that follow from their files."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import DomainSummary
from sealwright_policies.appraisal.release import sign_release, verify_release
from sealwright_policies.domains.canonical import domain_digest, summarise
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_testing.domain_texts import domain_text, examples, parse
from sealwright_testing.evidence_factory import SyntheticBox

KEY = ec.generate_private_key(ec.SECP256R1())
NAME = "medical"


def signed(domains: list[DomainSummary]) -> bytes:
    manifest = SyntheticBox().release.manifest
    assert {one.domain for one in manifest.payloads} == {NAME}
    return sign_release(manifest.model_copy(update={"domains": domains}), KEY)


def summary(name: str) -> DomainSummary:
    return summarise(parse(domain_text(name)).domain)


def test_a_summary_says_what_may_leave() -> None:
    clinic = examples().by_name["clinic"].domain
    told = summarise(clinic)
    assert told.digest == domain_digest(clinic).hex()
    assert [str(one) for one in told.egress] == [
        "documents.clinic.example port 443/tcp at 192.0.2.16/28",
        "2001:db8:20::5 port 6514/tcp",
    ]
    training = summarise(examples().by_name["oncology-training"].domain)
    assert (training.level, [str(one) for one in training.flows]) == ("sealed", ["metrics to clinic"])


@pytest.mark.parametrize("names", [[], [NAME], [NAME, "other"]])
def test_payloads_are_of_listed_domains(names: list[str]) -> None:
    release = verify_release(signed([summary(one) for one in names]), KEY.public_key())
    assert [one.name for one in release.manifest.domains] == names


@pytest.mark.parametrize("names", [["other"], [NAME, NAME]])
def test_a_manifest_that_omits_or_repeats_a_domain_is_refused(names: list[str]) -> None:
    with pytest.raises(VerificationError) as caught:
        verify_release(signed([summary(one) for one in names]), KEY.public_key())
    assert caught.value.code is RejectionCode.MANIFEST_MISMATCH
