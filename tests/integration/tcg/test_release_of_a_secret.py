"""A secret wrapped in pure Python unseals in a real TPM under an approved policy, and under nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tpm2_pytss import ESAPI, TSS2_Exception
from tpm2_pytss.constants import ESYS_TR, TPM2_CC, TPM2_EO
from tpm2_pytss.types import TPM2B_PUBLIC, TPMT_SIGNATURE

from sealwright_policies.tcg.keywrap import wrap_sealed_object
from sealwright_policies.tcg.policy import (
    EMPTY_POLICY,
    CommandCode,
    Operation,
    TimeInfoOffset,
    authorization_digest,
    external_signing_key,
    policy_authorize,
    policy_command_code,
    policy_counter_timer,
    policy_nv,
    policy_pcr,
    sign_policy,
)
from sealwright_policies.tcg.srk import SrkTemplate, srk_template
from sealwright_testing.tpm_session import TpmSession

SELECTION = (0, 2, 4, 7, 11, 12, 13, 14, 15)
REFERENCE = secrets.token_bytes(32)
SECRET = secrets.token_bytes(32)
COUNTER_INDEX = 0x01C10210
LARGE = 1 << 50


@dataclass(frozen=True)
class Terms:
    """What an approved policy is about."""

    pcrs: dict[int, bytes]
    clock_end_ms: int
    max_resets: int
    counter: int
    counter_name: bytes

    def digest(self) -> bytes:
        """Return the policy digest without a TPM."""
        policy = policy_pcr(EMPTY_POLICY, self.pcrs)
        end, resets, count = self.clock_end_ms.to_bytes(8, "big"), self.max_resets.to_bytes(4, "big"), self.counter
        policy = policy_counter_timer(policy, end, TimeInfoOffset.CLOCK, Operation.UNSIGNED_LE)
        policy = policy_counter_timer(policy, resets, TimeInfoOffset.RESET_COUNT, Operation.UNSIGNED_LE)
        policy = policy_nv(policy, count.to_bytes(8, "big"), 0, Operation.EQ, self.counter_name)
        return policy_command_code(policy, CommandCode.UNSEAL)


class Box:
    """A TPM with an SRK, a counter and an imported sealed object under PolicyAuthorize."""

    def __init__(self, esapi: ESAPI, template: SrkTemplate) -> None:
        self.tpm = TpmSession(esapi)
        self.policy_key = ec.generate_private_key(ec.SECP256R1())
        self.signer = external_signing_key(self.policy_key.public_key())
        self.srk_handle, srk = self.tpm.primary(srk_template(template), ESYS_TR.OWNER)
        self.counter = self.tpm.define_counter(COUNTER_INDEX)
        esapi.nv_increment(self.counter)
        blob = wrap_sealed_object(srk, SECRET, policy_authorize(self.signer.name, REFERENCE))
        self.sealed = self.tpm.import_object(self.srk_handle, blob)

    def terms(self) -> Terms:
        """Return terms that hold now."""
        clock, resets = self.tpm.clock()
        return Terms(
            pcrs=self.tpm.read_pcrs(SELECTION),
            clock_end_ms=clock + 60_000,
            max_resets=resets,
            counter=self.tpm.counter_value(self.counter),
            counter_name=self.tpm.nv_public(self.counter).name,
        )

    def unseal(self, terms: Terms, signature: bytes, reference: bytes = REFERENCE) -> bytes:
        """Let the TPM judge the terms, the approval and then the sealed object."""
        esapi = self.tpm.esapi
        approved = terms.digest()
        signer_2b, _ = TPM2B_PUBLIC.unmarshal(self.signer.area_2b)
        key = esapi.load_external(signer_2b, hierarchy=ESYS_TR.OWNER)
        try:
            tpm_signature, _ = TPMT_SIGNATURE.unmarshal(signature)
            ticket = esapi.verify_signature(key, authorization_digest(approved, reference), tpm_signature)
        finally:
            self.tpm.flush(key)
        sealed = esapi.load(self.srk_handle, *self.sealed)
        try:
            with self.tpm.policy_session() as session:
                esapi.policy_pcr(session, b"", "sha256:" + ",".join(map(str, SELECTION)))
                end, resets = terms.clock_end_ms.to_bytes(8, "big"), terms.max_resets.to_bytes(4, "big")
                esapi.policy_counter_timer(session, end, TPM2_EO.UNSIGNED_LE, TimeInfoOffset.CLOCK)
                esapi.policy_counter_timer(session, resets, TPM2_EO.UNSIGNED_LE, TimeInfoOffset.RESET_COUNT)
                esapi.policy_nv(self.counter, self.counter, session, terms.counter.to_bytes(8, "big"), TPM2_EO.EQ, 0)
                esapi.policy_command_code(session, TPM2_CC.Unseal)
                esapi.policy_authorize(
                    policy_session=session,
                    approved_policy=approved,
                    policy_ref=reference,
                    key_sign=self.signer.name,
                    check_ticket=ticket,
                )
                return bytes(esapi.unseal(sealed, session))
        finally:
            self.tpm.flush(sealed)


@pytest.fixture(params=list(SrkTemplate))
def box(esapi: ESAPI, request: pytest.FixtureRequest) -> Iterator[Box]:
    """A box for each listed SRK."""
    box = Box(esapi, request.param)
    yield box
    box.tpm.flush(box.srk_handle)
    esapi.nv_undefine_space(box.counter)


def approve(box: Box, terms: Terms) -> bytes:
    return sign_policy(box.policy_key, terms.digest(), REFERENCE)


def test_approved_terms_that_hold_unseal(box: Box) -> None:
    terms = box.terms()
    assert box.unseal(terms, approve(box, terms)) == SECRET


@pytest.mark.parametrize(
    "change",
    [
        {"clock_end_ms": 1},
        {"max_resets": 0},
        {"counter": LARGE},
    ],
)
def test_approved_terms_that_do_not_hold_refuse(box: Box, change: dict[str, int]) -> None:
    """The approval is genuine, but the lease has ended, boots are used up, or the counter moved on."""
    terms = replace(box.terms(), **change)  # type: ignore[arg-type]
    with pytest.raises(TSS2_Exception):
        box.unseal(terms, approve(box, terms))


def test_terms_of_another_boot_refuse(box: Box) -> None:
    """PCR 11 has moved since the approval."""
    terms = box.terms()
    box.tpm.extend(11, secrets.token_bytes(32))
    with pytest.raises(TSS2_Exception):
        box.unseal(terms, approve(box, terms))


def test_the_counter_revokes(box: Box) -> None:
    """Incrementing the lease counter ends every older approval."""
    terms = box.terms()
    signature = approve(box, terms)
    assert box.unseal(terms, signature) == SECRET
    box.tpm.esapi.nv_increment(box.counter)
    with pytest.raises(TSS2_Exception):
        box.unseal(terms, signature)


def test_terms_that_nobody_approved_refuse(box: Box) -> None:
    """The operator lengthens his lease: the approval is for another digest."""
    terms = box.terms()
    signature = approve(box, terms)
    with pytest.raises(TSS2_Exception):
        box.unseal(replace(terms, clock_end_ms=terms.clock_end_ms + 1), signature)


def test_an_approval_for_another_purpose_refuses(box: Box) -> None:
    """The same key and terms with another policyRef (another device, the other share)."""
    terms = box.terms()
    reference = secrets.token_bytes(32)
    signature = sign_policy(box.policy_key, terms.digest(), reference)
    with pytest.raises(TSS2_Exception):
        box.unseal(terms, signature, reference)


def test_an_empty_password_does_not_unseal(box: Box) -> None:
    """The object has no userWithAuth."""
    sealed = box.tpm.esapi.load(box.srk_handle, *box.sealed)
    try:
        with pytest.raises(TSS2_Exception):
            box.tpm.esapi.unseal(sealed)
    finally:
        box.tpm.flush(sealed)
