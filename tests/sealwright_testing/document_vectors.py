"""Writes the vectors of ``tests/vectors/documents/``: signed documents, wrapped shares, derivations; and of
``tests/vectors/endorsement/``: EK certificate chains.

Run ``python -m sealwright_testing.document_vectors tests/vectors`` after a change of a format. New keys are drawn; what
each vector must come to is written here by hand. Values of derivations are computed here from the specification's words
with the standard library alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.reference_values import PAYLOAD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE
from sealwright_policies.errors import RejectionCode as Code
from sealwright_policies.transparency.release_proof import ReleaseProof
from sealwright_policies.wire.custodian_wrap import wrap_share
from sealwright_policies.wire.envelope import sign_dsse, sign_jws
from sealwright_policies.wire.lease import (
    LEASE_TYPE,
    EndBehaviour,
    Lease,
    LeaseTerms,
    sign_lease,
    sign_lease_partitions,
)
from sealwright_testing import maker_ca
from sealwright_testing.certificate_vectors import device_certificate_vectors
from sealwright_testing.evidence_factory import NOW, SyntheticBox
from sealwright_testing.maker_ca import MakerCa
from sealwright_testing.release_log import release_proof
from sealwright_testing.software_device import ek_area, ek_key

PARTITION = "7e" * 32
SHARE = bytes(range(32))
Vector = tuple[str, str, dict[str, Any], dict[str, Any]]
"""Section of the specification, operation, input, expected."""

ACCEPTED: dict[str, Any] = {"outcome": "accepted"}
MALFORMED: dict[str, Any] = {"outcome": "malformed"}


def rejected(code: Code) -> dict[str, Any]:
    """The expectation of a denial."""
    return {"outcome": "rejected", "code": code.value}


def pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> str:
    """The public half."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def manifest_vectors() -> dict[str, Vector]:
    """Release manifests in DSSE."""
    box = SyntheticBox()
    key, other = box.manifest_key, ec.generate_private_key(ec.SECP256R1())
    envelope = json.loads(box.release_envelope)
    payload = base64.b64decode(envelope["payload"])
    statement = json.loads(payload)

    def signed(data: bytes | dict[str, Any], kind: str = PAYLOAD_TYPE) -> str:
        raw = data if isinstance(data, bytes) else json.dumps(data).encode()
        return sign_dsse(raw, kind, key).decode()

    def vector(text: str, expected: dict[str, Any], section: str = "documents.md 3") -> Vector:
        return section, "verify_release", {"envelope": text, "key": pem(key)}, expected

    def peers(expected: dict[str, Any], *networks: str) -> Vector:
        predicate = statement["predicate"] | {"peers": list(networks)}
        return vector(signed(statement | {"predicate": predicate}), expected, "manifest.md 2")

    artefact = statement["predicate"]["artefacts"][0]
    other_subject = statement | {"subject": [{"name": artefact["name"], "digest": {"sha256": "ee" * 32}}]}
    sent, signatures = envelope["payload"], envelope["signatures"]
    renamed = {"type_": STATEMENT_TYPE} | {name: value for name, value in statement.items() if name != "_type"}
    return {
        "manifest-good": vector(json.dumps(envelope), ACCEPTED),
        "manifest-other-key": vector(
            sign_dsse(payload, PAYLOAD_TYPE, other).decode(), rejected(Code.DOCUMENT_SIGNATURE)
        ),
        "manifest-other-type": vector(signed(payload, "application/json"), rejected(Code.DOCUMENT_TYPE)),
        "manifest-other-subject": vector(signed(other_subject), rejected(Code.MANIFEST_MISMATCH)),
        "manifest-other-predicate-type": vector(signed(statement | {"predicateType": PREDICATE_TYPE + "x"}), MALFORMED),
        "manifest-type-by-other-name": vector(signed(renamed), MALFORMED),
        "manifest-key-twice": vector(signed(b'{"_type":"x",' + payload[1:]), MALFORMED),
        "manifest-unknown-field": vector(signed(statement | {"extra": 1}), MALFORMED),
        "manifest-nan": vector(signed(payload.replace(b'"version":1', b'"version":NaN', 1)), MALFORMED),
        "manifest-two-signatures": vector(json.dumps(envelope | {"signatures": signatures * 2}), MALFORMED),
        "manifest-no-signature": vector(json.dumps(envelope | {"signatures": []}), MALFORMED),
        "manifest-loose-base64": vector(json.dumps(envelope | {"payload": sent + "\n"}), MALFORMED),
        "manifest-peers": peers(ACCEPTED, "10.20.0.0/24", "10.20.1.7/32", "fd5e:a1ed::/64"),
        "manifest-peers-none": peers(ACCEPTED),
        "manifest-peers-broad": peers(MALFORMED, "10.20.0.0/23"),
        "manifest-peers-broad-ipv6": peers(MALFORMED, "fd5e:a1ed::/63"),
        "manifest-peers-two-halves-of-everybody": peers(MALFORMED, "0.0.0.0/1", "128.0.0.0/1"),
        "manifest-peers-address": peers(MALFORMED, "10.20.1.7"),
        "manifest-peers-host-bits": peers(MALFORMED, "10.20.0.1/24"),
        "manifest-peers-loopback": peers(MALFORMED, "127.0.0.1/32"),
        "manifest-peers-twice": peers(MALFORMED, "10.20.0.0/24", "10.20.0.0/24"),
        "manifest-peers-too-many": peers(MALFORMED, *(f"10.20.{n}.0/24" for n in range(17))),
        "release-unknown": (
            "appraisal.md 7",
            "find_release",
            {"envelope": json.dumps(envelope), "key": pem(key), "release_id": "00" * 32},
            rejected(Code.RELEASE_UNKNOWN),
        ),
    }


