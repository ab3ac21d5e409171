"""A whole device in software, for the licence service's tests: EK, AK, SRK, counters, evidence.

It answers as a TPM would, and also as none would: every structure of a message can be replaced. What a real TPM answers
is tested with swtpm in ``tests/integration``.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from sealwright_policies.appraisal.boot_logs import digest_of_logs
from sealwright_policies.tcg.srk import SRK_ATTRIBUTES
from sealwright_policies.tcg.templates import KeyKind, key_area
from sealwright_policies.wire.device_id import device_id
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.messages import (
    EnrollmentChallenge,
    EnrollmentProof,
    EnrollmentRequest,
    Evidence,
    Purpose,
    RenewalRequest,
)
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.maker_ca import MakerCa, der
from sealwright_testing.software_tpm import ALG_SHA256, RH_OWNER, Clock, SoftwareAk, name_of, sized

try:  # moved in cryptography 47
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB

EK_ATTRIBUTES = 0x000300B2
POLICY_A = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicySecret(TPM_RH_ENDORSEMENT), TCG EK Credential Profile, B.3.3."""
AES_128_CFB = struct.pack(">HHH", 0x0006, 128, 0x0043)


@cache
def ek_key(number: int) -> rsa.RSAPrivateKey:
    """RSA keys take long to draw, so tests share a few."""
    del number
    return rsa.generate_private_key(65537, 2048)


def ek_area(key: rsa.RSAPrivateKey) -> bytes:
    """TPMT_PUBLIC of template L-1 with this modulus."""
    head = struct.pack(">HHI", 0x0001, ALG_SHA256, EK_ATTRIBUTES) + sized(POLICY_A)
    modulus = key.public_key().public_numbers().n.to_bytes(256, "big")
    return head + AES_128_CFB + struct.pack(">HHI", 0x0010, 2048, 0) + sized(modulus)


