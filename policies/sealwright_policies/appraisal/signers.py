"""Who stands in a Secure Boot database, in words for people; no rule depends on these."""

from __future__ import annotations

import hashlib

from cryptography import x509

from sealwright_policies.appraisal.events import printable
from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.events import EFI_CERT_X509, parse_signature_lists

MAX_NAMED = 8
"""Certificates named in one sentence."""


def describe_signature_database(content: bytes) -> str:
    """What PK, KEK, db or dbx holds: its certificates by subject, its hashes counted."""
    try:
        lists = parse_signature_lists(content)
    except FormatError:
        return "content that is no signature list"
    names = [describe_certificate(entry.data) for each in lists if each.type == EFI_CERT_X509 for entry in each.entries]
    if len(names) > MAX_NAMED:
        names = [*names[:MAX_NAMED], f"{len(names) - MAX_NAMED} certificates more"]
    hashes = sum(len(each.entries) for each in lists if each.type != EFI_CERT_X509)
    return "; ".join(names + (["1 hash" if hashes == 1 else f"{hashes} hashes"] if hashes else [])) or "nothing"


def describe_certificate(der: bytes) -> str:
    """A certificate's subject, or its fingerprint where there is none to read.

    Firmware's databases are whatever their owner put there: a version or name that the library refuses is no error
    here, and no control character of a name gets into a sentence.
    """
    try:
        subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    except (ValueError, TypeError, KeyError, x509.InvalidVersion):
        subject = ""
    return printable(subject.encode())[1:-1] or f"certificate sha256:{hashlib.sha256(der).hexdigest()[:16]}"
