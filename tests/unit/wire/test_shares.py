"""Key shares: wrapping to custodians, the volume key, approvals, device ids."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import WrappedShare
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.wire.custodian_wrap import ShareName, unwrap_share, wrap_share
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.framing import framed, qualifying_data, release_share_reference
from sealwright_policies.wire.release_approval import (
    release_approval_policy,
    sign_release_approval,
    verify_release_approval,
)
from sealwright_policies.wire.volume_key import derive_volume_key, key_check

CUSTODIAN = ec.generate_private_key(ec.SECP256R1())
SHARE = bytes(range(32))
PARTITION = b"\x5a" * 32
PCRS = {pcr: bytes([pcr]) * 32 for pcr in (4, 11, 12, 13, 15)}


def unwrap(
    wrapped: WrappedShare,
    *,
    key: ec.EllipticCurvePrivateKey = CUSTODIAN,
    partition_id: bytes = PARTITION,
    name: ShareName = "lease",
) -> bytes:
    return unwrap_share(
        lambda ephemeral: key.exchange(ec.ECDH(), ephemeral),
        key.public_key(),
        wrapped,
        partition_id=partition_id,
        name=name,
    )


def wrapped() -> WrappedShare:
    return wrap_share(CUSTODIAN.public_key(), SHARE, partition_id=PARTITION, name="lease")


def test_a_share_comes_back_from_its_custodian() -> None:
    assert unwrap(wrapped()) == SHARE


def test_a_share_is_bound_to_custodian_partition_and_name() -> None:
    changes: list[dict[str, Any]] = [
        {"key": ec.generate_private_key(ec.SECP256R1())},
        {"partition_id": bytes(32)},
        {"name": "release"},
    ]
    for change in changes:
        with pytest.raises(VerificationError) as caught:
            unwrap(wrapped(), **change)
        assert caught.value.code is RejectionCode.DOCUMENT_SIGNATURE


def test_a_changed_wrap_is_refused() -> None:
    honest = wrapped()
    for position in range(len(honest.ciphertext)):
        changed = bytearray(honest.ciphertext)
        changed[position] ^= 1
        with pytest.raises(VerificationError):
            unwrap(WrappedShare(ephemeral_public=honest.ephemeral_public, ciphertext=bytes(changed)))


def test_each_wrap_draws_its_own_key() -> None:
    assert wrapped().ciphertext != wrapped().ciphertext


@pytest.mark.parametrize("point", [b"", b"\x04" * 65, b"\x02" + bytes(32), b"\x00", b"\x04" + bytes(64)])
def test_a_point_off_the_curve_is_malformed(point: bytes) -> None:
    """Also before the custodian's key touches it: an invalid curve point could draw the key out of a token."""
    with pytest.raises(FormatError):
        unwrap(WrappedShare(ephemeral_public=point, ciphertext=bytes(48)))


def test_other_sizes_and_curves_are_malformed() -> None:
    public = CUSTODIAN.public_key()
    with pytest.raises(FormatError):
        wrap_share(public, SHARE[:-1], partition_id=PARTITION, name="lease")
    with pytest.raises(FormatError):
        wrap_share(public, SHARE, partition_id=b"short", name="lease")
    with pytest.raises(FormatError):
        unwrap(WrappedShare(ephemeral_public=wrapped().ephemeral_public, ciphertext=bytes(47)))
    p384 = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(FormatError):
        wrap_share(p384.public_key(), SHARE, partition_id=PARTITION, name="lease", ephemeral=p384)


def test_the_volume_key_is_hkdf_over_both_shares() -> None:
    """HKDF of RFC 5869 spelled out: extract with 32 zero bytes, then two blocks of expand."""
    info = struct.pack(">I", 24) + b"sealwright/v1/volume-key" + struct.pack(">I", 32) + PARTITION
    extracted = hmac.digest(bytes(32), b"\xaa" * 32 + b"\xbb" * 32, "sha256")
    first = hmac.digest(extracted, info + b"\x01", "sha256")
    second = hmac.digest(extracted, first + info + b"\x02", "sha256")

    assert derive_volume_key(b"\xaa" * 32, b"\xbb" * 32, PARTITION, None) == first + second


