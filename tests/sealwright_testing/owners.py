"""Owners of domains with keys of their own: keys, domains that name them, and signatures, for tests."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_policies.appraisal.reference_values import DomainSummary, Payload, PayloadKind, SignedDomain
from sealwright_policies.domains.canonical import summarise
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.owner_signing import sign_domain, sign_workload
from sealwright_policies.domains.ownership import key_id
from sealwright_policies.wire.envelope import public_der
from sealwright_policies.wire.volume_key import key_check
from sealwright_testing.domain_texts import domain_text, parse, replaced
from sealwright_testing.evidence_factory import payload_fields, volume_key

IMAGE = "1a" * 32
"""Root hash of a workload's image."""
RECORDS = """
[[member]]
kind = "data-set"
id = "cases"

[run]
workloads = ["tune", "count"]
"""


@cache
def owner_key(name: str = "registry") -> ec.EllipticCurvePrivateKey:
    """The same in one process."""
    return ec.generate_private_key(ec.SECP256R1())


def key_text(key: ec.EllipticCurvePrivateKey) -> str:
    """As it stands in a domain."""
    return base64.b64encode(public_der(key.public_key())).decode("ascii")


def owned(text: str, key: ec.EllipticCurvePrivateKey | None = None, *, vendor_workloads: bool = False) -> str:
    """A domain's text with its owner's key."""
    lines = f'[owner]\nkey = "{key_text(key or owner_key())}"\n'
    return replaced(text, "[owner]\n", lines + ("vendor_workloads = true\n" if vendor_workloads else ""))


def records(more: str = RECORDS, *, name: str = "records", vendor_workloads: bool = False) -> Domain:
    """A data owner's domain that names the key."""
    return parse(owned(domain_text(name, more=more), vendor_workloads=vendor_workloads)).domain


def signed(
    domain: Domain, images: Mapping[str, str] | None = None, key: ec.EllipticCurvePrivateKey | None = None
) -> SignedDomain:
    """A domain with its owner's word for it and for images, given by payload id."""
    word = sign_domain(domain, key or owner_key())
    for name, root_hash in (images or {}).items():
        word = sign_workload(word, name, root_hash, key or owner_key())
    return word


TRAINING = """
[[member]]
kind = "workload"
id = "tune"

[run]
workloads = ["tune"]

[[chain]]
from = "records"
forms = ["raw"]
"""
ROOT_HASHES = {"medical": "7e" * 32, "cases": "5c" * 32, "tune": IMAGE}
"""Of the payloads of :func:`release_fields`."""


def release_fields(
    signed_records: SignedDomain | None, summary: DomainSummary | None = None, owner: bytes | None = None
) -> dict[str, Any]:
    """What a release with an owner's data set and a workload on it has beside others: its domains and payloads.

    Args:
        signed_records: of the domain ``records``.
        summary: its entry; by default that of :func:`records`.
        owner: key id that the data set is sealed with; by default the owner's.
    """
    domain = records()
    bound = key_id(domain) if owner is None else owner
    payloads = [
        _payload("medical", PayloadKind.MODEL, "medical", None),
        _payload("cases", PayloadKind.DATA_SET, "records", bound),
        _payload("tune", PayloadKind.WORKLOAD, "training", None),
    ]
    domains = [
        summarise(parse(domain_text("medical")).domain),
        summary or summarise(domain, signed_records),
        summarise(parse(domain_text("training", more=TRAINING)).domain),
    ]
    return {"payloads": payloads, "domains": domains}


def _payload(name: str, kind: PayloadKind, domain: str, owner: bytes | None) -> Payload:
    root_hash = ROOT_HASHES[name]
    fields = payload_fields(root_hash) | {"payload_id": name, "kind": kind, "domain": domain}
    fields |= {"partition_label": f"payload-{name}"}
    return Payload(**fields | {"key_check": key_check(volume_key(root_hash, owner), bytes.fromhex(root_hash))})