def lease_terms(log: ReleaseProof, **changes: Any) -> LeaseTerms:
    """Terms as in practice."""
    fields: dict[str, Any] = {
        "version": 1,
        "lease_id": "lease-1",
        "device_id": "a" * 52,
        "license_id": "license-1",
        "release_id": "11" * 32,
        "srk_name": "000b" + "22" * 32,
        "tick_counter_name": "000b" + "33" * 32,
        "lease_counter_name": "000b" + "44" * 32,
        "unseal_pcrs": {str(pcr): f"{pcr:02x}" * 32 for pcr in (0, 2, 4, 7, 11, 12, 13, 14, 15)},
        "clock_end_ms": 86_400_000,
        "max_reset_count": 60,
        "max_ticks": 720,
        "number": 7,
        "next_nonce": b"n" * 32,
        "issued_at": NOW,
        "expires_at": NOW + 30 * 86_400,
        "max_request_s": 600,
        "renew_after_s": 86_400,
        "license": {
            "ends_at": 1_830_000_000,
            "grace_ends_at": 1_830_000_000,
            "at_end": EndBehaviour.CLOSE,
            "budget_end_ticks": 9000,
            "features": [],
        },
        "warnings": [],
        "log": log,
    }
    return LeaseTerms(**(fields | changes))


def lease_vectors() -> dict[str, Vector]:
    """Leases as JWS, and when they are used up."""
    policy, document, other = (
        ec.generate_private_key(ec.SECP256R1()),
        Ed25519PrivateKey.generate(),
        Ed25519PrivateKey.generate(),
    )
    log_key = Ed25519PrivateKey.generate()
    terms = lease_terms(release_proof(log_key, "11" * 32))
    token = sign_lease(terms, {PARTITION: "medical"}, policy, document)
    header, payload, signature = token.split(".")

    def vector(text: str, expected: dict[str, Any]) -> Vector:
        keys = {"lease_document_key": pem(document), "lease_policy_key": pem(policy), "log_key": pem(log_key)}
        return "lease.md 2", "verify_lease", keys | {"token": text}, expected

    def longer(**changes: Any) -> str:
        (partition,) = sign_lease_partitions(terms, {PARTITION: "medical"}, policy)
        return sign_jws(Lease(**(dict(terms) | changes), partitions=[partition]), LEASE_TYPE, document)

    def headed(members: dict[str, Any]) -> str:
        first = base64.urlsafe_b64encode(json.dumps(members).encode()).rstrip(b"=").decode()
        signed = f"{first}.{payload}"
        return f"{signed}.{base64.urlsafe_b64encode(document.sign(signed.encode())).rstrip(b'=').decode()}"

    used = {"reset_count": 60, "restart_count": 0, "clock_ms": 86_400_000, "ticks": 720, "lease_number": 7}

    def reading(expected: dict[str, Any], **changes: int) -> Vector:
        return (
            "lease.md 4",
            "require_in_force",
            {"terms": terms.model_dump(mode="json"), "reading": used | changes},
            expected,
        )

    invalid = rejected(Code.LOG_PROOF_INVALID)
    of_other = release_proof(log_key, "12" * 32)
    by_other = release_proof(other, "11" * 32)
    of_other_log = release_proof(log_key, "11" * 32, service_id="service-2")
    cut = terms.log.model_copy(update={"path": terms.log.path[:-1]})
    typ, mismatch, expired = {"typ": LEASE_TYPE}, rejected(Code.LEASE_MISMATCH), rejected(Code.LEASE_EXPIRED)
    return {
        "lease-good": vector(token, ACCEPTED),
        "lease-other-document-key": vector(
            sign_lease(terms, {PARTITION: "medical"}, policy, other), rejected(Code.DOCUMENT_SIGNATURE)
        ),
        "lease-other-payload": vector(
            f"{header}.{longer(number=8).split('.')[1]}.{signature}", rejected(Code.DOCUMENT_SIGNATURE)
        ),
        "lease-longer-than-approved": vector(longer(clock_end_ms=1 << 40), mismatch),
        "lease-other-number-than-approved": vector(longer(number=8), mismatch),
        "lease-other-srk-than-approved": vector(longer(srk_name="000b" + "55" * 32), mismatch),
        "lease-of-other-release-in-log": vector(longer(log=of_other), invalid),
        "lease-of-release-not-in-log": vector(longer(release_id="12" * 32), invalid),
        "lease-log-by-other-key": vector(longer(log=by_other), invalid),
        "lease-log-of-other-service": vector(longer(log=of_other_log), invalid),
        "lease-log-path-cut": vector(longer(log=cut), invalid),
        "lease-other-type": vector(headed({"alg": "EdDSA", "typ": "JWT"}), rejected(Code.DOCUMENT_TYPE)),
        "lease-alg-none": vector(headed({"alg": "none"} | typ), rejected(Code.DOCUMENT_TYPE)),
        "lease-crit": vector(headed({"alg": "EdDSA", "crit": ["exp"]} | typ), MALFORMED),
        "lease-padded": vector(token + "=", MALFORMED),
        "lease-four-parts": vector(token + ".AA", MALFORMED),
        "lease-without-partition": vector(sign_jws(terms, LEASE_TYPE, document), MALFORMED),
        "lease-in-force": reading(ACCEPTED),
        "lease-clock-passed": reading(expired, clock_ms=86_400_001),
        "lease-resets-passed": reading(expired, reset_count=61),
        "lease-ticks-passed": reading(expired, ticks=721),
        "lease-of-other-number": reading(mismatch, lease_number=8),
    }


