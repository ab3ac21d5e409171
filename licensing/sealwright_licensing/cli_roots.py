"""``roots add | list``: which makers' TPMs a deployment accepts."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, print_result, table, tier
from sealwright_licensing.maker_roots import add_certificates, parse_pem_certificates
from sealwright_licensing.records import MakerCertificate
from sealwright_policies.errors import OperationError


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "roots", "trust roots and intermediates of TPM makers")
    add = add_leaf(
        group, "add", _add, help_="trust the roots in PEM files, and keep their intermediates for chains",
        example="sealwright-license roots add /srv/license infineon-ecc-root.pem --tier discrete",
    )  # fmt: skip
    add.add_argument("pem", metavar="PEM", nargs="+", type=Path, help="one or more certificates each")
    add.add_argument("--tier", required=True, type=tier, metavar="TIER",
                     help="software, firmware or discrete; only software takes roots that are not listed")  # fmt: skip
    add_leaf(group, "list", _list, help_="list them", example="sealwright-license roots list /srv/license")


def _add(arguments: argparse.Namespace) -> None:
    certificates = [one for path in arguments.pem for one in parse_pem_certificates(_read(path))]
    with open_service(arguments.directory) as context:
        added = add_certificates(context.store, certificates, arguments.tier, now=int(time.time()))
    words = [
        f"trusted as {one.tier}: {one.subject}" if one.tier else f"kept as an intermediate: {one.subject}"
        for one in added
    ]
    print_result([_shown(one) for one in added], words, as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        found = transaction.find(MakerCertificate, newest_first="added_at")
    rows = [(one.tier or "intermediate", one.fingerprint[:16], one.subject) for one in found]
    print_result(
        [_shown(one) for one in found], table(("tier", "fingerprint", "subject"), rows), as_json=arguments.json
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror}.", cure="Give a PEM file.") from error


def _shown(record: MakerCertificate) -> dict[str, str]:
    return {"fingerprint": record.fingerprint, "tier": record.tier, "subject": record.subject}
