"""EK public areas: the four listed templates as the TSS knows them, and nothing that differs in a byte."""

from __future__ import annotations

import pytest
from tpm2_pytss.utils import NoSuchIndex, create_ek_template

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.ek import check_ek
from sealwright_policies.tcg.public import parse_public
from sealwright_policies.tcg.reader import sized_2b

KINDS = ("EK-RSA2048", "EK-ECC256", "EK-HIGH-RSA2048", "EK-HIGH-ECC256")


def made_from_template(kind: str) -> bytes:
    """The area that a TPM gives for a template: a key in the place of zeros or of nothing."""

    def read(index: int) -> bytes:
        if index & 1 or index in (0x01C0000C, 0x01C00004):
            raise NoSuchIndex(index)
        return b"certificate"

    _, template = create_ek_template(kind, read)
    area = bytes(template.marshal()[2:])
    rsa = kind.endswith("RSA2048")
    head = area[: -sum(2 + len(part) for part in parse_public(area).unique)]
    return head + b"".join(sized_2b(b"\x77" * size) for size in ((256,) if rsa else (32, 32)))


@pytest.mark.parametrize("kind", KINDS)
def test_listed_templates_pass(kind: str) -> None:
    """As the profile has them."""
    check_ek(parse_public(made_from_template(kind)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [3, 6, 7, 20])
def test_an_area_that_differs_anywhere_is_denied(kind: str, place: int) -> None:
    """nameAlg, attributes, policy: none of it is covered by the EK certificate, all of it by the device id."""
    area = bytearray(made_from_template(kind))
    area[place] ^= 0x40 if place == 7 else 0x04
    with pytest.raises(VerificationError) as caught:
        check_ek(parse_public(bytes(area)))
    assert caught.value.code is RejectionCode.EK_KEY_MISMATCH


def test_a_shortened_coordinate_is_denied() -> None:
    """The same number in fewer bytes would be a second id of one key."""
    area = made_from_template("EK-ECC256")
    short = area[:-68] + sized_2b(b"\x77" * 31) + area[-34:]
    with pytest.raises(VerificationError):
        check_ek(parse_public(short))