def share_vectors() -> dict[str, Vector]:
    """Shares wrapped to a custodian, with known keys."""
    scalar = 0xC057
    custodian, ephemeral = (ec.derive_private_key(each, ec.SECP256R1()) for each in (scalar, 0xE9E))
    partition = bytes.fromhex(PARTITION)
    wrapped = wrap_share(custodian.public_key(), SHARE, partition_id=partition, name="lease", ephemeral=ephemeral)
    usual = {
        "custodian_scalar": scalar,
        "partition_id": PARTITION,
        "name": "lease",
        "wrapped": wrapped.model_dump(mode="json"),
    }

    def vector(expected: dict[str, Any], **changes: Any) -> Vector:
        return "custodian-wrap.md 2", "unwrap_share", usual | changes, expected

    off_curve = wrapped.model_copy(update={"ephemeral_public": b"\x04" + b"\x01" * 64})
    denied = rejected(Code.DOCUMENT_SIGNATURE)
    return {
        "share-good": vector(ACCEPTED | {"result": SHARE.hex()}),
        "share-of-other-partition": vector(denied, partition_id="00" * 32),
        "share-of-other-name": vector(denied, name="release"),
        "share-off-curve": vector(MALFORMED, wrapped=off_curve.model_dump(mode="json")),
    }


def frame(*fields: bytes) -> bytes:
    """The framing in the specification's words: uint32 length, then the bytes."""
    return b"".join(struct.pack(">I", len(each)) + each for each in fields)


