"""Endorsement: whether a maker vouches for this EK (policies/spec/enrollment.md, step 2).

The path from the EK certificate to a trust anchor is built from certificates of the box and of the operator; both are
untrusted, only anchors are trusted. It does not fetch anything and does not ask for revocation: makers publish CRLs at
addresses that a box chooses, and a service that fetches those is an open relay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sealwright_licensing.certificates import (
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    Certificate,
    NormalisedName,
    PublicKey,
    normalised_name,
    verify_signature,
)
from sealwright_policies.errors import FormatError, RejectionCode, UnsupportedError, VerificationError
from sealwright_policies.tcg.structures import Public
from sealwright_policies.tpm_tier import TpmTier

EK_CERTIFICATE_USAGE = "2.23.133.8.1"
"""tcg-kp-EKCertificate (TCG EK Credential Profile 2.x, 3.1)."""
ANY_USAGE = "2.5.29.37.0"
TPM_MANUFACTURER, TPM_MODEL, TPM_VERSION = "2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"
EMPTY_NAME = b"\x30\x00"

MAX_PATH = 6
"""Certificates between the EK certificate and the anchor, anchor included."""
MAX_SIGNATURE_CHECKS = 48
"""Per chain: bounds the work that a box's own certificates can cause."""

_UNDERSTOOD = frozenset(
    {BASIC_CONSTRAINTS, CERTIFICATE_POLICIES, EXTENDED_KEY_USAGE, KEY_USAGE, SUBJECT_ALTERNATIVE_NAME}
)
"""Extensions that may be critical. Policies: any is accepted, so their being critical changes nothing."""


