"""Import of a release: all of it is verified, and twice is once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_licensing.custodian import Custodians
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.keyring import load_keyring
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.records import ReleaseRecord, ReleaseShares
from sealwright_licensing.release_import import (
    BuildOutput,
    import_release,
    read_build_output,
)
from sealwright_licensing.stored_releases import stored_approvals, stored_release
from sealwright_policies.appraisal.reference_values import BootApplication
from sealwright_policies.appraisal.release import sign_release
from sealwright_policies.domains.canonical import summarise
from sealwright_policies.errors import FormatError, OperationError, RejectionCode, VerificationError
from sealwright_policies.wire.custodian_wrap import wrap_share
from sealwright_testing.domain_texts import domain_text, parse
from sealwright_testing.evidence_factory import SyntheticBox, key_shares
from sealwright_testing.license_world import OPERATOR, SERVICE_ID, LicenseWorld, build_output, synthetic_box
from sealwright_testing.owners import IMAGE, RECORDS, owned, records, release_fields, signed


def custodians(world: LicenseWorld) -> Custodians:
    return load_custodians(world.folder.keys)


def built(world: LicenseWorld, box: SyntheticBox) -> BuildOutput:
    keys = custodians(world)
    return build_output(box, (keys.lease_share.public_key, keys.release_share.public_key))[0]


def take(
    world: LicenseWorld, box: SyntheticBox, output: BuildOutput, key: ec.EllipticCurvePublicKey | None = None
) -> bool:
    chosen = key or box.manifest_key.public_key()
    return import_release(
        world.store,
        OPERATOR,
        custodians(world),
        output,
        chosen,
        trusted=ManifestKeys(world.folder.manifest_keys),
        service_id=SERVICE_ID,
        service_files=load_keyring(world.folder.keys).service_files,
        now=world.now,
    )[1]


def refused(world: LicenseWorld, box: SyntheticBox, output: BuildOutput, code: RejectionCode) -> str:
    with world.store.read() as transaction:
        before = transaction.count(ReleaseRecord)
    with pytest.raises(VerificationError) as caught:
        take(world, box, output)
    assert caught.value.code is code
    with world.store.read() as transaction:
        assert transaction.count(ReleaseRecord) == before
    return str(caught.value)


def test_importing_twice_is_importing_once(world: LicenseWorld) -> None:
    box = synthetic_box(product_version="2.0.0")
    output = built(world, box)
    assert take(world, box, output)
    assert not take(world, box, output)
    with world.store.read() as transaction:
        record = transaction.get(ReleaseRecord, box.release.release_id)
        assert transaction.count(ReleaseShares, release_id=box.release.release_id) == 1
    assert record is not None
    assert stored_release(record) == box.release


def test_a_manifest_by_another_key_is_refused(world: LicenseWorld) -> None:
    box = synthetic_box()
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(VerificationError) as caught:
        take(world, box, built(world, box), other)
    assert caught.value.code is RejectionCode.DOCUMENT_SIGNATURE


def test_an_image_for_another_service_is_refused(world: LicenseWorld) -> None:
    box = synthetic_box(service_id="service-2")
    assert "'service-2'" in refused(world, box, built(world, box), RejectionCode.MANIFEST_MISMATCH)


def test_shares_of_another_release_are_refused(world: LicenseWorld) -> None:
    box, other = synthetic_box(), synthetic_box(product_version="9")
    mixed = dataclasses.replace(built(world, box), shares=built(world, other).shares)
    refused(world, box, mixed, RejectionCode.MANIFEST_MISMATCH)


def test_shares_wrapped_to_other_custodians_are_refused(world: LicenseWorld) -> None:
    """Found at import, not at the first customer's activation."""
    box = synthetic_box()
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    keys = custodians(world)
    output, _ = build_output(box, (keys.lease_share.public_key, other))
    refused(world, box, output, RejectionCode.DOCUMENT_SIGNATURE)
    swapped, _ = build_output(box, (keys.release_share.public_key, keys.lease_share.public_key))
    refused(world, box, swapped, RejectionCode.DOCUMENT_SIGNATURE)


def test_shares_of_another_key_are_refused(world: LicenseWorld) -> None:
    """Anybody can wrap bytes to the custodians' public keys; a box would find out in the field."""
    box = synthetic_box(product_version="2.0.0")
    good = built(world, box)
    bad = dataclasses.replace(good, shares=rewrapped(world, box, good, bytes(32)))
    assert "do not make its key" in refused(world, box, bad, RejectionCode.MANIFEST_MISMATCH)
    assert take(world, box, good)
    before = stored_shares(world, box)
    refused(world, box, bad, RejectionCode.MANIFEST_MISMATCH)
    assert stored_shares(world, box) == before


def test_the_same_shares_wrapped_anew_are_taken(world: LicenseWorld) -> None:
    box = synthetic_box(product_version="2.0.0")
    good = built(world, box)
    assert take(world, box, good)
    before = stored_shares(world, box)
    (payload,) = box.release.manifest.payloads
    again = rewrapped(world, box, good, key_shares(payload.verity.root_hash)[1])
    assert not take(world, box, dataclasses.replace(good, shares=again))
    assert stored_shares(world, box) != before


def rewrapped(world: LicenseWorld, box: SyntheticBox, output: BuildOutput, release_share: bytes) -> bytes:
    """shares.json with another release share, wrapped as it should be."""
    (payload,) = box.release.manifest.payloads
    part = payload.verity.root_hash
    public = custodians(world).release_share.public_key
    wrapped = wrap_share(public, release_share, partition_id=bytes.fromhex(part), name="release")
    document = json.loads(output.shares)
    document["partitions"][0]["release_share"] = wrapped.model_dump(mode="json")
    return json.dumps(document).encode()