def test_the_volume_key_depends_on_each_part_and_their_order() -> None:
    a, b = b"\xaa" * 32, b"\xbb" * 32
    whole = (a, b, PARTITION, None)
    others = ((b, a, PARTITION, None), (a, b, bytes(32), None), (a, a, PARTITION, None))
    owned = ((a, b, PARTITION, bytes(32)), (a, b, PARTITION, b), (b, a, PARTITION, b))
    keys = {derive_volume_key(*parts) for parts in (whole, *others, *owned)}

    assert len(keys) == 7
    for parts in ((a, b[:-1], PARTITION, None), (a, b, PARTITION, b""), (a, b, PARTITION, b[:-1])):
        with pytest.raises(FormatError):
            derive_volume_key(*parts)


def test_an_owner_is_in_the_info_of_the_volume_key() -> None:
    owner = hashlib.sha256(b"an owner's key").digest()
    info = struct.pack(">I", 24) + b"sealwright/v1/volume-key"
    info += struct.pack(">I", 32) + PARTITION + struct.pack(">I", 32) + owner
    extracted = hmac.digest(bytes(32), b"\xaa" * 32 + b"\xbb" * 32, "sha256")
    first = hmac.digest(extracted, info + b"\x01", "sha256")
    second = hmac.digest(extracted, first + info + b"\x02", "sha256")

    assert derive_volume_key(b"\xaa" * 32, b"\xbb" * 32, PARTITION, owner) == first + second


def test_a_key_check_is_of_one_key_and_partition() -> None:
    label = struct.pack(">I", 23) + b"sealwright/v1/key-check"
    framed_key = struct.pack(">I", 32) + PARTITION + struct.pack(">I", 64) + b"\xaa" * 64

    assert key_check(b"\xaa" * 64, PARTITION) == hashlib.sha256(label + framed_key).hexdigest()
    assert len({key_check(key, part) for key in (b"a" * 64, b"b" * 64) for part in (PARTITION, bytes(32))}) == 4


def test_an_approval_is_of_one_state_and_partition() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    approval = sign_release_approval("11" * 32, PARTITION.hex(), PCRS, key)

    verify_release_approval(approval, key.public_key())
    others = (
        approval.model_copy(update={"partition_id": "00" * 32}),
        approval.model_copy(update={"pcrs": approval.pcrs | {"15": "ff" * 32}}),
        sign_release_approval("11" * 32, PARTITION.hex(), PCRS, ec.generate_private_key(ec.SECP256R1())),
    )
    for other in others:
        with pytest.raises(VerificationError) as caught:
            verify_release_approval(other, key.public_key())
        assert caught.value.code is RejectionCode.DOCUMENT_SIGNATURE


@pytest.mark.parametrize("pcrs", [{}, {4: bytes(32)}, PCRS | {7: bytes(32)}])
def test_an_approval_is_over_the_release_s_pcrs_alone(pcrs: dict[int, bytes]) -> None:
    with pytest.raises(FormatError):
        release_approval_policy(pcrs)


def test_framing_tells_fields_apart() -> None:
    assert framed("label", b"ab", b"c") != framed("label", b"a", b"bc")
    assert framed("label", b"") != framed("label")
    assert framed("l", b"a") == struct.pack(">I", 1) + b"l" + struct.pack(">I", 1) + b"a"


def test_qualifying_data_depends_on_every_field() -> None:
    fields = {"device_id": "d", "license_id": "l", "release_id": "r", "purpose": "renew"}
    base = qualifying_data(nonce=b"n", payload=b"p", **fields)
    others = [qualifying_data(nonce=b"x", payload=b"p", **fields), qualifying_data(nonce=b"n", payload=b"x", **fields)]
    others += [qualifying_data(nonce=b"n", payload=b"p", **(fields | {name: "x"})) for name in fields]

    assert len({base, *others}) == 7
    parts = (b"sealwright/v1/attest", b"n", b"d", b"l", b"r", b"renew", hashlib.sha256(b"p").digest())
    assert base == hashlib.sha256(b"".join(struct.pack(">I", len(part)) + part for part in parts)).digest()


def test_references_differ_by_partition() -> None:
    assert release_share_reference(PARTITION) != release_share_reference(bytes(32))


def test_a_device_id_is_52_letters_and_digits() -> None:
    """base32 of SHA-256 without padding; the value is that of coreutils' sha256sum and base32."""
    assert device_id(b"public area") == "s5sz3x43wgsvdy7bfar4d25urrcepmiridxtgbrnxajgvxoy7yjq"
