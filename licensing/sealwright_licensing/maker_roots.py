"""Trust anchors for endorsement keys: what may be added to a deployment, and as which tier.

A maker's root is known by its fingerprint in ``policies/endorsements/roots.toml``. Any other root, such as the CA of a
software TPM, is added only as tier "software", and then only licences that name this tier accept it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from sealwright_licensing.actors import Actor
from sealwright_licensing.certificates import Certificate, name_attributes, parse_certificate, verify_signature
from sealwright_licensing.endorsement import Tier
from sealwright_licensing.journal import record_operation
from sealwright_licensing.records import MakerCertificate
from sealwright_licensing.store import Store, Transaction
from sealwright_policies.errors import FormatError, RejectionCode, UsageError, VerificationError

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\s(.*?)-----END CERTIFICATE-----", re.DOTALL)
MOST_CERTIFICATES = 1000


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """A maker's root as the project lists it."""

    maker: str
    name: str
    tier: Tier
    fingerprint: str
    source: str
    evidence: str
    """What ties the fingerprint to the maker, as roots.toml explains: fingerprint, document or aia."""
    document: str


@cache
def known_roots() -> dict[str, KnownRoot]:
    """The listed roots by fingerprint."""
    document = tomllib.loads(files("sealwright_policies").joinpath("roots.toml").read_text("utf-8"))
    entries = (
        KnownRoot(
            one["maker"],
            one["name"],
            Tier(one["tier"]),
            one["sha256"],
            one["source"],
            one["evidence"],
            one.get("document", ""),
        )
        for one in document["root"]
    )
    return {one.fingerprint: one for one in entries}


def parse_pem_certificates(data: bytes) -> list[Certificate]:
    """All certificates of a PEM file.

    Raises:
        FormatError: none in it, or one is not readable.
    """
    bodies = _PEM.findall(data)
    if not bodies or len(bodies) > MOST_CERTIFICATES:
        raise FormatError(f"Expected 1 to {MOST_CERTIFICATES} certificates in PEM form, found {len(bodies)}.")
    try:
        return [parse_certificate(base64.b64decode(b"".join(body.split()), validate=True)) for body in bodies]
    except binascii.Error as error:
        raise FormatError("A certificate in the PEM file is not base64.") from error


def is_listed(record: MakerCertificate) -> bool:
    """Whether a stored root is one of the list, for the tier that it serves: by its content, not by what is stored."""
    known = known_roots().get(hashlib.sha256(record.encoded).hexdigest())
    return known is not None and known.tier == record.tier


def add_certificates(
    store: Store,
    actor: Actor,
    certificates: Iterable[Certificate],
    tier: Tier,
    sign: Callable[[MakerCertificate], MakerCertificate],
    *,
    now: int,
) -> list[MakerCertificate]:
    """Add anchors and intermediates; adding the same again changes nothing.

    Args:
        store: the service's.
        actor: who trusts them.
        certificates: of makers.
        tier: that the roots serve.
        sign: makes a record one that the service believes (signed_records.py).
        now: seconds since the epoch.

    Raises:
        UsageError: a listed root of another tier, or an unlisted root with a tier that is not "software".
        VerificationError: EK_CHAIN_INVALID: a certificate that is no CA's.
    """
    added = [sign(_record(certificate, tier, now)) for certificate in certificates]
    with store.write() as transaction:
        for record in added:
            known = transaction.get(MakerCertificate, record.fingerprint)
            if known is not None and known.tier and known.tier != record.tier:
                raise UsageError(f"{record.subject} is trusted as {known.tier} already.")
            if known is None:
                enter_certificate(transaction, actor, record, now=now)
    return added


def enter_certificate(transaction: Transaction, actor: Actor, record: MakerCertificate, *, now: int) -> None:
    """Store a certificate that is new, and who trusts it."""
    transaction.add(record)
    record_operation(
        transaction,
        actor=actor,
        operation="root.trust" if record.tier else "root.keep-intermediate",
        subject=record.fingerprint,
        detail={"tier": record.tier, "subject": record.subject},
        now=now,
    )


def _record(certificate: Certificate, tier: Tier, now: int) -> MakerCertificate:
    subject = describe_name(certificate)
    if not certificate.is_ca:
        raise VerificationError(RejectionCode.EK_CHAIN_INVALID, f"{subject} is not the certificate of a CA")
    certificate.key()
    known = known_roots().get(certificate.fingerprint)
    if known is not None and known.tier is not tier:
        raise UsageError(f"{known.name} of {known.maker} is of tier {known.tier}; give --tier {known.tier}.")
    is_root = known is not None or (certificate.self_issued and verify_signature(certificate, certificate.key()))
    if is_root and known is None and tier is not Tier.SOFTWARE:
        raise UsageError(
            f"{subject} ({certificate.fingerprint}) is not a listed maker's root. "
            "Only --tier software takes others, and then only licences that allow that tier accept it."
        )
    return MakerCertificate(
        fingerprint=certificate.fingerprint,
        tier=tier.value if is_root else "",
        subject=subject,
        encoded=certificate.encoded,
        added_at=now,
    )


_SHOWN = {"2.5.4.3": "CN", "2.5.4.10": "O", "2.5.4.6": "C"}


def describe_name(certificate: Certificate) -> str:
    """The subject for people, e.g. "CN=Infineon OPTIGA(TM) ECC Root CA, O=…"."""
    parts = [
        f"{_SHOWN[oid]}={text}"
        for attributes in name_attributes(certificate.subject)
        for oid, text in attributes
        if oid in _SHOWN and isinstance(text, str)
    ]
    return ", ".join(parts) or certificate.fingerprint
