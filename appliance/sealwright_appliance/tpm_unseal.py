"""Sealed objects of the box: import, seal, and unseal under a signed policy (policies/spec/lease.md).

An unseal runs in a policy session that is salted to the SRK and encrypts the TPM's reply, so that nothing on the bus
sees the secret. The SRK's Name is compared with the one that the signed document names before anything is salted to
it: an interposer could offer a key of its own. The TSS computes the Name from the public area that it salts to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CC, TPM2_EO, TPM2_SE, TPMA_OBJECT, TPMA_SESSION
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPM2B_SENSITIVE_DATA,
    TPMS_SENSITIVE_CREATE,
    TPMT_SIG_SCHEME,
    TPMT_SIGNATURE,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TPMT_TK_CREATION,
)

from sealwright_appliance.tpm_counters import Counters
from sealwright_appliance.tpm_device import ATTEMPTS, TpmDevice, public_2b, selection_text, unmarshalled
from sealwright_appliance.tpm_errors import ResponseCode, TpmError
from sealwright_appliance.tpm_keys import StorageKey
from sealwright_policies.errors import RejectionCode, VerificationError
from sealwright_policies.tcg.keywrap import sealed_object_area
from sealwright_policies.tcg.policy import TimeInfoOffset, authorization_digest
from sealwright_policies.tcg.public import Public
from sealwright_policies.wire.encoding import pcr_bytes
from sealwright_policies.wire.lease import Lease
from sealwright_policies.wire.messages import ImportBlob

Assertions = Callable[[TpmDevice, ESYS_TR], None]
"""Runs policy commands on a session that has just begun or been restarted."""


@dataclass(frozen=True, slots=True)
class SealedObject:
    """TPM2B_PUBLIC and TPM2B_PRIVATE of a sealed object under the SRK. Not secret: only this TPM can load it."""

    public_2b: bytes
    private_2b: bytes


@dataclass(frozen=True, slots=True)
class Creation:
    """What a TPM said when it made an object."""

    data: bytes
    """TPMS_CREATION_DATA."""
    ticket: bytes
    """TPMT_TK_CREATION: that these are the object's, for this TPM to verify."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """A signature that lets PolicyAuthorize replace a policy by another (Part 3, 23.16)."""

    key: Public
    """Of the key that signs policies."""
    policy_ref: bytes
    approved_policy: bytes
    """The policy digest that is signed."""
    signature: bytes
    """TPMT_SIGNATURE over aHash(approved_policy, policy_ref)."""


def import_sealed(tpm: TpmDevice, srk: StorageKey, blob: ImportBlob) -> SealedObject:
    """TPM2_Import of an object that was sealed to this SRK elsewhere.

    Raises:
        FormatError: it is none.
        TpmError: it was wrapped to another key, or changed on the way.
    """
    public = unmarshalled(TPM2B_PUBLIC, blob.public)
    duplicate = unmarshalled(TPM2B_PRIVATE, blob.duplicate)
    seed = unmarshalled(TPM2B_ENCRYPTED_SECRET, blob.encrypted_seed)
    private = tpm.call(
        "import a sealed object",
        tpm.esapi.import_,
        parent_handle=srk.handle,
        encryption_key=b"",
        object_public=public,
        duplicate=duplicate,
        in_sym_seed=seed,
        symmetric_alg=TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL),
    )
    return SealedObject(blob.public, private.marshal())


def seal(tpm: TpmDevice, srk: StorageKey, secret: bytes, auth_policy: bytes) -> SealedObject:
    """TPM2_Create of a sealed object that only a policy opens; the secret goes encrypted to the TPM.

    Args:
        secret: 1 to 128 bytes.
        auth_policy: SHA-256 policy digest.
    """
    return seal_with_creation(tpm, srk, secret, auth_policy, ())[0]


