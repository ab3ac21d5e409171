"""A release as its record holds it: the signed manifest, each signed list of further ways through PCR 4, approvals.

What is read here was verified when the store gave the record (manifest_keys.py). What this does not do: verify the
release key's approvals, which the TPM of a box does.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import RootModel

from sealwright_licensing.records import ReleaseRecord
from sealwright_policies.appraisal.boot_variants import read_unverified_variants, verify_variants
from sealwright_policies.appraisal.reference_values import BootApplication
from sealwright_policies.appraisal.release import Release, read_unverified_release, verify_release
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.messages import MESSAGE_LIMIT, ReleaseApproval


class ReleaseApprovals(RootModel[list[ReleaseApproval]]):
    """``approvals.json``."""


class SignedVariants(RootModel[list[str]]):
    """Each ``variants.json`` that added a way, as it was signed."""


def verify_stored_release(envelope: bytes, variants: str, manifest_key: ec.EllipticCurvePublicKey) -> Release:
    """Verify what a record holds of a release, the ways through PCR 4 that were signed later as well.

    Raises:
        VerificationError: DOCUMENT_SIGNATURE, DOCUMENT_TYPE, MANIFEST_MISMATCH.
        FormatError: something is not what it should be.
    """
    release = verify_release(envelope, manifest_key)
    return _united(release, [verify_variants(one, manifest_key, release) for one in _envelopes(variants)])


def stored_release(record: ReleaseRecord) -> Release:
    """The release of a record, with all its ways through PCR 4."""
    return _parsed_release(record.envelope, record.variants)


@lru_cache(maxsize=32)
def _parsed_release(envelope: bytes, variants: str) -> Release:
    release = read_unverified_release(envelope)
    return _united(release, [read_unverified_variants(one, release) for one in _envelopes(variants)])


def stored_variants(record: ReleaseRecord) -> list[bytes]:
    """The signed lists of a record, oldest first."""
    return _envelopes(record.variants)


def variants_json(envelopes: Iterable[bytes]) -> str:
    """The way back."""
    return json.dumps([one.decode("utf-8") for one in envelopes], separators=(",", ":"))


def stored_approvals(record: ReleaseRecord) -> list[ReleaseApproval]:
    """The release key's approvals of a record."""
    return list(_parsed_approvals(record.approvals))


@lru_cache(maxsize=32)
def _parsed_approvals(text: str) -> tuple[ReleaseApproval, ...]:
    return tuple(parse_json(ReleaseApprovals, text.encode("utf-8"), limit=MESSAGE_LIMIT).root)


def _envelopes(variants: str) -> list[bytes]:
    listed = parse_json(SignedVariants, variants.encode("utf-8"), limit=MESSAGE_LIMIT).root
    return [one.encode("utf-8") for one in listed]


def _united(release: Release, extended: Iterable[Release]) -> Release:
    ways: dict[str, BootApplication] = {}
    for one in extended:
        ways = {way.pcr4: way for way in one.variants} | ways
    return replace(release, variants=tuple(ways.values()))
