"""Texts of domains, held against what a release says of them."""

from __future__ import annotations

import pytest

from sealwright_policies.appraisal.reference_values import Manifest
from sealwright_policies.domains.canonical import summarise
from sealwright_policies.domains.held_texts import TABLES, hold_texts
from sealwright_policies.domains.model import Domain
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_testing.domain_texts import SERVING, domain_text, parse
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.owners import records, signed

KEPT = "\n[retention]\nprompts_days = 7\n"
TEXT = domain_text("medical", more=SERVING + KEPT)


def manifest(*domains: Domain) -> Manifest:
    """Of these domains, and ``records``, which its owner has signed."""
    owned = records()
    return SyntheticBox().release.manifest.model_copy(
        update={"domains": [*(summarise(one) for one in domains), summarise(owned, signed(owned))]}
    )


MANIFEST = manifest(parse(TEXT).domain)


def refusal(*texts: str) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        hold_texts(MANIFEST, [parse(text) for text in texts])
    return caught.value


def test_the_text_of_a_file_is_known_if_its_digest_is_that_of_the_release() -> None:
    held = hold_texts(MANIFEST, [parse(f"# A remark changes no digest.\n{TEXT}")])
    tables = held["medical"].tables()
    assert tuple(tables) == TABLES
    assert (tables["api"]["logprobs"], tables["api"]["pad_stream"]) == (5, False)
    assert (tables["retention"]["prompts_days"], tables["retention"]["logs_days"]) == (7, 0)
    assert tables["metering"]["by_key"] is True
    source, *lines = held["medical"].lines()
    assert source.startswith("text      domain medical: that of ")
    assert [line.split()[0] for line in lines] == list(TABLES)
    assert any(line.startswith("retention domain medical: prompts_days = 7, results_days = 0") for line in lines)


def test_what_an_owner_has_signed_is_known_without_a_file() -> None:
    held = hold_texts(MANIFEST, [])
    assert list(held) == ["records"]
    assert held["records"].tables()["run"]["workloads"] == ["count", "tune"]
    assert held["records"].lines()[0] == "text      domain records: as its owner has signed it"


@pytest.mark.parametrize(
    "changed",
    [
        TEXT.replace("prompts_days = 7", "prompts_days = 8"),
        TEXT.replace("logprobs = 5", "logprobs = 4"),
        TEXT.replace("by_key = true", "by_key = false"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_both_digests(changed: str) -> None:
    error = refusal(changed)
    assert error.code is RejectionCode.MANIFEST_MISMATCH
    for text in (TEXT, changed):
        assert summarise(parse(text).domain).digest in str(error)


def test_a_file_of_a_domain_that_the_release_does_not_have_is_refused() -> None:
    error = refusal(TEXT, domain_text("other"))
    assert error.code is RejectionCode.DOMAIN_UNKNOWN
    assert "no domain other" in str(error)


def test_all_that_is_wrong_is_named() -> None:
    error = refusal(domain_text("other"), domain_text("medical"))
    assert "no domain other" in str(error)
    assert "than domain medical of the release" in str(error)
