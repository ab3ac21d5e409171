"""``roots import | add | list``: which makers' TPMs a deployment accepts."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from sealwright_licensing.certificate_files import read_certificate_files
from sealwright_licensing.certificates import parse_certificate
from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, print_result, table, tier
from sealwright_licensing.keys import load_signing_keys
from sealwright_licensing.maker_roots import add_certificates, known_roots, parse_pem_certificates
from sealwright_licensing.records import MakerCertificate
from sealwright_licensing.root_import import import_certificates
from sealwright_licensing.signed_records import sign_record
from sealwright_policies.errors import OperationError, RejectionCode, VerificationError


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "roots", "trust roots and intermediates of TPM makers")
    take = add_leaf(
        group, "import", _import, help_="take makers' certificates that are listed, and what is signed below them",
        example="sealwright-license roots import /srv/license infineon.p7b makers-certificates/",
    )  # fmt: skip
    take.add_argument(
        "paths", metavar="PATH", nargs="+", type=Path, help="DER, PEM or PKCS #7 files, or folders of them"
    )
    add = add_leaf(
        group, "add", _add, help_="trust the roots in PEM files, and keep their intermediates for chains",
        example="sealwright-license roots add /srv/license infineon-ecc-root.pem --tier discrete",
    )  # fmt: skip
    add.add_argument("pem", metavar="PEM", nargs="+", type=Path, help="one or more certificates each")
    add.add_argument("--tier", required=True, type=tier, metavar="TIER",
                     help="software, firmware or discrete; only software takes roots that are not listed")  # fmt: skip
    add_leaf(group, "list", _list, help_="list them", example="sealwright-license roots list /srv/license")


def _import(arguments: argparse.Namespace) -> None:
    found = read_certificate_files(arguments.paths)
    with open_service(arguments.directory) as context:
        done = import_certificates(
            context.store, cli_actor(), [one for _, one in found.certificates], now=int(time.time())
        )
    unreadable = [{"file": str(path), "reason": reason} for path, reason in found.unreadable]
    result = {
        "roots": [_shown(record) | {"new": record.fingerprint in done.new} for record, _ in done.roots],
        "intermediates": [_shown(record) | {"new": record.fingerprint in done.new} for record in done.intermediates],
        "refused": [asdict(one) for one in done.refused],
        "unreadable": unreadable,
    }
    words = [f"{root.tier}: {root.maker}, {root.name} ({_EVIDENCE[root.evidence]})" for _, root in done.roots]
    words += [f"{len(done.intermediates)} intermediates are kept for chains; {len(done.new)} certificates are new."]
    words += [f"refused: {one.subject} ({one.fingerprint[:16]}): {one.reason}" for one in done.refused]
    words += [f"not read: {one['file']}: {one['reason']}" for one in unreadable]
    print_result(result, words, as_json=arguments.json)
    if not done.roots and not done.intermediates:
        raise VerificationError(RejectionCode.EK_CHAIN_INVALID, "none of these certificates was taken")


_EVIDENCE = {
    "fingerprint": "the maker publishes its fingerprint",
    "document": "the maker publishes its address",
    "aia": "known by the maker's intermediates alone",
}


def _add(arguments: argparse.Namespace) -> None:
    certificates = [one for path in arguments.pem for one in parse_pem_certificates(_read(path))]
    with open_service(arguments.directory) as context:
        key = load_signing_keys(context.folder.keys).lease_document
        added = add_certificates(
            context.store, cli_actor(), certificates, arguments.tier,
            lambda record: sign_record(record, key), now=int(time.time()),
        )  # fmt: skip
    words = [
        f"trusted as {one.tier}: {one.subject}" if one.tier else f"kept as an intermediate: {one.subject}"
        for one in added
    ]
    print_result([_shown(one) for one in added], words, as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        found = transaction.find(MakerCertificate, newest_first="added_at")
    shown = [_shown(one) for one in found]
    rows = [
        (one["tier"] or "intermediate", one["maker"], str(one["fingerprint"])[:16], one["evidence"], one["subject"])
        for one in shown
    ]
    print_result(shown, table(("tier", "maker", "fingerprint", "evidence", "subject"), rows), as_json=arguments.json)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror}.", cure="Give a PEM file.") from error


def _shown(record: MakerCertificate) -> dict[str, object]:
    known = known_roots().get(record.fingerprint)
    return {
        "fingerprint": record.fingerprint,
        "tier": record.tier,
        "subject": record.subject,
        "maker": known.maker if known else "",
        "evidence": known.evidence if known else "",
        "expires_at": parse_certificate(record.encoded).not_after,
    }
