"""What owners sign, and what a manifest may say of it."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import DomainSummary, Manifest, PayloadKind, SignedDomain
from sealwright_policies.appraisal.release import sign_release, verify_release
from sealwright_policies.domains.canonical import summarise
from sealwright_policies.domains.owner_report import ownership, ownership_changes
from sealwright_policies.domains.owner_signing import sign_domain, sign_workload
from sealwright_policies.domains.ownership import key_id, owner_key_id, require_owners, verify_signed_domain
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.flows.permission import require_declared
from sealwright_policies.workloads import WorkloadPlan
from sealwright_testing.domain_texts import domain_text, parse
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.owners import IMAGE, RECORDS, key_text, owned, owner_key, records, release_fields, signed

MANIFEST_KEY = ec.generate_private_key(ec.SECP256R1())
PLAN = WorkloadPlan(domain="training", reads=("cases", "medical"))


def manifest(word: SignedDomain | None, summary: DomainSummary | None = None, **changes: Any) -> Manifest:
    fields = release_fields(word, summary) | changes
    return SyntheticBox().release.manifest.model_copy(update=fields)


def verified(one: Manifest) -> Manifest:
    return verify_release(sign_release(one, MANIFEST_KEY), MANIFEST_KEY.public_key()).manifest


def refused(one: Manifest) -> tuple[RejectionCode, str]:
    with pytest.raises(VerificationError) as caught:
        verified(one)
    return caught.value.code, str(caught.value)


def test_a_release_with_the_owners_word_is_one() -> None:
    release = verified(manifest(signed(records(), {"tune": IMAGE})))
    assert owner_key_id(release, "records") == key_id(records())
    assert owner_key_id(release, "medical") is None
    require_owners(release, "tune", PLAN)


def test_the_manifest_key_alone_lets_no_other_image_run() -> None:
    code, sentence = refused(manifest(signed(records())))
    assert code is RejectionCode.OWNER_UNSIGNED
    assert "has not signed the image 1a1a1a1a1a1a1a1a of workload tune" in sentence
    assert refused(manifest(signed(records(), {"tune": "1b" * 32})))[0] is RejectionCode.OWNER_UNSIGNED
    assert refused(manifest(signed(records(), {"count": IMAGE})))[0] is RejectionCode.OWNER_UNSIGNED
    verified(manifest(signed(records(vendor_workloads=True)), summarise(*trusting())))


def test_a_workload_that_reads_what_came_to_an_owners_domain_needs_its_leave() -> None:
    """Though nothing of the release lies there."""
    word = signed(records(), {"tune": IMAGE})
    reads = WorkloadPlan(domain="training", reads=("medical",), files=("records", "training"))
    require_owners(manifest(word), "tune", reads)
    with pytest.raises(VerificationError) as caught:
        require_owners(manifest(word), "unknown", reads)
    assert caught.value.code is RejectionCode.OWNER_UNSIGNED


def trusting() -> tuple[Any, SignedDomain]:
    domain = records(vendor_workloads=True)
    return domain, signed(domain)


def test_no_name_or_kind_hides_an_image_or_a_partition() -> None:
    """A second name for the owner's data set, or for the workload, would be judged as the other is."""
    word = signed(records(), {"tune": IMAGE})
    payloads = release_fields(word)["payloads"]
    medical, cases, tune = payloads
    again = cases.model_copy(update={"payload_id": "again", "domain": "training"})
    other = tune.model_copy(update={"verity": tune.verity.model_copy(update={"root_hash": "66" * 32})})
    for listed in ([*payloads, again], [again, *payloads], [other, *payloads]):
        code, sentence = refused(manifest(word, payloads=listed))
        assert code is RejectionCode.MANIFEST_MISMATCH
        assert sentence.endswith("twice.")
    called = other.model_copy(update={"kind": PayloadKind.MODEL})
    assert refused(manifest(word, payloads=[medical, cases, called]))[0] is RejectionCode.OWNER_UNSIGNED


def test_a_manifest_says_of_a_signed_domain_what_its_owner_has_signed() -> None:
    word = signed(records(), {"tune": IMAGE})
    told = summarise(records(), word)
    wider = parse(owned(domain_text("records", more=RECORDS + '\n[[flow]]\nto = "training"\nforms = ["raw"]\n')))
    for summary in (
        told.model_copy(update={"level": "confidential"}),
        told.model_copy(update={"owner": "somebody else"}),
        told.model_copy(update={"digest": "00" * 32}),
        summarise(wider.domain, word),
    ):
        code, sentence = refused(manifest(word, summary))
        assert code is RejectionCode.MANIFEST_MISMATCH
        assert "what its owner has not signed" in sentence


def test_what_is_no_member_does_not_lie_in_a_signed_domain() -> None:
    word = signed(records(), {"tune": IMAGE})
    payloads = release_fields(word)["payloads"]
    cases = payloads[1]
    for change in ({"kind": PayloadKind.MODEL}, {"payload_id": "others"}):
        changed = [cases.model_copy(update=change) if one is cases else one for one in payloads]
        code, sentence = refused(manifest(word, payloads=changed))
        assert code is RejectionCode.MANIFEST_MISMATCH
        assert "is no member of domain records" in sentence


