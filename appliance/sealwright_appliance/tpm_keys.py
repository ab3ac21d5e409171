"""The three keys of the box in its TPM: endorsement (EK), attestation (AK) and storage root (SRK).

EK: TCG EK Credential Profile for TPM 2.0, 2.5, 2.2.1.4 (low range) and 2.2.1.5 (high range). AK and SRK: the templates
of :mod:`sealwright_policies.tcg`. Owner and endorsement authorisation stay as found; nothing foreign is evicted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE
from tpm2_pytss.types import TPM2B_ENCRYPTED_SECRET, TPM2B_ID_OBJECT, TPMT_SYM_DEF
from tpm2_pytss.utils import NoSuchIndex, create_ek_template

from sealwright_appliance.tpm_device import TpmDevice, unmarshalled
from sealwright_policies.errors import FormatError, OperationError, UnsupportedError, VerificationError
from sealwright_policies.tcg.public import Hierarchy, ObjectAttributes, Public, parse_public_2b, qualified_name
from sealwright_policies.tcg.srk import SrkTemplate, matches_listed_template, srk_template
from sealwright_policies.tcg.templates import ak_template

EK_KINDS = (
    ("EK-ECC256", 0x01C0000A),
    ("EK-HIGH-ECC256", 0x01C00014),
    ("EK-RSA2048", 0x01C00002),
    ("EK-HIGH-RSA2048", 0x01C00012),
)
"""tpm2-pytss's names, in order of preference, and the NV index of the certificate."""
EK_CHAIN_FIRST, EK_CHAIN_LAST = 0x01C00100, 0x01C001FF
CERTIFICATES_MOST = 8
CERTIFICATE_SIZE_MOST = 4096

SRK_HANDLES = (0x81000001, *range(0x81000010, 0x81000020))
"""Where the storage key may stand: the handle reserved for it, then others if a foreign object sits there."""


@dataclass(frozen=True, slots=True)
class EndorsementKey:
    """The EK whose certificate the TPM holds."""

    public: Public
    certificates: tuple[bytes, ...]
    """DER: its own first, then those of the chain that the maker put into NV."""
    template: bytes


@dataclass(frozen=True, slots=True)
class AttestationKey:
    """The AK while it is loaded."""

    handle: ESYS_TR
    public: Public


@dataclass(frozen=True, slots=True)
class StorageKey:
    """The persistent SRK."""

    handle: ESYS_TR
    public: Public
    persistent_handle: int


def endorsement_key(tpm: TpmDevice) -> EndorsementKey:
    """The EK with a certificate: P-256 if there is one, else RSA-2048.

    Raises:
        OperationError: the TPM holds no EK certificate of either kind.
    """
    present = set(tpm.handles(0x01C00000, EK_CHAIN_LAST))

    def read(index: int) -> bytes:
        if index not in present:
            raise NoSuchIndex(index)
        return tpm.read_nv(index)

    for kind, certificate_index in EK_KINDS:
        if certificate_index not in present:
            continue
        stored, template = create_ek_template(kind, read)
        area = template.marshal()[2:]
        with tpm.primary("make the endorsement key", area, ESYS_TR.ENDORSEMENT) as (_, public):
            chain = [cert for index in sorted(present) if index >= EK_CHAIN_FIRST for cert in split_der(read(index))]
            certificates = (*split_der(stored)[:1], *chain)
            return EndorsementKey(public, certificates[:CERTIFICATES_MOST], area)
    raise OperationError(
        "TPM: it holds no endorsement certificate for a P-256 or RSA-2048 key.",
        cure="Use a TPM with its maker's certificate; a software TPM needs swtpm_setup --create-ek-cert.",
    )


def split_der(content: bytes) -> tuple[bytes, ...]:
    """The certificates at the front of an NV index: indices are larger than what they hold, and chains are joined.

    Raises:
        FormatError: the index begins with something other than a DER sequence.
    """
    found: list[bytes] = []
    rest = content
    while len(rest) > 4 and rest[0] == 0x30:
        length_size = rest[1] & 0x7F if rest[1] & 0x80 else 0
        size = 2 + length_size + (int.from_bytes(rest[2 : 2 + length_size], "big") if length_size else rest[1])
        if size > min(len(rest), CERTIFICATE_SIZE_MOST):
            break
        found.append(rest[:size])
        rest = rest[size:]
    if not found:
        raise FormatError("TPM: the endorsement certificate in NV is not a DER structure.")
    return tuple(found)


