"""``support preview | save``: what may go to the vendor when something is wrong, seen before it is saved."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

from sealwright_client.box import connected
from sealwright_client.cli_keys import API_KEY
from sealwright_client.cli_output import Commands, add_command, print_result, shown
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.secret_input import ask_code, ask_key
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.support import parse_support_bundle

PREVIEW_EXAMPLE = "  sealwright-box support preview https://box.example:8443 --fingerprint sha256:5f1c…"
SAVE_EXAMPLE = (
    "  sealwright-box support save https://box.example:8443 --fingerprint sha256:5f1c… --out box-support.json"
)
EXAMPLES = f"{PREVIEW_EXAMPLE}\n{SAVE_EXAMPLE}"
KEY = (
    "The administrator's key is asked for, or read from standard input; a box whose state volume is closed has no keys "
    "to check, and takes an empty line."
)
WORD = "save"


def add_support(commands: Commands) -> None:
    """Add them to the command line."""
    group = commands.add_parser(
        "support", help="a file for the vendor when something is wrong",
        description=f"States, codes and counts of a box; no prompt, answer, document, name or key. {KEY}",
        epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")  # fmt: skip
    add_command(group, "preview", _preview, help_="print what the file would be now", example=PREVIEW_EXAMPLE, more=KEY)
    save = add_command(
        group, "save", _save, help_="show the file, and save it as it was shown", example=SAVE_EXAMPLE,
        more=f"It is sent to nobody. {KEY}",
    )  # fmt: skip
    save.add_argument("--out", required=True, type=Path, metavar="FILE", help="where to save it; never overwritten")
    save.add_argument("--yes", action="store_true", help="do not ask")


def _preview(arguments: argparse.Namespace) -> None:
    content = _fetched(arguments)
    print_result(arguments, json.loads(content), _lines(content))


def _save(arguments: argparse.Namespace) -> None:
    content = _fetched(arguments)
    print(shown(_lines(content)), file=sys.stderr)
    if not arguments.yes and ask_code(f"This goes into {arguments.out}. Type {WORD} to save it") != WORD:
        raise UsageError("Nothing was saved.")
    _write(arguments.out, content)
    digest = hashlib.sha256(content).hexdigest()
    print_result(
        arguments, {"file": str(arguments.out), "bytes": len(content), "sha256": digest},
        [f"Saved: {arguments.out}, {len(content)} bytes, SHA-256 {digest}"],
    )  # fmt: skip


def _fetched(arguments: argparse.Namespace) -> bytes:
    """A bundle, which is refused if it holds anything else than a bundle does."""
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        key = ask_key("Administrator's API key")
        if key and not API_KEY.fullmatch(key):
            raise UsageError("An API key is sw- and 43 characters.")
        content = box.support(key)
    parse_support_bundle(content)
    return content


def _lines(content: bytes) -> list[str]:
    return content.decode("ascii", errors="backslashreplace").removesuffix("\n").split("\n")


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OperationError(f"{path} cannot be written: {error.strerror}.") from None
