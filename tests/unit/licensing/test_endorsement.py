"""EK certificate chains: what is accepted, and each flaw that is not."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from sealwright_licensing import der
from sealwright_licensing.certificates import (
    Certificate,
    normalised_name,
    parse_certificate,
    parse_padded_certificate,
    verify_signature,
)
from sealwright_licensing.endorsement import (
    MAX_SIGNATURE_CHECKS,
    Anchor,
    Endorsement,
    Tier,
    check_key_strength,
    verify_endorsement,
)
from sealwright_licensing.maker_roots import known_roots, parse_pem_certificates
from sealwright_policies.errors import RejectionCode, SealwrightError, VerificationError
from sealwright_policies.tcg.structures import parse_public
from sealwright_testing import maker_ca
from sealwright_testing.corpus import corpus_file
from sealwright_testing.evidence_factory import NOW
from sealwright_testing.maker_ca import MakerCa, Validity
from sealwright_testing.software_device import ek_area, ek_key

KEY = ek_key(0)
EK = parse_public(ek_area(KEY))
PAST = Validity(1_600_000_000, 1_700_000_000)


def certificate(made: object) -> Certificate:
    return parse_certificate(maker_ca.der(made))  # type: ignore[arg-type]


def verify(maker: MakerCa, leaf: Certificate, *supplied: Certificate, now: int = NOW) -> Endorsement:
    chain = supplied or (certificate(maker.intermediate),)
    return verify_endorsement(leaf, chain, [Anchor(certificate(maker.root), Tier.DISCRETE)], EK, now=now)


def refused(maker: MakerCa, leaf: Certificate, *supplied: Certificate, now: int = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        verify(maker, leaf, *supplied, now=now)
    assert caught.value.code is RejectionCode.EK_CHAIN_INVALID
    return str(caught.value)


def test_a_good_chain_names_tier_maker_and_model() -> None:
    maker = MakerCa()
    endorsed = verify(maker, certificate(maker.endorse(KEY.public_key())))
    assert (endorsed.tier, endorsed.manufacturer, endorsed.model) == (Tier.DISCRETE, "id:53574C54", "TestTPM")
    assert endorsed.anchor_fingerprint == certificate(maker.root).fingerprint


def test_a_chain_without_its_intermediate_is_refused() -> None:
    maker = MakerCa()
    leaf = certificate(maker.endorse(KEY.public_key()))
    assert "no chain" in refused(maker, leaf, certificate(MakerCa("other").intermediate))


def test_a_forged_signature_is_refused() -> None:
    """Right names, wrong key: names only choose candidates."""
    maker, forger = MakerCa(), MakerCa()
    leaf = certificate(maker.endorse(KEY.public_key(), signing_key=forger.intermediate_key))
    refused(maker, leaf)
    forged = certificate(forger.endorse(KEY.public_key()))
    refused(maker, forged, certificate(forger.intermediate))


@pytest.mark.parametrize(
    ("flaw", "sentence"),
    [
        ({"usage": ObjectIdentifier("1.3.6.1.5.5.7.3.1")}, "not for an endorsement key"),
        ({"is_ca": True}, "is a CA certificate"),
        ({"critical_names": False}, "no critical alternative name"),
        ({"unknown_critical": True}, "not understood: 1.2.3.4"),
        ({"validity": PAST}, "not valid now"),
        ({"validity": Validity(NOW + 1, NOW + 10)}, "not valid now"),
    ],
)
def test_a_leaf_with_a_flaw_is_refused(flaw: dict[str, object], sentence: str) -> None:
    maker = MakerCa()
    leaf = certificate(maker.endorse(KEY.public_key(), **flaw))  # type: ignore[arg-type]
    assert sentence in refused(maker, leaf)


@pytest.mark.parametrize(
    ("flaw", "sentence"),
    [
        ({"intermediate_validity": PAST}, "issuer of the EK certificate is not valid"),
        ({"root_validity": PAST}, "issuer of the EK certificate is not valid"),
        ({"intermediate_is_ca": False}, "no CA"),
        ({"intermediate_signs": False}, "may not sign"),
        ({"intermediate_usages": ("2.23.133.8.3",)}, "may not issue EK"),
        ({"root_path_length": 0}, "longer than an issuer in it allows"),
    ],
)
def test_an_issuer_with_a_flaw_is_refused(flaw: dict[str, object], sentence: str) -> None:
    maker = MakerCa(**flaw)  # type: ignore[arg-type]
    assert sentence in refused(maker, certificate(maker.endorse(KEY.public_key())))


def test_an_ek_certificate_cannot_issue_another() -> None:
    """The owner of a genuine EK certificate is no CA, whatever he signs with that key."""
    maker = MakerCa()
    owner = ec.generate_private_key(ec.SECP256R1())
    genuine = maker.endorse(owner.public_key())
    forged = certificate(maker.endorse(KEY.public_key(), issuer=genuine, signing_key=owner))
    refused(maker, forged, certificate(genuine), certificate(maker.intermediate))


def test_a_loop_of_intermediates_ends() -> None:
    """Two CAs that certify each other: bounded work, then a refusal."""
    maker, other = MakerCa("a"), MakerCa("b")
    leaf = certificate(other.endorse(KEY.public_key()))
    refused(maker, leaf, *(certificate(one) for one in (other.intermediate, other.root, maker.intermediate)))


@pytest.mark.parametrize("position", [0, -1])
def test_makers_of_one_name_do_not_use_up_the_signature_checks(position: int) -> None:
    """Each installation of swtpm has a CA of the same name; a hundred of them in one service."""
    maker, others = MakerCa(), [MakerCa() for _ in range(MAX_SIGNATURE_CHECKS + 2)]
    everybody = [*others, maker] if position else [maker, *others]
    leaf = certificate(maker.endorse(KEY.public_key()))
    anchors = [Anchor(certificate(one.root), Tier.SOFTWARE) for one in everybody]
    supplied = [certificate(one.intermediate) for one in everybody]
    endorsed = verify_endorsement(leaf, supplied, anchors, EK, now=NOW)
    assert endorsed.anchor_fingerprint == certificate(maker.root).fingerprint


def test_a_wrong_key_identifier_does_not_hide_the_issuer() -> None:
    """It is a hint: the true issuer is found although another is called so."""
    maker, other = MakerCa(), MakerCa()
    leaf = certificate(maker.endorse(KEY.public_key(), called=other.intermediate_key.public_key()))
    verify(maker, leaf, certificate(other.intermediate), certificate(maker.intermediate))


def test_another_key_than_the_ek_is_refused() -> None:
    maker = MakerCa()
    leaf = certificate(maker.endorse(ek_key(1).public_key()))
    with pytest.raises(VerificationError) as caught:
        verify(maker, leaf)
    assert caught.value.code is RejectionCode.EK_KEY_MISMATCH


def test_a_key_of_the_roca_generator_is_refused() -> None:
    """A number of the weak form: a power of 65537 modulo the product of small primes, plus a multiple of it."""
    primes = [n for n in range(3, 168) if all(n % d for d in range(2, n))]
    product = 1
    for prime in primes:
        product *= prime
    weak = pow(65537, 4711, product) + product * (1 << 1700 | 1)
    weak += 0 if weak % 2 else product
    while weak.bit_length() < 2048:
        weak += product * (1 << (2047 - product.bit_length()))
    with pytest.raises(VerificationError) as caught:
        check_key_strength(rsa.RSAPublicNumbers(65537, weak).public_key())
    assert caught.value.code is RejectionCode.TPM_NOT_ALLOWED
    check_key_strength(KEY.public_key())


# --- reading --------------------------------------------------------------------------------------------------------


def test_names_compare_without_set_order_string_type_and_case() -> None:
    """Nuvoton's names: one SET of three attributes, in an order that DER does not allow."""

    def attribute(oid: bytes, tag: int, text: bytes) -> bytes:
        body = b"\x06" + bytes([len(oid)]) + oid + bytes([tag, len(text)]) + text
        return b"\x30" + bytes([len(body)]) + body

    def name(*attributes: bytes) -> bytes:
        content = b"".join(attributes)
        inner = b"\x31" + bytes([len(content)]) + content
        return b"\x30" + bytes([len(inner)]) + inner

    country, common = b"\x55\x04\x06", b"\x55\x04\x03"
    one = name(attribute(common, 0x13, b"Root  CA"), attribute(country, 0x13, b"TW"))
    two = name(attribute(country, 0x0C, b"tw"), attribute(common, 0x0C, b"root ca"))
    assert normalised_name(one) == normalised_name(two)
    assert normalised_name(one) != normalised_name(name(attribute(common, 0x13, b"Root CB")))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_readers(data: bytes) -> None:
    """Only errors of ours, whatever the bytes."""
    for read in (parse_certificate, parse_padded_certificate, der.read_element, normalised_name):
        try:
            read(data)
        except SealwrightError:
            continue


