"""The vendor's public files, as the customer keeps them: what a box or an update shows is held against them."""

from __future__ import annotations

import argparse
from pathlib import Path

from sealwright_policies.appraisal.box_evidence import TrustAnchors
from sealwright_policies.errors import UsageError
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.envelope import load_p256_public_key
from sealwright_policies.wire.service import LicenseService

SMALL_FILE = 64 * 1024


def add_trust_files(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name them."""
    parser.add_argument("--service", required=True, type=Path, metavar="FILE", help="the vendor's license-service.json")
    parser.add_argument("--manifest-key", required=True, type=Path, metavar="PEM", help="the vendor's manifest key")


def load_trust_files(arguments: argparse.Namespace) -> TrustAnchors:
    """Read them.

    Raises:
        UsageError, FormatError: they cannot be read.
    """
    return TrustAnchors(
        service=parse_json(LicenseService, read_input(arguments.service, SMALL_FILE), limit=SMALL_FILE),
        manifest_key=load_p256_public_key(
            read_input(arguments.manifest_key, SMALL_FILE).decode("ascii", errors="replace")
        ),
    )


def read_input(path: Path, limit: int) -> bytes:
    """A file that the user named; one byte more than the limit at most, so that parsers refuse what is longer.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
