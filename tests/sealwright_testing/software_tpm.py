"""An attestation key in software, and the statements that a TPM would sign with it.

Written from TPM 2.0 Library, Part 2, apart from the parsers under test. It stands in for a TPM where a test needs a
statement that no TPM would make; what a TPM does make is tested against swtpm.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sealwright_policies.wire.messages import Attestation, CounterAttestation

GENERATED = 0xFF544347
ST_QUOTE, ST_CERTIFY, ST_NV = 0x8018, 0x8017, 0x8014
RH_OWNER, RH_ENDORSEMENT = 0x40000001, 0x4000000B
ALG_SHA256, ALG_ECDSA, ALG_ECC, ALG_NULL = 0x000B, 0x0018, 0x0023, 0x0010
AK_ATTRIBUTES = 0x00050472
"""fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign."""
COUNTER_ATTRIBUTES = 0x22040014
"""TPM_NT_COUNTER, AUTHWRITE, AUTHREAD, NO_DA, WRITTEN."""


@dataclass(frozen=True)
class Clock:
    """TPMS_CLOCK_INFO."""

    clock_ms: int = 3_600_000
    reset_count: int = 12
    restart_count: int = 0
    safe: int = 1

    def marshal(self) -> bytes:
        """Return the structure's bytes."""
        return struct.pack(">QIIB", self.clock_ms, self.reset_count, self.restart_count, self.safe)


@dataclass(frozen=True)
class SoftwareAk:
    """A P-256 key that signs as an attestation key would; ``hierarchy`` goes into its qualified name."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    attributes: int = AK_ATTRIBUTES
    hierarchy: int = RH_ENDORSEMENT

    @property
    def public_area(self) -> bytes:
        """TPMT_PUBLIC."""
        numbers = self.key.public_key().public_numbers()
        head = struct.pack(
            ">HHIHHHHHH", ALG_ECC, ALG_SHA256, self.attributes, 0, ALG_NULL, ALG_ECDSA, ALG_SHA256, 3, 16
        )
        return head + sized(numbers.x.to_bytes(32, "big")) + sized(numbers.y.to_bytes(32, "big"))

    @property
    def qualified_name(self) -> bytes:
        """Of a primary key of the hierarchy."""
        return name_of(struct.pack(">I", self.hierarchy) + name_of(self.public_area))

    def sign(self, attest: bytes) -> Attestation:
        """Sign a statement, whatever it says."""
        r, s = decode_dss_signature(self.key.sign(attest, ec.ECDSA(hashes.SHA256())))
        signature = (
            struct.pack(">HH", ALG_ECDSA, ALG_SHA256) + sized(r.to_bytes(32, "big")) + sized(s.to_bytes(32, "big"))
        )
        return Attestation(attest=attest, signature=signature)

    def statement(self, kind: int, attested: bytes, *, extra: bytes, clock: Clock, magic: int = GENERATED) -> bytes:
        """TPMS_ATTEST around what is attested."""
        head = struct.pack(">IH", magic, kind) + sized(self.qualified_name) + sized(extra)
        return head + clock.marshal() + struct.pack(">Q", 0x2020_0101_0000_0000) + attested

    def quote(
        self,
        pcrs: Mapping[int, bytes],
        *,
        extra: bytes,
        clock: Clock | None = None,
        selection: Iterable[int] | None = None,
        magic: int = GENERATED,
        kind: int = ST_QUOTE,
    ) -> Attestation:
        """A quote over these SHA-256 PCRs; ``selection`` and ``magic`` are for lies."""
        bitmap = sum(1 << pcr for pcr in (pcrs if selection is None else selection))
        digest = hashlib.sha256(b"".join(pcrs[pcr] for pcr in sorted(pcrs))).digest()
        attested = struct.pack(">IHB", 1, ALG_SHA256, 3) + bitmap.to_bytes(3, "little") + sized(digest)
        return self.sign(self.statement(kind, attested, extra=extra, clock=clock or Clock(), magic=magic))

    def certify(self, area: bytes, *, extra: bytes, parent: int = RH_OWNER, clock: Clock | None = None) -> Attestation:
        """A certify of a primary key of ``parent``."""
        name = name_of(area)
        attested = sized(name) + sized(name_of(struct.pack(">I", parent) + name))
        return self.sign(self.statement(ST_CERTIFY, attested, extra=extra, clock=clock or Clock()))

    def nv_certify(
        self, value: int, *, index: int, extra: bytes, clock: Clock | None = None, attributes: int = COUNTER_ATTRIBUTES
    ) -> CounterAttestation:
        """An nv_certify of a counter."""
        area = nv_public(index, attributes)
        attested = sized(name_of(area)) + struct.pack(">H", 0) + sized(struct.pack(">Q", value))
        signed = self.sign(self.statement(ST_NV, attested, extra=extra, clock=clock or Clock()))
        return CounterAttestation(attest=signed.attest, signature=signed.signature, nv_public=area)


def nv_public(index: int, attributes: int = COUNTER_ATTRIBUTES) -> bytes:
    """TPMS_NV_PUBLIC of an 8-byte index without a policy."""
    return struct.pack(">IHIHH", index, ALG_SHA256, attributes, 0, 8)


def name_of(area: bytes) -> bytes:
    """nameAlg SHA-256 and the digest."""
    return struct.pack(">H", ALG_SHA256) + hashlib.sha256(area).digest()


def sized(content: bytes) -> bytes:
    """TPM2B."""
    return struct.pack(">H", len(content)) + content
