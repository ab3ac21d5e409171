"""Import of makers' certificates: which are listed roots, which are theirs to build chains with, which are none.

A root is known by its fingerprint. An intermediate is kept if signatures lead from it to a listed root, or to one that
the operator added; it is trusted no further than its chain, which is verified again for every box.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sealwright_licensing.actors import Actor
from sealwright_licensing.certificates import (
    Certificate,
    NormalisedName,
    normalised_name,
    parse_certificate,
    verify_signature,
)
from sealwright_licensing.maker_roots import KnownRoot, describe_name, enter_certificate, known_roots
from sealwright_licensing.records import MakerCertificate
from sealwright_licensing.store import Store
from sealwright_policies.errors import FormatError, UnsupportedError


@dataclass(frozen=True, slots=True)
class Refused:
    """A certificate that is not taken, and why."""

    fingerprint: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Import:
    """What became of the certificates."""

    roots: tuple[tuple[MakerCertificate, KnownRoot], ...]
    intermediates: tuple[MakerCertificate, ...]
    refused: tuple[Refused, ...]
    new: frozenset[str]
    """Fingerprints of those that were not there before."""


def import_certificates(store: Store, actor: Actor, certificates: Iterable[Certificate], *, now: int) -> Import:
    """Take listed roots with their tiers, and intermediates below trusted roots; doing it again changes nothing.

    Args:
        store: the service's.
        actor: who trusts them.
        certificates: in any order.
        now: seconds since the epoch.
    """
    given = {one.fingerprint: one for one in certificates}
    listed = known_roots()
    with store.read() as transaction:
        stored = {one.fingerprint: one for one in transaction.find(MakerCertificate)}
    trusted = [parse_certificate(one.encoded) for one in stored.values() if one.tier]
    roots, candidates, refused = [], [], []
    for one in given.values():
        reason = _flaw(one, now)
        if reason:
            refused.append(_refused(one, reason))
        elif one.fingerprint in listed:
            roots.append(one)
        else:
            candidates.append(one)
    below = _below([*trusted, *roots], candidates)
    refused += [_refused(one, _why_not(one)) for one in candidates if one.fingerprint not in below]
    taken_roots = [
        (_record(one, listed[one.fingerprint].tier.value, stored, now), listed[one.fingerprint]) for one in roots
    ]
    intermediates = [_record(one, "", stored, now) for one in candidates if one.fingerprint in below]
    with store.write() as transaction:
        new = set()
        for record in (*(one for one, _ in taken_roots), *intermediates):
            if transaction.get(MakerCertificate, record.fingerprint) is None:
                enter_certificate(transaction, actor, record, now=now)
                new.add(record.fingerprint)
    return Import(tuple(taken_roots), tuple(intermediates), tuple(refused), frozenset(new))


def _flaw(certificate: Certificate, now: int) -> str:
    try:
        certificate.key()
        if not certificate.is_ca:
            return "it is not the certificate of a CA"
    except (FormatError, UnsupportedError) as error:
        return str(error)
    if certificate.not_after < now:
        return "it has expired, so nothing below it is accepted any more"
    return ""


def _below(roots: Iterable[Certificate], candidates: Iterable[Certificate]) -> set[str]:
    """Fingerprints of the candidates from which signatures lead up to a root."""
    left = {one.fingerprint: one for one in candidates}
    fresh = list(roots)
    found: set[str] = set()
    while fresh:
        issuers: dict[NormalisedName, list[Certificate]] = {}
        for one in fresh:
            issuers.setdefault(normalised_name(one.subject), []).append(one)
        fresh = [one for one in left.values() if _is_issued(one, issuers)]
        for one in fresh:
            del left[one.fingerprint]
            found.add(one.fingerprint)
    return found


def _is_issued(certificate: Certificate, issuers: Mapping[NormalisedName, list[Certificate]]) -> bool:
    for issuer in issuers.get(normalised_name(certificate.issuer), []):
        try:
            if verify_signature(certificate, issuer.key()):
                return True
        except (FormatError, UnsupportedError):
            continue
    return False


def _why_not(certificate: Certificate) -> str:
    if certificate.self_issued:
        return "it is a root that is not listed; `roots add --tier software` takes it for trials"
    return "no signature leads from it to a root that is listed or was added; give its issuer too"


def _record(certificate: Certificate, tier: str, stored: Mapping[str, MakerCertificate], now: int) -> MakerCertificate:
    known = stored.get(certificate.fingerprint)
    if known is not None:
        return known
    return MakerCertificate(certificate.fingerprint, tier, describe_name(certificate), certificate.encoded, now)


def _refused(certificate: Certificate, reason: str) -> Refused:
    return Refused(certificate.fingerprint, describe_name(certificate), reason)
