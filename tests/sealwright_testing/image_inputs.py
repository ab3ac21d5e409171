"""Inputs of an image build, small and real: a GGUF file, a licence-service file with its custodians, a product file."""

from __future__ import annotations

import datetime
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.service import CustodianKeys, LicenseService
from sealwright_testing.domain_texts import domain_text, write_serving

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def gguf_text(text: str) -> bytes:
    """A GGUF string."""
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def gguf_header(*, version: int = 3, tensors: int = 1, pairs: list[bytes] | None = None) -> bytes:
    """Magic, version, counts and metadata."""
    if pairs is None:
        pairs = [
            gguf_text("general.architecture") + struct.pack("<I", 8) + gguf_text("llama"),
            gguf_text("general.name") + struct.pack("<I", 8) + gguf_text("tiny"),
            gguf_text("general.alignment") + struct.pack("<II", 4, 32),
            gguf_text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + gguf_text("a") + gguf_text("b"),
            gguf_text("llama.rope.freq_base") + struct.pack("<If", 6, 1e4),
            gguf_text("tokenizer.ggml.scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.0, 1.0),
        ]
    return b"GGUF" + struct.pack("<IQQ", version, tensors, len(pairs)) + b"".join(pairs)


def gguf_tensor(name: str, elements: int, offset: int) -> bytes:
    """One F32 entry of the tensor table."""
    return gguf_text(name) + struct.pack("<IQIQ", 1, elements, 0, offset)


def gguf_file(weights: bytes = bytes(64)) -> bytes:
    """A whole GGUF file with one tensor."""
    head = gguf_header() + gguf_tensor("token_embd.weight", len(weights) // 4, 0)
    return head + bytes(-len(head) % 32) + weights


def write_model(path: Path, size: int = 1024 * 1024) -> Path:
    """A GGUF file with random weights of about this size, readable by all as models are."""
    path.write_bytes(gguf_file(os.urandom(size)))
    path.chmod(0o644)
    return path


def public_pem(key: ec.EllipticCurvePublicKey | Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def certificate_pem(name: str) -> str:
    """A self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + datetime.timedelta(days=3650))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode("ascii")


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """Private keys behind a licence-service file."""

    lease_custodian: ec.EllipticCurvePrivateKey
    release_custodian: ec.EllipticCurvePrivateKey
    service: LicenseService


def make_service() -> ServiceKeys:
    """A licence service of its own keys."""
    lease, release, policy = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    service = LicenseService(
        version=1,
        service_id="service-under-test",
        url="https://license.example:8443",
        ca=certificate_pem("ca"),
        lease_document_key=public_pem(Ed25519PrivateKey.generate().public_key()),
        lease_policy_key=public_pem(policy.public_key()),
        device_ca=certificate_pem("device ca"),
        log_key=public_pem(Ed25519PrivateKey.generate().public_key()),
        custodian_keys=CustodianKeys(
            lease_share=public_pem(lease.public_key()), release_share=public_pem(release.public_key())
        ),
    )
    return ServiceKeys(lease, release, service)


def write_service(path: Path) -> ServiceKeys:
    """Write a licence-service file; returns the keys behind it."""
    keys = make_service()
    path.write_bytes(document_bytes(keys.service))
    return keys


def write_product(folder: Path, *payloads: str, head: str = "") -> Path:
    """Write a product file and its domain; returns its path."""
    write_serving(folder / "domains", dict.fromkeys(payloads, "medical"))
    path = folder / "product.toml"
    path.write_text(product_text(*payloads, head=head))
    return path


def product_text(*payloads: str, head: str = "") -> str:
    """A product file with a payload table for each id, all of one domain; ``head`` adds lines before them."""
    lines = [
        'vendor = "Example Vendor"',
        'product = "sealed-advisor"',
        'version = "1.0"',
        'keys = "keys"',
        'license_service = "license-service.json"',
        'domains = ["domains/medical.toml"]',
        head,
    ]
    for payload in payloads:
        lines += ["[[payload]]", f'id = "{payload}"', 'kind = "model"', 'domain = "medical"']
        lines += [f'path = "{payload}.gguf"', 'license = "LICENSE.txt"', ""]
    return "\n".join(lines) + "\n"


def write_training(folder: Path) -> Path:
    """Write a product of a model, a data set and a workload that reads both; returns the workload's folder."""
    records, lora = folder / "records", folder / "lora"
    for place in (records, lora):
        place.mkdir()
    (records / "a.csv").write_text("1,2\n" * 1000)
    (lora / "program").write_bytes(b"\x7fELF program")
    (lora / "program").chmod(0o755)
    write_model(folder / "medical.gguf", 4096)
    text = product_text("medical", "records", "lora")
    domain = domain_text(
        "medical", more='\n[run]\nworkloads = ["lora"]\n\n[[member]]\nkind = "model"\nid = "medical"\n'
    )
    for name, kind in (("records", "data-set"), ("lora", "workload")):
        domain += f'\n[[member]]\nkind = "{kind}"\nid = "{name}"\n'
        text = text.replace(f'id = "{name}"\nkind = "model"', f'id = "{name}"\nkind = "{kind}"')
        text = text.replace(f'path = "{name}.gguf"', f'path = "{name}"')
    (folder / "domains").mkdir(exist_ok=True)
    (folder / "domains/medical.toml").write_text(domain)
    (folder / "product.toml").write_text(text)
    return lora
