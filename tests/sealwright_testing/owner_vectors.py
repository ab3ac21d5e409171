"""Writes the vectors of ``tests/vectors/owners/``: what owners of domains have signed, and what they have not.

Run ``python -m sealwright_testing.owner_vectors tests/vectors/owners`` after a change of the format of domains. New
keys are drawn; what each vector must come to is written here by hand. Messages are made here from the specification's
words.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from sealwright_policies.domains.canonical import canonical_form
from sealwright_policies.domains.model import Domain
from sealwright_policies.errors import RejectionCode as Code
from sealwright_testing.domain_texts import domain_text, parse
from sealwright_testing.owners import RECORDS, owned
from sealwright_testing.vectors import Vector

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
IMAGES = {"tune": "1a" * 32, "count": "2b" * 32}
SIGNED, WORKLOADS = "verify_signed_domain", "require_signed_workloads"


def frame(*fields: bytes) -> bytes:
    """The framing in the specification's words: uint32 length, then the bytes."""
    return b"".join(struct.pack(">I", len(each)) + each for each in fields)


def signature(key: ec.EllipticCurvePrivateKey, message: bytes) -> str:
    """ECDSA with SHA-256, DER, base64."""
    return base64.b64encode(key.sign(message, ec.ECDSA(SHA256()))).decode()


def domain(name: str = "records", *, vendor_workloads: bool = False) -> Domain:
    """A data owner's domain that names the key."""
    return parse(owned(domain_text(name, more=RECORDS), KEY, vendor_workloads=vendor_workloads)).domain


def domain_message(form: bytes) -> bytes:
    """Section 9: the digest of section 6 under a label."""
    return frame(b"sealwright/v1/owner-domain", hashlib.sha256(frame(b"sealwright/v1/domain", form)).digest())


def workload_message(domain_name: str, name: str, root_hash: str) -> bytes:
    """Section 9."""
    return frame(b"sealwright/v1/owner-workload", domain_name.encode(), name.encode(), bytes.fromhex(root_hash))


def workload(name: str, root_hash: str, /, **changes: str) -> dict[str, str]:
    """One that the owner has signed; changes are of what was signed, or ``signature``."""
    said = {"domain": "records", "name": name, "root_hash": root_hash} | changes
    made = signature(KEY, workload_message(said["domain"], said["name"], said["root_hash"]))
    return {"payload_id": name, "root_hash": root_hash, "signature": changes.get("signature", made)}


def signed(form: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """The document; by default all that the owner has to sign of the images."""
    form = canonical_form(domain()) if form is None else form
    fields = {
        "canonical_form": base64.b64encode(form).decode(),
        "signature": signature(KEY, domain_message(form)),
        "workloads": [workload(name, root_hash) for name, root_hash in IMAGES.items()],
    }
    return fields | changes


def signatures() -> Iterator[Vector]:
    """Each signature, by key, text, image and purpose."""

    def vector(name: str, words: str, given: dict[str, Any], code: Code | None = Code.OWNER_SIGNATURE) -> Vector:
        return Vector(name, words, "domain.md 9", SIGNED, {"signed": given}, code)

    form = canonical_form(domain())
    one = "1a" * 32
    yield vector("signed", "a domain and two workloads", signed(), None)
    yield vector(
        "other-text", "another domain was signed", signed(signature=signed(canonical_form(domain("b")))["signature"])
    )
    yield vector("other-key", "another key has signed", signed(signature=signature(OTHER, domain_message(form))))
    yield vector("no-key", "a domain that names none", signed(canonical_form(parse(domain_text("records")).domain)))
    bare = signature(KEY, hashlib.sha256(frame(b"sealwright/v1/domain", form)).digest())
    yield vector("no-label", "the digest was signed as it is", signed(signature=bare))
    for name, words, changed in (
        ("other-image", "another image was signed", workload("tune", one, root_hash="3c" * 32)),
        ("other-id", "the image was signed under another id", workload("tune", one, name="count")),
        ("other-domain", "the image was signed for another domain", workload("tune", one, domain="others")),
        (
            "domain-as-workload", "the domain's signature stands under a workload",
            workload("tune", one, signature=signature(KEY, domain_message(form))),
        ),
        (
            "workload-of-other-key", "another key has signed the image",
            workload("tune", one, signature=signature(OTHER, workload_message("records", "tune", one))),
        ),
    ):  # fmt: skip
        yield vector(name, words, signed(workloads=[changed]))
    as_domain = signature(KEY, workload_message("records", "tune", one))
    yield vector("workload-as-domain", "a workload's signature stands under the domain", signed(signature=as_domain))
    reordered = form.replace(b'{"api":', b'{ "api":')
    yield Vector(
        "not-canonical", "the signed text has a space", "domain.md 9", SIGNED, {"signed": signed(reordered)},
        outcome="malformed",
    )  # fmt: skip


def images() -> Iterator[Vector]:
    """Workloads of a release."""

    def vector(name: str, words: str, code: Code | None, given: dict[str, Any], **found: str) -> Vector:
        return Vector(name, words, "domain.md 9", WORKLOADS, {"signed": given, "images": found}, code)

    unsigned, one = Code.OWNER_UNSIGNED, "1a" * 32
    yield vector("all-images-signed", "each may run", None, signed(), **IMAGES)
    yield vector("image-of-no-concern", "one that may not run on the domain", None, signed(), other="3c" * 32)
    yield vector("image-unsigned", "one is not signed", unsigned, signed(workloads=[workload("count", one)]), tune=one)
    yield vector("image-rebuilt", "another root hash", unsigned, signed(), tune="1b" * 32)
    yield vector("images-exchanged", "each under the other's id", unsigned, signed(), tune="2b" * 32, count=one)
    trusting = canonical_form(domain(vendor_workloads=True))
    yield vector("vendor-enough", "the owner leaves it to the vendor", None, signed(trusting, workloads=[]), tune=one)


def write(directory: Path) -> None:
    """Write every vector, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    for vector in (*signatures(), *images()):
        vector.write(directory)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
