"""What commands that sign with a key of somebody's own have in common: where it is kept, and a question."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sealwright_custody.locator import FileLocator, KeyLocator, parse_locator
from sealwright_policies.errors import UsageError


def locator(text: str) -> KeyLocator:
    """A locator, or a plain path."""
    try:
        return parse_locator(text) if text.startswith(("file:", "pkcs11:", "credential:")) else FileLocator(Path(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def confirm(question: str) -> None:
    """Ask before anything is signed.

    Raises:
        UsageError: the answer is no, or nobody is there.
    """
    if not sys.stdin.isatty():
        raise UsageError("Nobody is here to be asked; give --yes to sign.")
    if input(f"{question} Type yes: ").strip() != "yes":
        raise UsageError("Nothing was signed.")
