"""Attestation structures that no TPM would make: an AK in software, and statements with any field bent.

The signatures are genuine, so that a test reaches the check behind the signature; a real TPM's statements are tested in
``tests/integration/tcg``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sealwright_policies.tcg.algorithms import AlgorithmId, hash_bytes
from sealwright_policies.tcg.attest import TPM_GENERATED_VALUE, ClockInfo, StructureTag
from sealwright_policies.tcg.pcr import selection_bytes
from sealwright_policies.tcg.public import Hierarchy, ObjectAttributes, Public, parse_public, qualified_name
from sealwright_policies.tcg.reader import sized_2b
from sealwright_policies.tcg.signature import sign_digest
from sealwright_policies.tcg.templates import AK_ATTRIBUTES, KeyKind, key_area

CLOCK = ClockInfo(clock_ms=1_000_000, reset_count=7, restart_count=1, safe=True)
FIRMWARE_VERSION = 0x2019_1023_0016_3636

_NULL = AlgorithmId.NULL.to_bytes(2, "big")
ECDSA_SHA256 = AlgorithmId.ECDSA.to_bytes(2, "big") + AlgorithmId.SHA256.to_bytes(2, "big")


def point_area(
    key: ec.EllipticCurvePublicKey, attributes: ObjectAttributes, *, symmetric: bytes = _NULL, scheme: bytes = _NULL
) -> Public:
    """Return the public area of a P-256 key with these attributes."""
    numbers = key.public_numbers()
    unique = (numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))
    return parse_public(key_area(KeyKind.ECC_P256, attributes, symmetric=symmetric, scheme=scheme, unique=unique))


@dataclass(frozen=True)
class SoftwareAk:
    """An attestation key whose private part is at hand."""

    private_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> Public:
        """The public area, as of a real AK."""
        return point_area(self.private_key.public_key(), AK_ATTRIBUTES, scheme=ECDSA_SHA256)

    @property
    def qualified_name(self) -> bytes:
        """The Qualified Name of a primary key of the Endorsement hierarchy."""
        return qualified_name(Hierarchy.ENDORSEMENT, self.public.name)

    def sign(self, attest: bytes) -> bytes:
        """Return a TPMT_SIGNATURE over the bytes."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(attest)
        return sign_digest(self.private_key, digest.finalize())

    def sign_sha384(self, attest: bytes) -> bytes:
        """Return a signature that hashes with SHA-384, which a TPM would not make with this key."""
        r, s = decode_dss_signature(self.private_key.sign(attest, ec.ECDSA(hashes.SHA384())))
        head = AlgorithmId.ECDSA.to_bytes(2, "big") + AlgorithmId.SHA384.to_bytes(2, "big")
        return head + sized_2b(r.to_bytes(32, "big")) + sized_2b(s.to_bytes(32, "big"))


@dataclass(frozen=True)
class AttestFields:
    """The common fields of a TPMS_ATTEST; each can be bent."""

    qualified_signer: bytes
    extra_data: bytes
    magic: int = TPM_GENERATED_VALUE
    clock: ClockInfo = CLOCK
    firmware_version: int = FIRMWARE_VERSION

    def marshal(self, tag: int, attested: bytes) -> bytes:
        """Return the bytes of the statement."""
        clock = self.clock
        return (
            self.magic.to_bytes(4, "big")
            + tag.to_bytes(2, "big")
            + sized_2b(self.qualified_signer)
            + sized_2b(self.extra_data)
            + clock.clock_ms.to_bytes(8, "big")
            + clock.reset_count.to_bytes(4, "big")
            + clock.restart_count.to_bytes(4, "big")
            + bytes((clock.safe,))
            + self.firmware_version.to_bytes(8, "big")
            + attested
        )


def quote_bytes(
    fields: AttestFields, pcrs: Mapping[int, bytes], *, bank: int = AlgorithmId.SHA256, selection: bytes | None = None
) -> bytes:
    """Return a quote over the given values; ``selection`` replaces the TPML_PCR_SELECTION."""
    values = b"".join(pcrs[index] for index in sorted(pcrs))
    listed = selection_bytes(pcrs, bank) if selection is None else selection
    digest = sized_2b(hash_bytes(AlgorithmId.SHA256, values))
    return fields.marshal(StructureTag.ATTEST_QUOTE, listed + digest)


def certify_bytes(fields: AttestFields, name: bytes, path: bytes) -> bytes:
    """Return a statement that an object with this Name and Qualified Name is loaded."""
    return fields.marshal(StructureTag.ATTEST_CERTIFY, sized_2b(name) + sized_2b(path))


def nv_certify_bytes(fields: AttestFields, index_name: bytes, contents: bytes, *, offset: int = 0) -> bytes:
    """Return a statement about the contents of an NV index."""
    attested = sized_2b(index_name) + offset.to_bytes(2, "big") + sized_2b(contents)
    return fields.marshal(StructureTag.ATTEST_NV, attested)