Tier = TpmTier
"""Kind of TPM that an anchor vouches for; a licence lists the tiers it allows."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A root that the operator trusts, and for which tier."""

    certificate: Certificate
    tier: Tier


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A verified EK certificate: what its maker says about the TPM. Texts are empty where the maker is silent."""

    tier: Tier
    anchor_fingerprint: str
    certificate: Certificate
    manufacturer: str
    model: str
    version: str


def verify_endorsement(
    leaf: Certificate,
    supplied: Iterable[Certificate],
    anchors: Sequence[Anchor],
    ek: Public,
    *,
    now: int,
) -> Endorsement:
    """Verify an EK certificate, its chain and that it is for this EK.

    Args:
        leaf: the EK certificate.
        supplied: further CA certificates, from the box or the operator, in any order.
        anchors: trusted roots.
        ek: public area that the box calls its EK.
        now: seconds since the epoch.

    Raises:
        VerificationError: EK_CHAIN_INVALID, EK_KEY_MISMATCH; TPM_NOT_ALLOWED for a key that ROCA made weak.
    """
    _check_leaf(leaf, now)
    anchor = _PathSearch(list(supplied), anchors, now).find(leaf)
    if not _same_key(leaf.key(), ek.key()):
        raise VerificationError(
            RejectionCode.EK_KEY_MISMATCH, "the EK certificate is for another key than the EK public area"
        )
    check_key_strength(leaf.key())
    names = leaf.alternative_directory_names
    return Endorsement(
        tier=anchor.tier,
        anchor_fingerprint=anchor.certificate.fingerprint,
        certificate=leaf,
        manufacturer=names.get(TPM_MANUFACTURER, ""),
        model=names.get(TPM_MODEL, ""),
        version=names.get(TPM_VERSION, ""),
    )


def _invalid(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.EK_CHAIN_INVALID, sentence)


def _check_leaf(leaf: Certificate, now: int) -> None:
    _check_validity(leaf, now, "the EK certificate")
    _check_critical(leaf)
    if EK_CERTIFICATE_USAGE not in leaf.extended_key_usages:
        raise _invalid(f"the certificate is not for an endorsement key (usage {EK_CERTIFICATE_USAGE} missing)")
    if leaf.is_ca:
        raise _invalid("the EK certificate is a CA certificate")
    if leaf.subject == EMPTY_NAME:
        names = leaf.extension(SUBJECT_ALTERNATIVE_NAME)
        if names is None or not names.critical:  # RFC 5280, 4.1.2.6
            raise _invalid("the EK certificate has an empty subject and no critical alternative name")


def _check_validity(certificate: Certificate, now: int, which: str) -> None:
    if not certificate.not_before <= now <= certificate.not_after:
        raise _invalid(f"{which} is not valid now ({certificate.fingerprint[:16]})")


def _check_critical(certificate: Certificate) -> None:
    unknown = sorted(oid for oid, extension in certificate.extensions if extension.critical and oid not in _UNDERSTOOD)
    if unknown:
        raise _invalid(f"a certificate has critical extensions that are not understood: {', '.join(unknown)}")


class _PathSearch:
    """Depth-first search from the leaf to an anchor; names choose the candidates, signatures decide.

    Many issuers can have one name, makers of software TPMs for one. Those that the certificate calls by their key
    identifier are tried first, so that the bound on signature checks is not used up by the others.
    """

    def __init__(self, supplied: list[Certificate], anchors: Sequence[Anchor], now: int) -> None:
        self._supplied: dict[NormalisedName, list[Certificate]] = defaultdict(list)
        for one in supplied:
            self._supplied[normalised_name(one.subject)].append(one)
        self._anchors: dict[NormalisedName, list[Anchor]] = defaultdict(list)
        for anchor in anchors:
            self._anchors[normalised_name(anchor.certificate.subject)].append(anchor)
        self._now = now
        self._checks_left = MAX_SIGNATURE_CHECKS
        self._obstacle: VerificationError | None = None

    def find(self, leaf: Certificate) -> Anchor:
        anchor = self._search(leaf, [])
        if anchor is None:
            raise self._obstacle or _invalid("no chain leads from the EK certificate to a trusted root")
        return anchor

    def _search(self, certificate: Certificate, below: list[Certificate]) -> Anchor | None:
        """Find an anchor above ``certificate``; ``below`` are the CA certificates from the leaf up to it."""
        issuer = normalised_name(certificate.issuer)
        wanted = certificate.authority_key_id
        for anchor in sorted(self._anchors.get(issuer, ()), key=lambda one: _rank(one.certificate, wanted)):
            if self._issued(anchor.certificate, certificate, below):
                return anchor
        if len(below) + 1 >= MAX_PATH:
            return None
        for candidate in sorted(self._supplied.get(issuer, ()), key=lambda one: _rank(one, wanted)):
            if candidate not in below and self._issued(candidate, certificate, below):
                anchor_above = self._search(candidate, [*below, candidate])
                if anchor_above is not None:
                    return anchor_above
        return None

    def _issued(self, issuer: Certificate, subject: Certificate, below: list[Certificate]) -> bool:
        """Whether ``issuer`` signed ``subject`` and may stand above ``below``; remembers the first obstacle."""
        if self._checks_left == 0:
            return False
        self._checks_left -= 1
        try:
            if not verify_signature(subject, issuer.key()):
                return False
            _check_validity(issuer, self._now, "an issuer of the EK certificate")
            _check_issuer(issuer, below)
        except VerificationError as error:
            self._obstacle = self._obstacle or error
            return False
        except (FormatError, UnsupportedError):
            return False  # a candidate that cannot be used; another may fit
        return True


def _rank(candidate: Certificate, wanted: bytes) -> int:
    """First whom the certificate calls its issuer, then who has no identifier, then the others of the name."""
    called = candidate.subject_key_id
    return 1 if not wanted or not called else 0 if called == wanted else 2


def _check_issuer(issuer: Certificate, below: list[Certificate]) -> None:
    _check_critical(issuer)
    if not issuer.is_ca:
        raise _invalid("an issuer in the chain of the EK certificate is no CA")
    if issuer.key_usage is not None and KEY_CERT_SIGN not in issuer.key_usage:
        raise _invalid("an issuer in the chain of the EK certificate may not sign certificates")
    usages = issuer.extended_key_usages
    if usages and EK_CERTIFICATE_USAGE not in usages and ANY_USAGE not in usages:
        raise _invalid("an issuer in the chain of the EK certificate may not issue EK certificates")
    counted = sum(not one.self_issued for one in below)
    if issuer.path_length is not None and counted > issuer.path_length:
        raise _invalid("the chain of the EK certificate is longer than an issuer in it allows")


def _same_key(certified: PublicKey, claimed: PublicKey) -> bool:
    if isinstance(certified, rsa.RSAPublicKey) and isinstance(claimed, rsa.RSAPublicKey):
        return certified.public_numbers() == claimed.public_numbers()
    if isinstance(certified, ec.EllipticCurvePublicKey) and isinstance(claimed, ec.EllipticCurvePublicKey):
        return certified.public_numbers() == claimed.public_numbers()
    return False


_ROCA_PRIMES = (
    *(3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103),
    *(107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167),
)
_ROCA_GENERATOR = 65537


def check_key_strength(key: PublicKey) -> None:
    """Refuse RSA keys of the ROCA generator (CVE-2017-15361; Nemec et al., CCS 2017, 4.1).

    Such moduli lie in the subgroup that 65537 generates modulo each small prime; for others the chance is under 2⁻²⁷.

    Raises:
        VerificationError: TPM_NOT_ALLOWED.
    """
    if isinstance(key, rsa.RSAPublicKey):
        modulus = key.public_numbers().n
        if all(modulus % prime in _powers(prime) for prime in _ROCA_PRIMES):
            raise VerificationError(
                RejectionCode.TPM_NOT_ALLOWED, "the EK is one of the RSA keys that can be factored (ROCA)"
            )


@cache
def _powers(prime: int) -> frozenset[int]:
    return frozenset(pow(_ROCA_GENERATOR, exponent, prime) for exponent in range(prime - 1))
