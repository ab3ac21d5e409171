"""Public areas, Names, selections and policies, where neither a vector nor a TPM shows the behaviour better."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealwright_policies.errors import (
    FormatError,
    RejectionCode,
    UnsupportedError,
    UsageError,
    VerificationError,
)
from sealwright_policies.tcg import pcr, policy
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.credential import make_credential
from sealwright_policies.tcg.keywrap import sealed_object_area, wrap_sealed_object
from sealwright_policies.tcg.nv import parse_nv_public
from sealwright_policies.tcg.public import parse_public
from sealwright_policies.tcg.reader import Reader, sized_2b
from sealwright_policies.tcg.srk import SrkTemplate, srk_template
from sealwright_policies.tcg.structures import Hierarchy, KeyKind, ak_template, qualified_name
from sealwright_testing.attestations import SoftwareAk

AREA = ak_template(KeyKind.ECC_P256)


def test_a_reader_refuses_more_than_its_limit() -> None:
    with pytest.raises(FormatError):
        Reader(bytes(11), "x", max_size=10)


def test_a_sized_field_has_a_limit_of_its_own() -> None:
    reader = Reader(b"\x00\x03abc", "x", max_size=10)
    with pytest.raises(FormatError):
        reader.sized(2, "field")


def test_a_name_is_the_digest_of_the_exact_bytes() -> None:
    public = parse_public(AREA)
    assert public.name == b"\x00\x0b" + hashlib.sha256(AREA).digest()
    path = (0x40000001).to_bytes(4, "big") + public.name
    assert qualified_name(Hierarchy.OWNER, public.name) == b"\x00\x0b" + hashlib.sha256(path).digest()


@pytest.mark.parametrize("name_alg", [AlgorithmId.SHA1, AlgorithmId.NULL, AlgorithmId.SM3_256, 0x7777])
def test_a_weak_name_is_not_computed(name_alg: int) -> None:
    """With SHA-1 two public areas could share a Name."""
    public = parse_public(AREA[:2] + name_alg.to_bytes(2, "big") + AREA[4:])
    with pytest.raises(UnsupportedError):
        _ = public.name


def test_reserved_attribute_bits_are_refused() -> None:
    with pytest.raises(FormatError):
        parse_public(AREA[:4] + b"\x80" + AREA[5:])


def test_a_point_off_the_curve_is_no_key() -> None:
    """An invalid point would leak a seed in ECDH."""
    area = SoftwareAk().public.area
    with pytest.raises(FormatError):
        parse_public(area[:-1] + bytes((area[-1] ^ 1,))).key()
    with pytest.raises(FormatError):
        parse_public(AREA).key()


@pytest.mark.parametrize("kind", list(KeyKind))
def test_an_rsa_or_ecc_area_with_other_sizes_is_no_key(kind: KeyKind) -> None:
    with pytest.raises(FormatError):
        parse_public(ak_template(kind)).key()


def test_a_key_has_the_size_that_it_says() -> None:
    """One key must have one public area: no zeros before a coordinate, no modulus shorter than keyBits."""
    good = SoftwareAk().public
    x, y = good.unique
    padded = good.area[: -2 * 34] + sized_2b(b"\0" + x) + sized_2b(y)
    with pytest.raises(FormatError):
        parse_public(padded).key()
    modulus = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n.to_bytes(256, "big")
    rsa_area = ak_template(KeyKind.RSA_2048)[:-256] + modulus
    assert parse_public(rsa_area).key().key_size == 2048
    with pytest.raises(FormatError):
        parse_public(rsa_area.replace((2048).to_bytes(2, "big"), (3072).to_bytes(2, "big"), 1)).key()


def test_other_objects_are_read_but_have_no_key() -> None:
    """A sealed data object is a keyed hash."""
    public = parse_public(sealed_object_area(bytes(32), bytes(32)))
    assert public.type is AlgorithmId.KEYEDHASH
    assert public.auth_policy == bytes(32)
    with pytest.raises(UnsupportedError):
        public.key()


@pytest.mark.parametrize(
    ("offset", "value"),
    [(0, 0x00FF), (10, 0x0007), (12, 0x1234), (16, 0x0020)],
)
def test_unknown_kinds_are_unsupported(offset: int, value: int) -> None:
    """Object type, cipher, scheme, curve."""
    with pytest.raises(UnsupportedError):
        parse_public(AREA[:offset] + value.to_bytes(2, "big") + AREA[offset + 2 :])


def test_templates_are_what_the_specifications_print() -> None:
    """Written out by hand from the Provisioning Guidance: type, nameAlg, attributes, policy, cipher, scheme, key."""
    assert srk_template(SrkTemplate.ECC_P256).hex() == (
        "0023" "000b" "00030472" "0000" "000600800043" "0010" "0003" "0010" + ("0020" + "00" * 32) * 2
    )  # fmt: skip
    assert srk_template(SrkTemplate.RSA_2048).hex() == (
        "0001" "000b" "00030472" "0000" "000600800043" "0010" "0800" "00000000" "0100" + "00" * 256
    )  # fmt: skip
    assert ak_template(KeyKind.ECC_P256).hex().startswith("0023000b00050472" "0000" "0010" "0018000b")  # fmt: skip
    assert ak_template(KeyKind.RSA_2048).hex().startswith("0001000b00050472" "0000" "0010" "0014000b")  # fmt: skip


@pytest.mark.parametrize("bits", [0x00000100, 0x00000030])
def test_reserved_nv_bits_and_types_are_refused(bits: int) -> None:
    with pytest.raises(FormatError):
        parse_nv_public(bytes.fromhex("01c10200000b") + bits.to_bytes(4, "big") + bytes.fromhex("00000008"))


def test_an_nv_index_is_one() -> None:
    with pytest.raises(FormatError):
        parse_nv_public(bytes.fromhex("81000001000b00000000" "0000" "0008"))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "pcrs"),
    [("sha256:0", (0,)), ("sha256:7,0,11", (0, 7, 11)), ("sha256:0-3,23", (0, 1, 2, 3, 23)), ("sha256:4-4", (4,))],
)
def test_a_selection_as_people_write_it(text: str, pcrs: tuple[int, ...]) -> None:
    assert pcr.parse_selection(text) == (AlgorithmId.SHA256, pcrs)


@pytest.mark.parametrize(
    "text", ["", "sha256", "sha256:", "sha256:24", "sha256:-1", "sha256:0,0", "sha256:3-1", "sha256:a", "sha256:٣"]
)
def test_a_selection_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(UsageError):
        pcr.parse_selection(text)


@pytest.mark.parametrize("text", ["md5:0", "sha1:0+sha256:0"])
def test_a_selection_that_is_not_supported(text: str) -> None:
    with pytest.raises(UnsupportedError):
        pcr.parse_selection(text)


def test_a_digest_of_another_bank_extends_nothing() -> None:
    with pytest.raises(FormatError):
        pcr.extend(bytes(32), bytes(20))


def test_a_policy_signature_is_for_one_policy_reference_and_key() -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    signature = policy.sign_policy(key, bytes(32), b"ref")
    policy.verify_policy_signature(key.public_key(), bytes(32), b"ref", signature)
    for public, approved, reference in (
        (other.public_key(), bytes(32), b"ref"),
        (key.public_key(), b"\1" * 32, b"ref"),
        (key.public_key(), bytes(32), b"other"),
    ):
        with pytest.raises(VerificationError) as error:
            policy.verify_policy_signature(public, approved, reference, signature)
        assert error.value.code is RejectionCode.SIGNATURE_INVALID


def test_a_policy_signature_with_another_hash_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signature = policy.sign_policy(key, bytes(32), b"ref")
    with pytest.raises(VerificationError) as error:
        policy.verify_policy_signature(key.public_key(), bytes(32), b"ref", signature[:2] + b"\x00\x0c" + signature[4:])
    assert error.value.code is RejectionCode.SIGNATURE_ALGORITHM


def test_policies_are_signed_with_p256_only() -> None:
    with pytest.raises(UnsupportedError):
        policy.sign_policy(ec.generate_private_key(ec.SECP384R1()), bytes(32), b"")


def test_secrets_are_wrapped_only_to_aes_parents() -> None:
    """An AK has no cipher: wrapping to it would mean wrapping to nothing."""
    with pytest.raises(UnsupportedError):
        wrap_sealed_object(SoftwareAk().public, bytes(32), bytes(32))


@pytest.mark.parametrize(("secret", "digest"), [(b"", bytes(32)), (bytes(129), bytes(32)), (bytes(32), bytes(20))])
def test_a_sealed_object_has_limits(secret: bytes, digest: bytes) -> None:
    with pytest.raises(FormatError):
        wrap_sealed_object(SoftwareAk().public, secret, digest)


def test_a_credential_has_a_limit() -> None:
    with pytest.raises(FormatError):
        make_credential(SoftwareAk().public, bytes(33), bytes(34))