@contextmanager
def attestation_key(tpm: TpmDevice) -> Iterator[AttestationKey]:
    """Hold the AK. It is made anew from its template each time: same TPM, same seed, same key."""
    with tpm.primary("make the attestation key", ak_template(), ESYS_TR.ENDORSEMENT) as (handle, public):
        yield AttestationKey(handle, public)


def storage_key(tpm: TpmDevice) -> StorageKey:
    """The SRK, made and made persistent if this TPM has none of a listed template yet.

    A foreign object at a handle is left alone and the next handle is used.

    Raises:
        OperationError: no handle is free, or the owner authorisation is set.
    """
    in_use = set(tpm.handles(SRK_HANDLES[0], SRK_HANDLES[-1]))
    for persistent in SRK_HANDLES:
        if persistent in in_use:
            found = _listed_storage_key(tpm, persistent)
            if found is not None:
                return found
    for persistent in SRK_HANDLES:
        if persistent not in in_use:
            return make_storage_key(tpm, persistent)
    raise OperationError(
        "TPM: no persistent handle is free for the storage key.",
        cure="Remove persistent objects that other software has left there (tpm2_evictcontrol).",
    )


def make_storage_key(tpm: TpmDevice, persistent: int, template: SrkTemplate = SrkTemplate.ECC_P256) -> StorageKey:
    """Make the primary key of a listed template and keep it at a persistent handle."""
    with tpm.primary("make the storage key", srk_template(template), ESYS_TR.OWNER) as (handle, public):
        kept = tpm.call(
            "keep the storage key",
            tpm.esapi.evict_control,
            auth=ESYS_TR.OWNER,
            object_handle=handle,
            persistent_handle=persistent,
        )
    return StorageKey(kept, public, persistent)


def _listed_storage_key(tpm: TpmDevice, persistent: int) -> StorageKey | None:
    """The object at a handle if it is a primary key of the Owner hierarchy with a listed template, else None."""
    handle = tpm.call("find the storage key", tpm.esapi.tr_from_tpmpublic, handle=persistent)
    public_structure, _, qualified = tpm.call("find the storage key", tpm.esapi.read_public, object_handle=handle)
    try:
        public = parse_public_2b(public_structure.marshal())
        matches_listed_template(public)
    except (FormatError, UnsupportedError, VerificationError):
        return None
    if bytes(qualified) != qualified_name(Hierarchy.OWNER, public.name):
        return None
    return StorageKey(handle, public, persistent)


def activate_credential(
    tpm: TpmDevice, ek: EndorsementKey, ak: AttestationKey, credential_blob: bytes, encrypted_secret: bytes
) -> bytes:
    """TPM2_ActivateCredential: open a credential made for this EK and this AK (Part 1, 24).

    Args:
        credential_blob: TPM2B_ID_OBJECT.
        encrypted_secret: TPM2B_ENCRYPTED_SECRET.

    Raises:
        FormatError: it is none.
        TpmError: it was made for another EK or AK.
    """
    blob = unmarshalled(TPM2B_ID_OBJECT, credential_blob)
    secret = unmarshalled(TPM2B_ENCRYPTED_SECRET, encrypted_secret)
    with (
        tpm.primary("make the endorsement key", ek.template, ESYS_TR.ENDORSEMENT) as (ek_handle, public),
        _endorsement_authorization(tpm, public) as session,
    ):
        opened = tpm.call(
            "open the credential",
            tpm.esapi.activate_credential,
            activate_handle=ak.handle,
            key_handle=ek_handle,
            credential_blob=blob,
            secret=secret,
            session1=ESYS_TR.PASSWORD,
            session2=session,
        )
        return bytes(opened)


@contextmanager
def _endorsement_authorization(tpm: TpmDevice, ek: Public) -> Iterator[ESYS_TR]:
    """What the EK demands: a high-range template takes a password, a low-range one PolicySecret(Endorsement)."""
    if ObjectAttributes.USER_WITH_AUTH in ek.attributes:
        yield ESYS_TR.PASSWORD
        return
    session = tpm.call(
        "begin a policy session",
        tpm.esapi.start_auth_session,
        tpm_key=ESYS_TR.NONE,
        bind=ESYS_TR.NONE,
        session_type=TPM2_SE.POLICY,
        symmetric=TPMT_SYM_DEF.parse("null"),
        auth_hash=TPM2_ALG.SHA256,
    )
    with tpm.flushed(session):
        tpm.call(
            "authorise the endorsement key",
            tpm.esapi.policy_secret,
            auth_handle=ESYS_TR.ENDORSEMENT,
            policy_session=session,
            nonce_tpm=b"",
            cp_hash_a=b"",
            policy_ref=b"",
            expiration=0,
        )
        yield session