def stored_shares(world: LicenseWorld, box: SyntheticBox) -> list[ReleaseShares]:
    with world.store.read() as transaction:
        return transaction.find(ReleaseShares, release_id=box.release.release_id)


def test_a_missing_approval_is_refused(world: LicenseWorld) -> None:
    box = synthetic_box()
    output = dataclasses.replace(built(world, box), approvals=b"[]")
    assert "no approval" in refused(world, box, output, RejectionCode.MANIFEST_MISMATCH)


def test_an_approval_by_another_key_is_refused(world: LicenseWorld) -> None:
    box = synthetic_box()
    forger = synthetic_box()
    forged = json.loads(built(world, forger).approvals)
    forged[0]["release_id"] = box.release.release_id
    output = dataclasses.replace(built(world, box), approvals=json.dumps(forged).encode())
    refused(world, box, output, RejectionCode.DOCUMENT_SIGNATURE)


def test_an_approval_of_another_state_is_refused(world: LicenseWorld) -> None:
    """E.g. of PCR 15 after the closing word: share B would unseal at any time."""
    box = synthetic_box()
    changed = json.loads(built(world, box).approvals)
    changed[0]["pcrs"]["15"] = "11" * 32
    output = dataclasses.replace(built(world, box), approvals=json.dumps(changed).encode())
    refused(world, box, output, RejectionCode.MANIFEST_MISMATCH)


def with_variant(world: LicenseWorld, box: SyntheticBox, content: bytes) -> tuple[BuildOutput, BootApplication]:
    """The output of ``approve-boot`` for one more way through PCR 4, and that way."""
    way = box.way(content, name=content.decode())
    plain, box.release = box.release, dataclasses.replace(box.release, variants=(way,))
    try:
        output = built(world, box)
    finally:
        box.release = plain
    return output, way


def test_ways_signed_later_are_added_and_stay(world: LicenseWorld) -> None:
    """To a release that is known, one after the other; an import without them withdraws none."""
    box = synthetic_box(product_version="2.0.0")
    assert take(world, box, built(world, box))
    first, one = with_variant(world, box, b"one")
    second, two = with_variant(world, box, b"two")
    for output in (first, second, built(world, box), first):
        assert not take(world, box, output)
    with world.store.read() as transaction:
        record = transaction.get(ReleaseRecord, box.release.release_id)
    assert record is not None
    release = stored_release(record)
    assert sorted(way.name for way in release.variants) == [one.name, two.name]
    approved = [approval.pcrs["4"] for approval in stored_approvals(record)]
    assert sorted(approved) == sorted(2 * [way.pcr4 for way in release.measurements.boot_applications])


def test_ways_by_another_key_are_refused(world: LicenseWorld) -> None:
    box = synthetic_box(product_version="2.0.0")
    output, way = with_variant(world, box, b"one")
    forged = box.variants(way, key=ec.generate_private_key(ec.SECP256R1()))
    refused(world, box, dataclasses.replace(output, variants=forged), RejectionCode.DOCUMENT_SIGNATURE)


def test_an_approval_of_an_unlisted_way_is_refused(world: LicenseWorld) -> None:
    """The release key's word alone is not enough: the manifest key must have listed the way."""
    box = synthetic_box(product_version="2.0.0")
    output, _ = with_variant(world, box, b"one")
    told = refused(world, box, dataclasses.replace(output, variants=None), RejectionCode.MANIFEST_MISMATCH)
    assert "neither the manifest nor variants.json" in told


def test_files_that_are_not_json_are_format_errors(world: LicenseWorld) -> None:
    box = synthetic_box()
    good = built(world, box)
    for field in ("manifest", "shares", "approvals"):
        with pytest.raises(FormatError):
            take(world, box, dataclasses.replace(good, **{field: b"{"}))


def test_a_folder_that_is_no_build_output_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"manifest\.json cannot be read.*sealwright-image build"):
        read_build_output(tmp_path)


def test_a_release_with_an_owners_data_set_is_imported(world: LicenseWorld) -> None:
    box = synthetic_box(**release_fields(signed(records(), {"tune": IMAGE})))
    assert take(world, box, built(world, box))


def test_the_manifest_key_opens_an_owners_data_set_to_no_other_workload(world: LicenseWorld) -> None:
    box = synthetic_box(**release_fields(signed(records(), {"tune": IMAGE})))
    changed = box.manifest().model_copy(update=release_fields(signed(records(), {"tune": "2b" * 32})))
    output = dataclasses.replace(built(world, box), manifest=sign_release(changed, box.manifest_key))
    assert "workload tune" in refused(world, box, output, RejectionCode.OWNER_UNSIGNED)


def test_the_manifest_key_leaves_out_or_replaces_no_owner(world: LicenseWorld) -> None:
    """The shares are those of the owner's release: they make its key, and the check of the data set is of that one."""
    other = ec.generate_private_key(ec.SECP256R1())
    stolen = parse(owned(domain_text("records", more=RECORDS), other)).domain
    word = signed(stolen, {"tune": IMAGE}, other)
    moved = release_fields(signed(records(), {"tune": IMAGE}))
    moved["payloads"][1] = moved["payloads"][1].model_copy(update={"domain": "training"})
    for fields in (
        release_fields(None, summarise(records())),
        release_fields(None, summarise(parse(domain_text("records", more=RECORDS)).domain)),
        release_fields(word, summarise(stolen, word)),
        moved,
    ):
        box = synthetic_box(**fields)
        sentence = refused(world, box, built(world, box), RejectionCode.MANIFEST_MISMATCH)
        assert f"of partition {'5c' * 8} do not make its key" in sentence
