"""What a domain's ``[open]`` demands of a box at its start: release, TPM, licence."""

from __future__ import annotations

import pytest

from sealwright_appliance.domain_opening import BoxRights, obstacle_to_domain
from sealwright_policies.domains.model import Domain
from sealwright_policies.tpm_tier import TpmTier
from sealwright_testing.domain_texts import domain_text, open_anywhere, parse, replaced

DISCRETE = BoxRights(TpmTier.DISCRETE, frozenset())
UNKNOWN = BoxRights(None, frozenset({"training"}))


def demanding(*features: str) -> Domain:
    """Of releases 1.x, on discrete TPMs."""
    listed = ", ".join(f'"{one}"' for one in features)
    return parse(replaced(domain_text("training"), "features = []", f"features = [{listed}]")).domain


def refusal(domain: Domain, version: str = "1.2", rights: BoxRights = DISCRETE) -> tuple[str, str]:
    found = obstacle_to_domain(domain, version, rights)
    return ("", "") if found is None else (found.code, found.sentence)


@pytest.mark.parametrize("version", ["1.0", "1.99"])
def test_a_box_that_has_what_is_demanded_may_open_it(version: str) -> None:
    rights = BoxRights(TpmTier.DISCRETE, frozenset({"training", "audit"}))
    assert refusal(demanding("training"), version, rights) == ("", "")


@pytest.mark.parametrize(
    ("version", "code", "said"),
    [("0.9", "VERSION_BELOW_FLOOR", "from 1.0 on, not for 0.9"), ("2.0", "RELEASE_NOT_ALLOWED", "below 2.0")],
)
def test_a_release_that_it_is_not_for_opens_nothing(version: str, code: str, said: str) -> None:
    found, sentence = refusal(demanding(), version)
    assert found == code
    assert said in sentence
    assert "It opens under a release of such a version." in sentence


@pytest.mark.parametrize("tier", [TpmTier.SOFTWARE, TpmTier.FIRMWARE])
def test_another_tpm_opens_nothing(tier: TpmTier) -> None:
    code, sentence = refusal(demanding(), rights=BoxRights(tier, frozenset()))
    assert code == "TIER_NOT_ALLOWED"
    assert f"on a TPM of the tier {tier.value}" in sentence


def test_a_licence_without_a_feature_opens_nothing() -> None:
    code, sentence = refusal(demanding("audit", "training"), rights=BoxRights(TpmTier.DISCRETE, frozenset({"audit"})))
    assert code == "NOT_ENTITLED"
    assert sentence.startswith("training demands of the licence: training. It opens at the start behind a renewal")


def test_where_nobody_can_tell_the_tpm_only_what_opens_on_all_of_them_does() -> None:
    assert refusal(parse(open_anywhere(domain_text("training"))).domain, rights=UNKNOWN) == ("", "")
    code, sentence = refusal(demanding("training"), rights=UNKNOWN)
    assert code == "TIER_NOT_ALLOWED"
    assert "the device certificate does not say which this is" in sentence
    assert refusal(demanding("training"), "2.0", UNKNOWN)[0] == "RELEASE_NOT_ALLOWED"
