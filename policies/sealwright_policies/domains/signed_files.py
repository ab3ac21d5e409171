"""``NAME.signed.json`` beside ``NAME.toml``: what a domain's owner has signed, held against the file."""

from __future__ import annotations

import json
from pathlib import Path

from sealwright_policies.appraisal.reference_values import SignedDomain
from sealwright_policies.cli_files import read_file
from sealwright_policies.domains.canonical import canonical_form
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.ownership import SIGNED_DOMAIN_LIMIT, parse_signed_domain, verify_signed_domain
from sealwright_policies.domains.problems import problem_at
from sealwright_policies.domains.reader import DomainFile, Location
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError

SHOWN = 200
"""Characters of a signed value that a refusal tells."""
_KEY: Location = ("owner", "key")


def signed_file(source: DomainFile) -> Path:
    """Where the owner's signatures lie."""
    return Path(source.file).with_name(f"{source.domain.name}.signed.json")


def read_signed_domain(path: Path) -> SignedDomain:
    """Read one; nothing is verified.

    Raises:
        UsageError, FormatError: it cannot be read; malformed.
    """
    try:
        return parse_signed_domain(read_file(path, max_size=SIGNED_DOMAIN_LIMIT))
    except FormatError as error:
        raise FormatError(f"{path}: {error} Remove it, and have the owner sign anew.") from error


def load_signed_domain(source: DomainFile) -> SignedDomain | None:
    """What the owner has signed of a domain; None where the domain names no key.

    Raises:
        UsageError, FormatError: it cannot be read; malformed.
        VerificationError: OWNER_UNSIGNED, nothing is signed; OWNER_SIGNATURE, not by that key, or another text. With
            file and line, and the problem in ``problems`` of its details.
    """
    path = signed_file(source)
    if source.domain.owner.key is None:
        if path.exists():
            sentence = f"{path} is there, and the domain names no key of its owner."
            raise _refused(source, ("owner",), RejectionCode.OWNER_SIGNATURE, sentence)
        return None
    if not path.exists():
        sentence = f"there is no {path}; its owner makes it (`sealwright-image sign-domain`)."
        raise _refused(source, _KEY, RejectionCode.OWNER_UNSIGNED, sentence)
    signed = read_signed_domain(path)
    try:
        verify_signed_domain(signed)
    except VerificationError as error:
        sentence = f"{path}: {str(error).removeprefix(f'{error.code}: ')}"
        raise _refused(source, _KEY, error.code, sentence) from error
    if signed.canonical_form != canonical_form(source.domain):
        location, words = _first_difference(signed, source.domain)
        raise _refused(source, location, RejectionCode.OWNER_SIGNATURE, f"its owner has signed {words} ({path}).")
    return signed


def _first_difference(signed: SignedDomain, domain: Domain) -> tuple[Location, str]:
    """Where a text says otherwise than the signed one, and what was signed there."""
    before, after = json.loads(signed.canonical_form), json.loads(canonical_form(domain))
    name = next(one for one in after if before[one] != after[one])
    if not isinstance(after[name], dict):
        return (name,), _shown(before[name])
    key = next(one for one in after[name] if before[name][one] != after[name][one])
    return (name, key), _shown(before[name][key])


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _refused(source: DomainFile, location: Location, code: RejectionCode, sentence: str) -> VerificationError:
    problem = problem_at(source, location, code, sentence)
    return VerificationError(code, str(problem), problems=(problem,))