def derivation_vectors() -> dict[str, Vector]:
    """Known answers."""
    partition, srk = bytes.fromhex(PARTITION), bytes.fromhex("000b" + "22" * 32)
    info = frame(b"sealwright/v1/volume-key", partition)
    extracted = hmac.digest(bytes(32), b"\xaa" * 32 + b"\xbb" * 32, "sha256")
    first = hmac.digest(extracted, info + b"\x01", "sha256")
    volume_key = first + hmac.digest(extracted, first + info + b"\x02", "sha256")
    owner = bytes.fromhex("44" * 32)
    bound_first = hmac.digest(extracted, info + frame(owner) + b"\x01", "sha256")
    bound_key = bound_first + hmac.digest(extracted, bound_first + info + frame(owner) + b"\x02", "sha256")
    fields = {"device_id": "a" * 52, "license_id": "license-1", "release_id": "11" * 32, "purpose": "renew"}
    bound = frame(
        b"sealwright/v1/attest",
        SHARE,
        *(value.encode() for value in fields.values()),
        hashlib.sha256(b"payload").digest(),
    )
    area = b"public area of an endorsement key"
    device = base64.b32encode(hashlib.sha256(area).digest()).decode().rstrip("=").lower()

    def known(section: str, operation: str, values: dict[str, Any], result: str) -> Vector:
        return section, operation, values, ACCEPTED | {"result": result}

    return {
        "volume-key": known(
            "custodian-wrap.md 3",
            "derive_volume_key",
            {"lease_share": "aa" * 32, "release_share": "bb" * 32, "partition_id": PARTITION},
            volume_key.hex(),
        ),
        "volume-key-of-an-owner": known(
            "custodian-wrap.md 3",
            "derive_volume_key",
            {
                "lease_share": "aa" * 32,
                "release_share": "bb" * 32,
                "partition_id": PARTITION,
                "owner_key_id": "44" * 32,
            },
            bound_key.hex(),
        ),
        "key-check": known(
            "custodian-wrap.md 3",
            "key_check",
            {"volume_key": volume_key.hex(), "partition_id": PARTITION},
            hashlib.sha256(frame(b"sealwright/v1/key-check", partition, volume_key)).hexdigest(),
        ),
        "qualifying-data": known(
            "framing.md 2",
            "qualifying_data",
            fields | {"nonce": SHARE.hex(), "payload": b"payload".hex()},
            hashlib.sha256(bound).hexdigest(),
        ),
        "lease-share-reference": known(
            "framing.md 3",
            "lease_share_reference",
            {"srk_name": srk.hex(), "partition_id": PARTITION},
            hashlib.sha256(frame(b"sealwright/v1/lease-share", srk, partition)).hexdigest(),
        ),
        "release-share-reference": known(
            "framing.md 3",
            "release_share_reference",
            {"partition_id": PARTITION},
            hashlib.sha256(frame(b"sealwright/v1/release-share", partition)).hexdigest(),
        ),
        "device-id": known("framing.md 4", "device_id", {"ek_public_area": area.hex()}, device),
    }


def endorsement_vectors() -> dict[str, Vector]:
    """EK certificates against a maker's root."""
    maker, other, key = MakerCa(), MakerCa("other"), ek_key(0)

    def vector(expected: dict[str, Any], leaf: Any, *supplied: Any, now: int = NOW) -> Vector:
        chain = [base64.b64encode(maker_ca.der(each)).decode() for each in (leaf, *supplied)]
        root = base64.b64encode(maker_ca.der(maker.root)).decode()
        values = {"chain": chain, "root": root, "ek": ek_area(key).hex(), "now": now}
        return "enrollment.md 2", "verify_endorsement", values, expected

    broken = rejected(Code.EK_CHAIN_INVALID)
    good = maker.endorse(key.public_key())
    weak = roca_modulus()
    return {
        "chain-good": vector(ACCEPTED, good, maker.intermediate),
        "chain-without-intermediate": vector(broken, good),
        "chain-to-other-root": vector(broken, other.endorse(key.public_key()), other.intermediate),
        "chain-expired": vector(broken, good, maker.intermediate, now=NOW + 200 * 365 * 86_400),
        "certificate-for-other-key": vector(
            rejected(Code.EK_KEY_MISMATCH), maker.endorse(ek_key(1).public_key()), maker.intermediate
        ),
        "key-that-can-be-factored": (
            "enrollment.md 2",
            "check_key_strength",
            {"modulus": f"{weak:x}"},
            rejected(Code.TPM_NOT_ALLOWED),
        ),
        "key-of-good-strength": (
            "enrollment.md 2",
            "check_key_strength",
            {"modulus": f"{rsa.generate_private_key(65537, 2048).public_key().public_numbers().n:x}"},
            ACCEPTED,
        ),
    }


def roca_modulus() -> int:
    """A number with the mark of the weak generator: a power of 65537 modulo each small prime, odd, 2048 bits."""
    product = 1
    for prime in (n for n in range(3, 168) if all(n % divisor for divisor in range(2, n))):
        product *= prime
    weak = pow(65537, 4711, product)
    weak += product * (((1 << 2047) // product) + 1)
    return weak if weak % 2 else weak + product


def write(directory: Path) -> None:
    """Write every vector below a directory, replacing those that are there."""
    documents = manifest_vectors() | lease_vectors() | share_vectors() | derivation_vectors()
    documents |= device_certificate_vectors()
    for folder, vectors in (("documents", documents), ("endorsement", endorsement_vectors())):
        shutil.rmtree(directory / folder, ignore_errors=True)
        for name, (section, operation, values, expected) in vectors.items():
            target = directory / folder / name
            target.mkdir(parents=True)
            described = {"description": name.replace("-", " "), "spec": section, "operation": operation}
            for file, members in (("manifest", described), ("input", values), ("expected", expected)):
                (target / f"{file}.json").write_text(json.dumps(members, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