def test_what_was_signed_ends_with_the_versions_that_the_domain_opens_for() -> None:
    word = signed(records(), {"tune": IMAGE})
    verified(manifest(word, product_version="1.99"))
    for version in ("0.9", "2.0"):
        assert refused(manifest(word, product_version=version))[0] is RejectionCode.RELEASE_NOT_ALLOWED


def test_a_workload_that_the_root_lets_read_has_to_be_let_run_by_the_owner() -> None:
    """By the root's own list, which is the vendor's: the manifest is held against it."""
    release = verified(manifest(signed(records(), {"tune": IMAGE})))
    for name, plan, lets in (
        ("tune", PLAN, True),
        ("stranger", PLAN, False),
        ("stranger", PLAN.model_copy(update={"reads": ("medical",)}), True),
        ("stranger", PLAN.model_copy(update={"reads": (), "domain": "records"}), False),
    ):
        if lets:
            require_owners(release, name, plan)
            continue
        with pytest.raises(VerificationError) as caught:
            require_owners(release, name, plan)
        assert caught.value.code is RejectionCode.OWNER_UNSIGNED


def test_files_flow_under_no_manifest_that_leaves_the_owner_out() -> None:
    """Its text is the same, key and all; the box at the other end would let run what the owner has not signed."""
    word = signed(records(), {"tune": IMAGE})
    require_declared(records(), verified(manifest(word)), "the other box")
    bare = verified(manifest(None, summarise(records())))
    with pytest.raises(VerificationError) as caught:
        require_declared(records(), bare, "the other box")
    assert caught.value.code is RejectionCode.OWNER_UNSIGNED


def test_only_the_key_that_a_domain_names_signs_it() -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    for domain, key in ((records(), other), (parse(domain_text()).domain, owner_key())):
        with pytest.raises(VerificationError) as caught:
            sign_domain(domain, key)
        assert caught.value.code is RejectionCode.OWNER_SIGNATURE
    with pytest.raises(VerificationError) as caught:
        sign_workload(signed(records()), "tune", IMAGE, other)
    assert caught.value.code is RejectionCode.OWNER_SIGNATURE
    with pytest.raises(VerificationError) as caught:
        sign_workload(signed(records()), "stranger", IMAGE, owner_key())
    assert caught.value.code is RejectionCode.DOMAIN_FORBIDS


def test_a_changed_domain_keeps_the_workloads_that_may_still_run() -> None:
    before = signed(records(), {"tune": IMAGE, "count": "2b" * 32})
    narrower = records(RECORDS.replace(', "count"', ""))
    after = sign_domain(narrower, owner_key(), before)
    assert verify_signed_domain(after) == narrower
    assert [(one.payload_id, one.root_hash) for one in after.workloads] == [("tune", IMAGE)]
    assert sign_domain(records(name="others"), owner_key(), before).workloads == []
    again = sign_workload(after, "tune", "3c" * 32, owner_key())
    assert [one.root_hash for one in again.workloads] == ["3c" * 32]


def test_a_key_has_one_spelling() -> None:
    good = key_text(owner_key())
    for bad in ("", "AAAA", good[:-4], good + "AAAA", good.rstrip("="), good.replace("+", "-") + "\n"):
        with pytest.raises(FormatError, match=r"records.toml: line \d+: owner.key: "):
            parse(owned(domain_text("records")).replace(good, bad.replace("\n", "\\n")))
    p384 = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(FormatError, match="P-256"):
        parse(owned(domain_text("records"), p384))
    with pytest.raises(FormatError, match=r"owner: vendor_workloads goes with a key"):
        parse(domain_text("records").replace("[owner]\n", "[owner]\nvendor_workloads = true\n"))


def test_people_are_told_whose_word_it_is() -> None:
    word = signed(records(), {"tune": IMAGE})
    identity = key_id(records())
    assert identity is not None
    told = summarise(records(), word)
    line = f"somebody, signed by key {identity.hex()}; workloads signed: tune 1a1a1a1a1a1a1a1a"
    assert ownership(told).line() == line
    bare = summarise(parse(domain_text("records")).domain)
    assert ownership(bare).line() == "somebody, by the vendor's word only"
    assert ownership(summarise(*trusting())).line().endswith("none; other workloads by the vendor's word")
    opened = "opened    domain records: image 1a1a1a1a1a1a1a1a of workload tune, signed by its owner"
    assert ownership_changes(told, told) == []
    assert ownership_changes(bare, told) == [
        f"owner     domain records: signed by key {identity.hex()}, was by the vendor's word only", opened,
    ]  # fmt: skip
    assert ownership_changes(told, bare) == [
        f"owner     domain records: by the vendor's word only, was signed by key {identity.hex()}",
        "opened    domain records: workloads that its owner has not signed",
    ]
    assert ownership_changes(None, told) == [f"owner     domain records: signed by key {identity.hex()}", opened]
    assert ownership_changes(None, bare) == []
    assert ownership_changes(told, summarise(*trusting())) == [
        "opened    domain records: workloads that its owner has not signed"
    ]