@given(st.data())
def test_no_change_of_a_certificate_breaks_its_reading_or_keeps_it_valid(data: st.DataObject) -> None:
    """Each octet flipped: unreadable, or the chain no longer holds."""
    position = data.draw(st.integers(0, len(_GOOD) - 1))
    changed = bytearray(_GOOD)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealwrightError):
        verify(_MAKER, parse_certificate(bytes(changed)))


_MAKER = MakerCa()
_GOOD = maker_ca.der(_MAKER.endorse(KEY.public_key()))


def test_a_pem_file_with_crlf_is_read() -> None:
    """As editors of another system leave it."""
    file = maker_ca.pem(_MAKER.root, _MAKER.intermediate)
    assert len(parse_pem_certificates(file.replace(b"\n", b"\r\n"))) == 2


# --- makers' real certificates, where the corpus is ------------------------------------------------------------------


@pytest.mark.corpus
def test_every_real_root_is_listed_and_every_real_intermediate_is_signed_by_one_above() -> None:
    """Also the four Nuvoton roots and the Intel root that stricter readers refuse to load."""
    roots = parse_pem_certificates(corpus_file("ek-roots/roots.pem"))
    intermediates = parse_pem_certificates(corpus_file("ek-roots/intermediates.pem"))
    assert {one.fingerprint for one in roots} == set(known_roots())
    for one in intermediates:
        issuers = [
            other for other in [*roots, *intermediates] if normalised_name(other.subject) == normalised_name(one.issuer)
        ]
        assert any(verify_signature(one, issuer.key()) for issuer in issuers), one.fingerprint
        assert one.is_ca