def seal_with_creation(
    tpm: TpmDevice, srk: StorageKey, secret: bytes, auth_policy: bytes, pcrs: Iterable[int]
) -> tuple[SealedObject, Creation]:
    """Likewise, and what the TPM says of where it was made: at which values of these PCRs."""
    template = public_2b(sealed_object_area(b"", auth_policy))
    template.publicArea.objectAttributes |= TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT
    sensitive = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(data=TPM2B_SENSITIVE_DATA(secret)))
    with _encrypted_session(tpm, srk, TPM2_SE.HMAC) as session:
        private, public, data, _, ticket = tpm.call(
            "seal",
            tpm.esapi.create,
            parent_handle=srk.handle,
            in_sensitive=sensitive,
            in_public=template,
            creation_pcr=selection_text(pcrs) if pcrs else "",
            session1=ESYS_TR.PASSWORD,
            session2=session,
        )
        creation = Creation(data.creationData.marshal(), ticket.marshal())
        return SealedObject(public.marshal(), private.marshal()), creation


def require_created_here(tpm: TpmDevice, srk: StorageKey, sealed: SealedObject, creation: Creation) -> None:
    """TPM2_CertifyCreation without a signature: this TPM made the object, and these are its creation data.

    Raises:
        FormatError: the object or the ticket is none.
        TpmError: neither is so.
    """
    ticket = unmarshalled(TPMT_TK_CREATION, creation.ticket)
    item = load_sealed(tpm, srk.handle, sealed)
    with tpm.flushed(item):
        tpm.call(
            "verify where an object was made",
            tpm.esapi.certify_creation,
            sign_handle=ESYS_TR.NULL,
            object_handle=item,
            qualifying_data=b"",
            creation_hash=hashlib.sha256(creation.data).digest(),
            in_scheme=TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL),
            creation_ticket=ticket,
        )


def load_sealed(tpm: TpmDevice, parent: ESYS_TR, sealed: SealedObject) -> ESYS_TR:
    """TPM2_Load; the caller flushes.

    Raises:
        FormatError: it is no such object.
        TpmError: it is of another parent, or was changed.
    """
    public = unmarshalled(TPM2B_PUBLIC, sealed.public_2b)
    private = unmarshalled(TPM2B_PRIVATE, sealed.private_2b)
    return tpm.call("load a sealed object", tpm.esapi.load, parent_handle=parent, in_private=private, in_public=public)


def unseal(
    tpm: TpmDevice,
    srk: StorageKey,
    sealed: SealedObject,
    assertions: Assertions,
    authorization: Authorization | None,
    *,
    srk_name: bytes,
) -> bytes:
    """Unseal under PolicyAuthorize, or under the assertions alone where the object names them itself.

    A PCR that is extended between PolicyPCR and Unseal makes the TPM forget the session's policy; it is then run
    again, a bounded number of times.

    Raises:
        FormatError: the object or the signature is none.
        VerificationError: SRK_NAME_MISMATCH: the TPM's storage key is not ``srk_name``.
        TpmError: an assertion does not hold, or the authorisation is not for this object.
    """
    if bytes(tpm.esapi.tr_get_name(srk.handle)) != srk_name:
        raise VerificationError(
            RejectionCode.SRK_NAME_MISMATCH,
            "The TPM's storage key is another one than at activation: the TPM was cleared or changed.",
        )
    item = load_sealed(tpm, srk.handle, sealed)
    with tpm.flushed(item), _encrypted_session(tpm, srk, TPM2_SE.POLICY) as session:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                assertions(tpm, session)
                if authorization is not None:
                    _authorize(tpm, session, authorization)
                return bytes(tpm.call("unseal", tpm.esapi.unseal, item_handle=item, session1=session))
            except TpmError as error:
                if error.code != ResponseCode.PCR_CHANGED or attempt == ATTEMPTS:
                    raise
            tpm.call("restart a policy", tpm.esapi.policy_restart, session_handle=session)
    raise AssertionError("the last attempt returns or raises")


def lease_assertions(lease: Lease, counters: Counters) -> Assertions:
    """The policy of a lease, command by command, in the order of ``sealwright_policies.wire.lease.lease_policy``."""
    pcrs = pcr_bytes(lease.unseal_pcrs)

    def run(tpm: TpmDevice, session: ESYS_TR) -> None:
        _policy_pcr(tpm, session, pcrs)
        _policy_time(tpm, session, lease.clock_end_ms.to_bytes(8, "big"), TimeInfoOffset.CLOCK)
        _policy_time(tpm, session, lease.max_reset_count.to_bytes(4, "big"), TimeInfoOffset.RESET_COUNT)
        _policy_nv(tpm, session, counters.ticks.handle, lease.max_ticks, TPM2_EO.UNSIGNED_LE)
        _policy_nv(tpm, session, counters.lease.handle, lease.number, TPM2_EO.EQ)
        _policy_unseal_only(tpm, session)

    return run


