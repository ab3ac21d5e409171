"""Short forms of TPM commands for tests: primary keys, statements, counters, policy sessions (through tpm2-pytss)."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_NT, TPM2_SE, TPMA_NV, TPMA_SESSION
from tpm2_pytss.types import (
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_NV_PUBLIC,
    TPM2B_PRIVATE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_DIGEST_VALUES,
    TPMS_NV_PUBLIC,
    TPMT_HA,
    TPMT_SIG_SCHEME,
    TPMT_SYM_DEF,
    TPMT_SYM_DEF_OBJECT,
    TPMU_HA,
)

from sealwright_policies.tcg.keywrap import ImportBlob
from sealwright_policies.tcg.nv import COUNTER_SIZE, NvPublic, parse_nv_public
from sealwright_policies.tcg.public import Public, parse_public_2b
from sealwright_policies.tcg.reader import sized_2b

__all__ = ["Statement", "TpmSession"]

NULL_SCHEME = TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL)
NO_CIPHER = TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL)
COUNTER_ATTRIBUTES = TPMA_NV.AUTHREAD | TPMA_NV.AUTHWRITE | TPMA_NV.NO_DA | (TPM2_NT.COUNTER << TPMA_NV.TPM2_NT_SHIFT)


@dataclass(frozen=True)
class Statement:
    """TPMS_ATTEST and TPMT_SIGNATURE as a TPM gave them."""

    attest: bytes
    signature: bytes


@dataclass
class TpmSession:
    """Commands on one connection."""

    esapi: ESAPI

    def primary(self, template: bytes, hierarchy: int) -> tuple[ESYS_TR, Public]:
        """Create a primary key from a TPMT_PUBLIC template."""
        public_2b, _ = TPM2B_PUBLIC.unmarshal(sized_2b(template))
        handle, public, *_ = self.esapi.create_primary(TPM2B_SENSITIVE_CREATE(), public_2b, hierarchy)
        return handle, parse_public_2b(public.marshal())

    def flush(self, *handles: ESYS_TR) -> None:
        """Unload objects and sessions."""
        for handle in handles:
            self.esapi.flush_context(handle)

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend the SHA-256 bank."""
        values = TPML_DIGEST_VALUES([TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=digest))])
        self.esapi.pcr_extend(ESYS_TR.PCR0 + pcr, values)

    def read_pcrs(self, selection: Collection[int]) -> dict[int, bytes]:
        """Read SHA-256 PCRs, at most 8 at a time as the TPM gives them."""
        values: dict[int, bytes] = {}
        for index in selection:
            _, _, digests = self.esapi.pcr_read(f"sha256:{index}")
            values[index] = bytes(digests[0])
        return values

    def quote(self, ak: ESYS_TR, selection: str, qualifying_data: bytes) -> Statement:
        """TPM2_Quote over a selection as tpm2-tools write it."""
        attest, signature = self.esapi.quote(ak, selection, qualifying_data)
        return Statement(bytes(attest), signature.marshal())

    def certify(self, key: ESYS_TR, ak: ESYS_TR, qualifying_data: bytes) -> Statement:
        """TPM2_Certify."""
        attest, signature = self.esapi.certify(key, ak, qualifying_data, NULL_SCHEME)
        return Statement(bytes(attest), signature.marshal())

    def define_counter(self, index: int, attributes: int = COUNTER_ATTRIBUTES, size: int = COUNTER_SIZE) -> ESYS_TR:
        """Define an NV index, a counter of ours unless told otherwise."""
        area = TPMS_NV_PUBLIC(nvIndex=index, nameAlg=TPM2_ALG.SHA256, attributes=attributes, dataSize=size)
        return self.esapi.nv_define_space(None, TPM2B_NV_PUBLIC(area))

    def nv_public(self, index: ESYS_TR) -> NvPublic:
        """Read the public area of an NV index."""
        area, _ = self.esapi.nv_read_public(index)
        return parse_nv_public(area.marshal()[2:])

    def nv_certify(
        self, ak: ESYS_TR, index: ESYS_TR, qualifying_data: bytes, *, size: int = COUNTER_SIZE, offset: int = 0
    ) -> Statement:
        """TPM2_NV_Certify, authorised by the index itself."""
        attest, signature = self.esapi.nv_certify(
            ak, index, qualifying_data, NULL_SCHEME, size, offset, auth_handle=index
        )
        return Statement(bytes(attest), signature.marshal())

    def import_object(self, parent: ESYS_TR, blob: ImportBlob) -> tuple[TPM2B_PRIVATE, TPM2B_PUBLIC]:
        """TPM2_Import of an object wrapped without inner wrapper."""
        public, _ = TPM2B_PUBLIC.unmarshal(blob.public_2b)
        duplicate, _ = TPM2B_PRIVATE.unmarshal(blob.duplicate_2b)
        seed, _ = TPM2B_ENCRYPTED_SECRET.unmarshal(blob.encrypted_seed_2b)
        no_inner = TPMT_SYM_DEF_OBJECT(algorithm=TPM2_ALG.NULL)
        return self.esapi.import_(parent, b"", public, duplicate, seed, no_inner), public

    @contextmanager
    def policy_session(self) -> Iterator[ESYS_TR]:
        """A policy session; flushed at the end."""
        session = self.esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.POLICY, NO_CIPHER, TPM2_ALG.SHA256)
        self.esapi.trsess_set_attributes(session, TPMA_SESSION.CONTINUESESSION)
        try:
            yield session
        finally:
            self.flush(session)

    def clock(self) -> tuple[int, int]:
        """Return Clock in ms and resetCount."""
        info = self.esapi.read_clock().clockInfo
        return int(info.clock), int(info.resetCount)

    def counter_value(self, index: ESYS_TR) -> int:
        """Read a counter."""
        return int(struct.unpack(">Q", bytes(self.esapi.nv_read(index, COUNTER_SIZE)))[0])
