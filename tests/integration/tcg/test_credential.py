"""Credentials made in pure Python open in a real TPM, for its EK and the named AK only."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR
from tpm2_pytss.types import TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT

from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.credential import make_credential
from sealwright_policies.tcg.public import Public, parse_public
from sealwright_policies.tcg.reader import sized_2b
from sealwright_policies.tcg.templates import KeyKind, ak_template
from sealwright_testing.tpm_session import TpmSession

POLICY_SECRET_ENDORSEMENT = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicyA of the EK Credential Profile 2.5, B.6.2: what low-range EKs are used by."""

LOW_RANGE_ATTRIBUTES = 0x000300B2
HIGH_RANGE_ATTRIBUTES = 0x000300F2
"""The same with userWithAuth: high-range EKs open by their empty password (B.3.4)."""


def u16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


AES_128_CFB = u16(AlgorithmId.AES, 128, AlgorithmId.CFB)
AES_256_CFB = u16(AlgorithmId.AES, 256, AlgorithmId.CFB)

NULL = u16(AlgorithmId.NULL)
EK_TEMPLATES = {
    "L-1 RSA-2048": u16(1, 0x0B)
    + LOW_RANGE_ATTRIBUTES.to_bytes(4, "big")
    + sized_2b(POLICY_SECRET_ENDORSEMENT)
    + (AES_128_CFB + NULL + u16(2048) + bytes(4) + sized_2b(bytes(256))),
    "L-2 P-256": u16(0x23, 0x0B)
    + LOW_RANGE_ATTRIBUTES.to_bytes(4, "big")
    + sized_2b(POLICY_SECRET_ENDORSEMENT)
    + (AES_128_CFB + NULL + u16(3) + NULL + sized_2b(bytes(32)) * 2),
    "H-3 P-384": u16(0x23, 0x0C)
    + HIGH_RANGE_ATTRIBUTES.to_bytes(4, "big")
    + sized_2b(bytes(48))
    + (AES_256_CFB + NULL + u16(4) + NULL + sized_2b(b"") * 2),
    "H-6 RSA-3072": u16(1, 0x0C)
    + HIGH_RANGE_ATTRIBUTES.to_bytes(4, "big")
    + sized_2b(bytes(48))
    + (AES_256_CFB + NULL + u16(3072) + bytes(4) + sized_2b(b"")),
}


class EndorsedTpm:
    """A TPM session with an EK and an AK."""

    def __init__(self, esapi: ESAPI, ek_template: bytes) -> None:
        self.tpm = TpmSession(esapi)
        self.ek_handle, self.ek = self.tpm.primary(ek_template, ESYS_TR.ENDORSEMENT)
        self.ak_handle, self.ak = self.tpm.primary(ak_template(), ESYS_TR.ENDORSEMENT)

    def activate(self, ak: ESYS_TR, credential: tuple[bytes, bytes]) -> bytes:
        """TPM2_ActivateCredential, authorised as the EK's template demands."""
        id_object, _ = TPM2B_ID_OBJECT.unmarshal(credential[0])
        secret, _ = TPM2B_ENCRYPTED_SECRET.unmarshal(credential[1])
        esapi = self.tpm.esapi
        if self.ek.attributes == HIGH_RANGE_ATTRIBUTES:
            opened = esapi.activate_credential(
                ak, self.ek_handle, id_object, secret, session1=ESYS_TR.PASSWORD, session2=ESYS_TR.PASSWORD
            )
            return bytes(opened)
        with self.tpm.policy_session() as session:
            esapi.policy_secret(ESYS_TR.ENDORSEMENT, session, b"", b"", b"", 0)
            opened = esapi.activate_credential(
                ak, self.ek_handle, id_object, secret, session1=ESYS_TR.PASSWORD, session2=session
            )
        return bytes(opened)


@pytest.fixture(params=list(EK_TEMPLATES))
def endorsed(esapi: ESAPI, request: pytest.FixtureRequest) -> Iterator[EndorsedTpm]:
    """A TPM with an EK of each listed template."""
    endorsed = EndorsedTpm(esapi, EK_TEMPLATES[request.param])
    yield endorsed
    endorsed.tpm.flush(endorsed.ek_handle, endorsed.ak_handle)


def test_the_tpm_opens_a_credential(endorsed: EndorsedTpm) -> None:
    secret = secrets.token_bytes(32)
    credential = make_credential(endorsed.ek, secret, endorsed.ak.name)
    assert endorsed.activate(endorsed.ak_handle, credential) == secret


def test_a_credential_for_another_ak_stays_closed(endorsed: EndorsedTpm) -> None:
    """The AK's Name is in the key derivation and the HMAC."""
    credential = make_credential(endorsed.ek, secrets.token_bytes(32), another_ak(endorsed.ak).name)
    with pytest.raises(TSS2_Exception):
        endorsed.activate(endorsed.ak_handle, credential)


def another_ak(ak: Public) -> Public:
    """Return a public area that differs from the AK's in one bit of ``unique``."""
    return parse_public(ak.area[:-1] + bytes((ak.area[-1] ^ 1,)))


def test_the_rsa_ak_template_makes_a_key(esapi: ESAPI) -> None:
    tpm = TpmSession(esapi)
    handle, public = tpm.primary(ak_template(KeyKind.RSA_2048), ESYS_TR.ENDORSEMENT)
    tpm.flush(handle)
    assert public.key_bits == 2048