def state_assertions(pcrs: Mapping[int, bytes]) -> Assertions:
    """PolicyPCR ∧ PolicyCommandCode(Unseal): the form of release and customer approvals."""

    def run(tpm: TpmDevice, session: ESYS_TR) -> None:
        _policy_pcr(tpm, session, pcrs)
        _policy_unseal_only(tpm, session)

    return run


@contextmanager
def _encrypted_session(tpm: TpmDevice, srk: StorageKey, kind: TPM2_SE) -> Iterator[ESYS_TR]:
    session = tpm.call(
        "begin an encrypted session",
        tpm.esapi.start_auth_session,
        tpm_key=srk.handle,
        bind=ESYS_TR.NONE,
        session_type=kind,
        symmetric=TPMT_SYM_DEF.parse("aes128cfb"),
        auth_hash=TPM2_ALG.SHA256,
    )
    with tpm.flushed(session):
        tpm.esapi.trsess_set_attributes(
            session, TPMA_SESSION.ENCRYPT | TPMA_SESSION.DECRYPT | TPMA_SESSION.CONTINUESESSION
        )
        yield session


def _authorize(tpm: TpmDevice, session: ESYS_TR, authorization: Authorization) -> None:
    signature = unmarshalled(TPMT_SIGNATURE, authorization.signature)
    # Under the Owner hierarchy: a key loaded under NULL gives a ticket that PolicyAuthorize refuses.
    key = tpm.call(
        "load a policy-signing key",
        tpm.esapi.load_external,
        in_public=public_2b(authorization.key.area),
        hierarchy=ESYS_TR.OWNER,
    )
    with tpm.flushed(key):
        ticket = tpm.call(
            "verify a policy's signature",
            tpm.esapi.verify_signature,
            key_handle=key,
            digest=authorization_digest(authorization.approved_policy, authorization.policy_ref),
            signature=signature,
        )
    tpm.call(
        "authorise a policy",
        tpm.esapi.policy_authorize,
        policy_session=session,
        approved_policy=authorization.approved_policy,
        key_sign=authorization.key.name,
        check_ticket=ticket,
        policy_ref=authorization.policy_ref,
    )


def _policy_pcr(tpm: TpmDevice, session: ESYS_TR, pcrs: Mapping[int, bytes]) -> None:
    # With the expected digest the TPM refuses here, and not only at the end: the message can name the PCRs.
    tpm.call(
        "check the PCRs",
        tpm.esapi.policy_pcr,
        policy_session=session,
        pcr_digest=hashlib.sha256(b"".join(pcrs[pcr] for pcr in sorted(pcrs))).digest(),
        pcrs=selection_text(pcrs),
    )


def _policy_time(tpm: TpmDevice, session: ESYS_TR, most: bytes, offset: TimeInfoOffset) -> None:
    tpm.call(
        f"check the {offset.name.lower().replace('_', ' ')}",
        tpm.esapi.policy_counter_timer,
        policy_session=session,
        operand_b=most,
        operation=TPM2_EO.UNSIGNED_LE,
        offset=int(offset),
    )


def _policy_nv(tpm: TpmDevice, session: ESYS_TR, counter: ESYS_TR, operand: int, operation: TPM2_EO) -> None:
    tpm.call(
        "check a counter",
        tpm.esapi.policy_nv,
        auth_handle=counter,
        nv_index=counter,
        policy_session=session,
        operand_b=operand.to_bytes(8, "big"),
        operation=operation,
        offset=0,
    )


def _policy_unseal_only(tpm: TpmDevice, session: ESYS_TR) -> None:
    tpm.call(
        "limit a policy to Unseal",
        tpm.esapi.policy_command_code,
        policy_session=session,
        code=TPM2_CC.Unseal,
    )
