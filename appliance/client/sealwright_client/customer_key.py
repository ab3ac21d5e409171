"""The customer's own key, which the box does not have: it approves releases and ends the customer's data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sealwright_client.trust_files import SMALL_FILE, read_input
from sealwright_policies.errors import UsageError


def add_customer_key(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names it."""
    parser.add_argument(
        "--customer-key", required=True, type=Path, metavar="FILE", help="PEM, or the file that `activate` saved"
    )


def read_customer_key(path: Path) -> bytes:
    """The key's PEM: the file's content, or in what ``activate`` has saved.

    Raises:
        UsageError: the file cannot be read, or holds none.
    """
    content = read_input(path, SMALL_FILE)
    if not content.lstrip().startswith(b"{"):
        return content
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    pem = document.get("customer_key_pem") if isinstance(document, dict) else None
    if not isinstance(pem, str):
        raise UsageError(f"{path} holds no customer key.")
    return pem.encode("ascii", errors="replace")
