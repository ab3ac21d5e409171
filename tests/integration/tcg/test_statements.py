"""Statements of a real TPM: quotes, certified keys and counters are accepted, and attacks on them are not."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_NT, TPMA_NV

from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.attestation import verify_certify, verify_nv_certify, verify_quote
from sealwright_policies.tcg.keywrap import ImportBlob
from sealwright_policies.tcg.protection import protect
from sealwright_policies.tcg.public import Hierarchy, ObjectAttributes, Public, parse_public
from sealwright_policies.tcg.reader import sized_2b
from sealwright_policies.tcg.srk import SRK_ATTRIBUTES, SrkTemplate, matches_listed_template, srk_template
from sealwright_policies.tcg.templates import KeyKind, ak_template, check_ak, key_area
from sealwright_testing.tpm_session import COUNTER_ATTRIBUTES, TpmSession

SELECTION = (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15)
QUOTE_SET = "sha256:" + ",".join(map(str, SELECTION))
COUNTER_INDEX = 0x01C10200
AES_128_CFB = bytes.fromhex("0006 0080 0043")


class Box:
    """A TPM session with an AK."""

    def __init__(self, session: TpmSession, kind: KeyKind, hierarchy: int) -> None:
        self.tpm = session
        self.ak_handle, self.ak = session.primary(ak_template(kind), hierarchy)


@pytest.fixture(params=list(KeyKind))
def box(esapi: ESAPI, request: pytest.FixtureRequest) -> Iterator[Box]:
    """A box with an AK of each kind."""
    box = Box(TpmSession(esapi), request.param, ESYS_TR.ENDORSEMENT)
    yield box
    box.tpm.flush(box.ak_handle)


@pytest.fixture
def nonce() -> bytes:
    return secrets.token_bytes(32)


def rejection(error: pytest.ExceptionInfo[VerificationError]) -> RejectionCode:
    return error.value.code


def test_names_and_qualified_names_are_those_of_the_tpm(box: Box) -> None:
    """Name and Qualified Name computed from the public area are what TPM2_ReadPublic says."""
    _, name, qualified = box.tpm.esapi.read_public(box.ak_handle)
    path = Hierarchy.ENDORSEMENT.to_bytes(4, "big") + box.ak.name
    assert box.ak.name == bytes(name)
    assert bytes(qualified) == b"\x00\x0b" + hashlib.sha256(path).digest()


def test_the_ak_template_passes_its_own_check(box: Box) -> None:
    check_ak(box.ak)


def test_a_quote_is_verified(box: Box, nonce: bytes) -> None:
    """The AK's quote over the wanted PCRs gives the values and the TPM's clock."""
    box.tpm.extend(11, secrets.token_bytes(32))
    statement = box.tpm.quote(box.ak_handle, QUOTE_SET, nonce)
    values = box.tpm.read_pcrs(SELECTION)
    quote = verify_quote(
        box.ak, statement.attest, statement.signature, qualifying_data=nonce, pcrs=values, selection=SELECTION
    )
    assert quote.pcrs == values
    clock, resets = box.tpm.clock()
    assert quote.clock_info.reset_count == resets
    assert quote.clock_info.clock_ms <= clock


@pytest.mark.parametrize(
    "selection",
    ["sha256:0,1,2", "sha256:16,23", "sha1:0,1,2,3,4,5,6,7,9,11,12,13,14,15", "sha256:0,1,2+sha1:0"],
)
def test_a_quote_over_other_pcrs_is_refused(box: Box, nonce: bytes, selection: str) -> None:
    """Relabelling a quote over fewer, resettable or other-bank PCRs fails at the signed selection."""
    statement = box.tpm.quote(box.ak_handle, selection, nonce)
    with pytest.raises(VerificationError) as error:
        verify_quote(
            box.ak,
            statement.attest,
            statement.signature,
            qualifying_data=nonce,
            pcrs=box.tpm.read_pcrs(SELECTION),
            selection=SELECTION,
        )
    assert rejection(error) is RejectionCode.PCR_SELECTION_MISMATCH


def test_the_srk_is_certified_under_owner(box: Box, nonce: bytes) -> None:
    """Both listed templates, created as Owner primaries, pass template and hierarchy checks."""
    for template in SrkTemplate:
        handle, srk = box.tpm.primary(srk_template(template), ESYS_TR.OWNER)
        statement = box.tpm.certify(handle, box.ak_handle, nonce)
        box.tpm.flush(handle)
        assert matches_listed_template(srk) is template
        verified = verify_certify(box.ak, statement.attest, statement.signature, qualifying_data=nonce, public=srk)
        assert verified.name == srk.name


@pytest.mark.parametrize("hierarchy", [ESYS_TR.ENDORSEMENT, ESYS_TR.PLATFORM, ESYS_TR.NULL])
def test_an_srk_under_another_hierarchy_is_refused(box: Box, nonce: bytes, hierarchy: int) -> None:
    """The same template under Endorsement would outlive TPM2_Clear: its Name is fine, its qualified name is not."""
    handle, srk = box.tpm.primary(srk_template(), hierarchy)
    statement = box.tpm.certify(handle, box.ak_handle, nonce)
    box.tpm.flush(handle)
    with pytest.raises(VerificationError) as error:
        verify_certify(box.ak, statement.attest, statement.signature, qualifying_data=nonce, public=srk)
    assert rejection(error) is RejectionCode.SRK_HIERARCHY


def test_a_storage_key_made_outside_the_tpm_is_refused(esapi: ESAPI, nonce: bytes) -> None:
    """A key whose private part lies in a file, imported below the real SRK, is certified like any other.

    Nothing in its Name tells where it came from; its attributes and its path do.
    """
    box = Box(TpmSession(esapi), KeyKind.ECC_P256, ESYS_TR.ENDORSEMENT)
    parent_handle, parent = box.tpm.primary(srk_template(), ESYS_TR.OWNER)
    srk, blob = attacker_made_srk(parent)
    handle = esapi.load(parent_handle, *box.tpm.import_object(parent_handle, blob))
    statement = box.tpm.certify(handle, box.ak_handle, nonce)
    box.tpm.flush(handle, parent_handle, box.ak_handle)
    with pytest.raises(VerificationError) as error:
        matches_listed_template(srk)
    assert rejection(error) is RejectionCode.SRK_TEMPLATE
    with pytest.raises(VerificationError) as error:
        verify_certify(box.ak, statement.attest, statement.signature, qualifying_data=nonce, public=srk)
    assert rejection(error) is RejectionCode.SRK_HIERARCHY


def test_an_ak_under_owner_is_refused(esapi: ESAPI, nonce: bytes) -> None:
    """Its clock information is obfuscated, so the signer must be an Endorsement key."""
    box = Box(TpmSession(esapi), KeyKind.ECC_P256, ESYS_TR.OWNER)
    handle, srk = box.tpm.primary(srk_template(), ESYS_TR.OWNER)
    statement = box.tpm.certify(handle, box.ak_handle, nonce)
    box.tpm.flush(handle, box.ak_handle)
    with pytest.raises(VerificationError) as error:
        verify_certify(box.ak, statement.attest, statement.signature, qualifying_data=nonce, public=srk)
    assert rejection(error) is RejectionCode.SIGNER_NOT_ENDORSEMENT


@pytest.fixture
def counter(box: Box) -> Iterator[ESYS_TR]:
    """A counter of ours, incremented once."""
    index = box.tpm.define_counter(COUNTER_INDEX)
    box.tpm.esapi.nv_increment(index)
    yield index
    box.tpm.esapi.nv_undefine_space(index)


def test_a_counter_is_verified(box: Box, nonce: bytes, counter: ESYS_TR) -> None:
    statement = box.tpm.nv_certify(box.ak_handle, counter, nonce)
    nv_public = box.tpm.nv_public(counter)
    verified = verify_nv_certify(
        box.ak, statement.attest, statement.signature, qualifying_data=nonce, nv_public=nv_public
    )
    assert verified.value == box.tpm.counter_value(counter)
    assert verified.name == bytes(box.tpm.esapi.nv_read_public(counter)[1])


def test_a_part_of_a_counter_is_refused(box: Box, nonce: bytes, counter: ESYS_TR) -> None:
    """Four bytes at offset four are a smaller number than the counter is."""
    statement = box.tpm.nv_certify(box.ak_handle, counter, nonce, size=4, offset=4)
    with pytest.raises(VerificationError) as error:
        verify_nv_certify(
            box.ak,
            statement.attest,
            statement.signature,
            qualifying_data=nonce,
            nv_public=box.tpm.nv_public(counter),
        )
    assert rejection(error) is RejectionCode.COUNTER_INVALID


@pytest.mark.parametrize(
    "attributes",
    [
        TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA,
        COUNTER_ATTRIBUTES | TPMA_NV.ORDERLY,
        COUNTER_ATTRIBUTES | TPMA_NV.OWNERREAD,
        COUNTER_ATTRIBUTES | TPMA_NV.WRITE_STCLEAR,
    ],
)
def test_another_nv_index_is_no_counter(box: Box, nonce: bytes, attributes: int) -> None:
    """An ordinary index can be set back; an ORDERLY one loses counts at a power cut."""
    index = box.tpm.define_counter(COUNTER_INDEX + 1, attributes)
    if attributes & (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT):
        box.tpm.esapi.nv_increment(index)
    else:
        box.tpm.esapi.nv_write(index, bytes(8))
    statement = box.tpm.nv_certify(box.ak_handle, index, nonce)
    nv_public = box.tpm.nv_public(index)
    box.tpm.esapi.nv_undefine_space(index)
    with pytest.raises(VerificationError) as error:
        verify_nv_certify(box.ak, statement.attest, statement.signature, qualifying_data=nonce, nv_public=nv_public)
    assert rejection(error) is RejectionCode.COUNTER_INVALID


def attacker_made_srk(parent: Public) -> tuple[Public, ImportBlob]:
    """Return a storage key drawn outside the TPM, and its import blob for ``parent``."""
    private = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    point = private.public_numbers
    unique = (point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big"))
    bound = ObjectAttributes.FIXED_TPM | ObjectAttributes.FIXED_PARENT | ObjectAttributes.SENSITIVE_DATA_ORIGIN
    public = parse_public(key_area(KeyKind.ECC_P256, SRK_ATTRIBUTES & ~bound, symmetric=AES_128_CFB, unique=unique))
    sensitive = AlgorithmId.ECC.to_bytes(2, "big") + sized_2b(b"") + sized_2b(secrets.token_bytes(32))
    sensitive += sized_2b(private.private_value.to_bytes(32, "big"))
    protected = protect(parent, b"DUPLICATE", public.name, sized_2b(sensitive))
    return public, ImportBlob(public.area_2b, sized_2b(protected.wrapped), sized_2b(protected.encrypted_seed))