def srk_area(key: ec.EllipticCurvePrivateKey, *, attributes: int = SRK_ATTRIBUTES) -> bytes:
    """TPMT_PUBLIC of the P-256 storage key template."""
    numbers = key.public_key().public_numbers()
    unique = (numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big"))
    return key_area(KeyKind.ECC_P256, attributes, symmetric=AES_128_CFB, unique=unique)  # type: ignore[arg-type]


@dataclass
class SoftwareDevice:
    """A box with a TPM made of software keys."""

    box: SyntheticBox
    maker: MakerCa
    number: int = 0
    ak: SoftwareAk = field(default_factory=SoftwareAk)
    srk: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    clock: Clock = field(default_factory=Clock)
    ticks: int = 5
    lease_number: int = 1

    def __post_init__(self) -> None:
        """Let the maker endorse the EK."""
        self.ek = ek_key(self.number)
        self.ek_certificate: x509.Certificate = self.maker.endorse(self.ek.public_key())
        self.device_id = device_id(ek_area(self.ek))
        self.box = replace(self.box, ak=self.ak)

    def request(self, code: str, **changes: Any) -> EnrollmentRequest:
        """The first message."""
        fields: dict[str, Any] = {
            "activation_code": code,
            "ek_certificates": [der(self.ek_certificate), der(self.maker.intermediate)],
            "ek_public": ek_area(self.ek),
            "ak_public": self.ak.public_area,
            "srk_public": srk_area(self.srk),
            "release_id": self.box.release.release_id,
        }
        return EnrollmentRequest(**(fields | changes))

    def open_credential(self, challenge: EnrollmentChallenge, ak_name: bytes | None = None) -> bytes:
        """TPM2_ActivateCredential, for the AK's Name; raises ValueError if the credential is for another."""
        seed = self.ek.decrypt(
            challenge.encrypted_secret[2:], padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"IDENTITY\0")
        )
        blob = challenge.credential_blob[2:]
        mac, cipher_text = blob[2:34], blob[34:]
        name = ak_name or name_of(self.ak.public_area)
        expected = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 256), cipher_text + name, "sha256")
        if not hmac.compare_digest(mac, expected):
            raise ValueError("TPM_RC_INTEGRITY")
        decryptor = Cipher(algorithms.AES(_kdfa(seed, b"STORAGE", name, 128)), CFB(bytes(16))).decryptor()
        return (decryptor.update(cipher_text) + decryptor.finalize())[2:]

    def bound(self, *, nonce: bytes, license_id: str, purpose: Purpose, payload: bytes = b"") -> bytes:
        """Qualifying data of a message."""
        return qualifying_data(
            nonce=nonce,
            device_id=self.device_id,
            license_id=license_id,
            release_id=self.box.release.release_id,
            purpose=purpose.value,
            payload=payload,
        )

    def evidence(self, bound: bytes, **changes: Any) -> Evidence:
        """Evidence of the present state."""
        fields: dict[str, Any] = {
            "extra": bound,
            "clock": self.clock,
            "ticks": self.ticks,
            "lease_number": self.lease_number,
        }
        return self.box.evidence(**(fields | changes))

    def proof(
        self,
        challenge: EnrollmentChallenge,
        *,
        secret: bytes | None = None,
        parent: int = RH_OWNER,
        certified: bytes | None = None,
        **changes: Any,
    ) -> EnrollmentProof:
        """The second message."""
        bound = self.bound(nonce=challenge.nonce, license_id=challenge.license_id, purpose=Purpose.ENROLL)
        area = srk_area(self.srk) if certified is None else certified
        return EnrollmentProof(
            enrollment_id=challenge.enrollment_id,
            secret=self.open_credential(challenge) if secret is None else secret,
            srk_certify=self.ak.certify(area, extra=bound, parent=parent, clock=self.clock),
            evidence=self.evidence(bound, **changes),
        )

    def renewal(self, license_id: str, nonce: bytes, *, payload: bytes = b"", **changes: Any) -> RenewalRequest:
        """A renewal that proves the present lease number."""
        bound = self.bound(nonce=nonce, license_id=license_id, purpose=Purpose.RENEW, payload=payload)
        return RenewalRequest(
            device_id=self.device_id,
            license_id=license_id,
            release_id=self.box.release.release_id,
            nonce=nonce,
            evidence=self.evidence(bound, payload=payload, **changes),
        )

    def renewal_by_file(self, license_id: str, nonce: bytes, **changes: Any) -> RenewalRequest:
        """The same as a box writes it into a file: the payload is the digest of the logs."""
        seen = self.renewal(license_id, nonce, **changes).evidence
        payload = digest_of_logs(seen.boot_log, seen.userspace_log)
        return self.renewal(license_id, nonce, payload=payload, **changes)

    def pass_time(self, seconds: int, *, resets: int = 0) -> None:
        """Let the TPM's clock run, and power-cycle it."""
        self.clock = replace(
            self.clock,
            clock_ms=self.clock.clock_ms + seconds * 1000,
            reset_count=self.clock.reset_count + resets,
        )
        self.ticks += seconds // 3600 + resets

    def increment(self) -> None:
        """Count the lease counter up."""
        self.lease_number += 1

    def import_share(self, public: bytes, duplicate: bytes, seed: bytes) -> bytes:
        """TPM2_Import and what the object holds, read with the SRK's private key."""
        area = public[2:]
        x = int.from_bytes(seed[4:36], "big")
        y = int.from_bytes(seed[38:70], "big")
        point = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        mine = self.srk.public_key().public_numbers().x.to_bytes(32, "big")
        shared = self.srk.exchange(ec.ECDH(), point)
        material = struct.pack(">I", 1) + shared + b"DUPLICATE\0" + seed[4:36] + mine
        key_seed = hashlib.sha256(material).digest()
        mac, cipher_text = duplicate[4:36], duplicate[36:]
        name = name_of(area)
        expected = hmac.digest(_kdfa(key_seed, b"INTEGRITY", b"", 256), cipher_text + name, "sha256")
        if not hmac.compare_digest(mac, expected):
            raise ValueError("TPM_RC_INTEGRITY")
        decryptor = Cipher(algorithms.AES(_kdfa(key_seed, b"STORAGE", name, 128)), CFB(bytes(16))).decryptor()
        sensitive = decryptor.update(cipher_text) + decryptor.finalize()
        return sensitive[-32:]


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    fixed = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.digest(key, fixed, "sha256")[: bits // 8]
