"""``audit verify | acknowledge | checkpoint | consistency | export | search | show``."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sealwright_licensing.audit import Report, Source, audit
from sealwright_licensing.audit_keys import load_audit_keys, service_files
from sealwright_licensing.audit_search import SEARCHED, find_entries
from sealwright_licensing.audit_source import (
    ENTRIES_FILE,
    ExportSource,
    open_database_source,
    read_note,
    write_export,
)
from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_judgements import acknowledged_documents, acknowledged_lines, finding_line, past_lines
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.config import SERVICE_FILE, ServiceFolder, load_config
from sealwright_licensing.database import opened_database
from sealwright_licensing.keyring import SERVICE_FILES
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.log_proofs import prove_consistency
from sealwright_licensing.records import LogEntryRecord
from sealwright_licensing.schema import acknowledge, older_schema
from sealwright_licensing.sequencer import Sequencer, newest_checkpoint
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.transparency.merkle import MOST_ENTRIES

SHOWN_FINDINGS = 20


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "audit", "the append-only log of decisions and operations")
    verify = add_leaf(
        group, "verify", _verify, help_="verify the log from its leaves up, and every row against it; needs no service",
        example="sealwright-license audit verify /srv/license --checkpoint kept/2026-01.txt",
    )  # fmt: skip
    verify.add_argument("--checkpoint", action="append", default=[], type=Path, metavar="FILE",
                        help="a checkpoint kept earlier, from here or from a lease; may be given again")  # fmt: skip
    verify.add_argument("--service", action="append", type=Path, metavar="FILE",
                        help="license-service.json with a log key (default: DIR's); may be given again")  # fmt: skip
    acknowledge = add_leaf(
        group, "acknowledge", _acknowledge,
        help_="enter in the log what a person says of a finding, which then blocks no change of the schema any more",
        example="sealwright-license audit acknowledge /srv/license 5c0a1f77 --sentence 'Edited by hand, ticket 12.'",
    )  # fmt: skip
    acknowledge.add_argument("finding", metavar="ID", help="of the finding, as audit verify shows it; 8 digits will do")
    acknowledge.add_argument("--sentence", required=True, metavar="TEXT", help="what was found out, on one line")
    checkpoint = add_leaf(
        group, "checkpoint", _checkpoint, help_="print the newest signed checkpoint; keep it where the service is not",
        example="sealwright-license audit checkpoint /srv/license > kept/2026-01.txt",
    )  # fmt: skip
    checkpoint.add_argument("--wait", action="store_true", help="append what waits for its number first")
    consistency = add_leaf(
        group, "consistency", _consistency, help_="print the proof that the log has only grown between two sizes",
        example="sealwright-license audit consistency /srv/license 812 1031 > consistency.json",
    )  # fmt: skip
    consistency.add_argument("first", metavar="SIZE", type=_size, help="entries that somebody has seen")
    consistency.add_argument("second", metavar="SIZE", type=_size, help="entries of the checkpoint that is shown now")
    export = add_leaf(
        group, "export", _export, help_="write the log into a new folder, which `audit verify` takes too",
        example="sealwright-license audit export /srv/license audit-2026-01",
    )  # fmt: skip
    export.add_argument("output", metavar="OUTPUT", type=Path, help="folder to make")
    search = add_leaf(
        group, "search", _search, help_="list entries, newest first",
        example="sealwright-license audit search /srv/license --device DEVICE --code ROLLED_BACK",
    )  # fmt: skip
    for name in SEARCHED:
        search.add_argument(f"--{name}", metavar=name.upper(), help=f"only of this {name}")
    search.add_argument("--since", type=int, metavar="SECONDS", help="only from this time on, seconds since the epoch")
    search.add_argument("--until", type=int, metavar="SECONDS", help="only before this time")
    search.add_argument("--before", type=int, metavar="INDEX", help="go on before this entry")
    search.add_argument("--limit", type=int, default=50, metavar="N", help="entries of a page (default: 50)")
    show = add_leaf(
        group, "show", _show, help_="print one entry", example="sealwright-license audit show /srv/license 17"
    )
    show.add_argument("index", type=int, metavar="INDEX", help="its number")


def _verify(arguments: argparse.Namespace) -> None:
    kept, older = [read_note(path) for path in arguments.checkpoint], None
    log = load_audit_keys(arguments.service or service_files(arguments.directory))
    with ExitStack() as stack:
        source: Source
        if (arguments.directory / ENTRIES_FILE).exists():
            source = ExportSource(arguments.directory)
        else:
            folder = ServiceFolder(arguments.directory)
            engine = stack.enter_context(opened_database(folder, load_config(folder)))
            older = older_schema(engine)
            source = stack.enter_context(open_database_source(engine))
        report = audit(source, log.keys, log.origin, kept, schema=older)
    _print_report(report, as_json=arguments.json)
    report.require_clean()


def _acknowledge(arguments: argparse.Namespace) -> None:
    folder = ServiceFolder(arguments.directory)
    keys = load_audit_keys(service_files(arguments.directory))
    with opened_database(folder, load_config(folder)) as engine:
        finding = acknowledge(engine, keys, cli_actor(), arguments.finding, arguments.sentence)
    words = [f"Acknowledged: {finding.place}: {finding.sentence}.", "The log has it, under your name."]
    print_result(finding.document(), words, as_json=arguments.json)


def _print_report(report: Report, *, as_json: bool) -> None:
    result = {
        "entries": report.entries,
        "waiting": report.waiting,
        "checkpoints": report.checkpoints,
        "rows": report.rows,
        "upgrades": report.upgrades,
        "changes_of_earlier_versions": report.earlier_changes,
        "found": report.found,
        "findings": [one.document() for one in report.findings],
        "acknowledged": acknowledged_documents(report.acknowledged),
        "judged": [one.document() for one in report.judgements],
    }
    words = [finding_line(one) for one in report.findings[:SHOWN_FINDINGS]]
    if report.found > SHOWN_FINDINGS:
        words.append(f"… and {report.found - SHOWN_FINDINGS} more; --json lists up to 1000.")
    words.append(
        f"{report.entries} entries, {report.checkpoints} checkpoints and {report.rows} rows verified, "
        f"{report.found} findings."
    )
    words += acknowledged_lines(report.acknowledged)
    words += past_lines(report)
    if report.upgrades:
        words.append(f"Upgrades of the database have entered all rows anew: {', '.join(report.upgrades)}.")
    if report.waiting:
        words.append(f"{report.waiting} entries wait for their numbers; no checkpoint covers them yet.")
    print_result(result, words, as_json=as_json)


def _checkpoint(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        if arguments.wait:
            Sequencer(context.store, load_log_keys(context.folder.keys), context.config.service_id).run()
        with context.store.read() as transaction:
            newest = newest_checkpoint(transaction)
    if newest is None:
        raise OperationError("The log is empty.", cure="Nothing has been decided or imported yet.")
    result = {"size": newest.size, "checkpoint": newest.note}
    print_result(result, newest.note.removesuffix("\n").split("\n"), as_json=arguments.json)


def _consistency(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        proof = prove_consistency(context.store, arguments.first, arguments.second)
    document = proof.model_dump(mode="json")
    print_result(document, [json.dumps(document)], as_json=arguments.json)


def _size(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) >= MOST_ENTRIES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of entries")
    return int(text)


def _export(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, open_database_source(context.store.engine) as source:
        count = write_export(source, arguments.output)
    (arguments.output / SERVICE_FILES).mkdir()
    for path in service_files(arguments.directory):
        target = arguments.output if path.name == SERVICE_FILE else arguments.output / SERVICE_FILES
        (target / path.name).write_bytes(path.read_bytes())
    result = {"entries": count, "output": str(arguments.output)}
    print_result(result, [f"{count} entries written to {arguments.output}."], as_json=arguments.json)


def _search(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.limit <= 1000:
        raise UsageError("--limit: expected a number from 1 to 1000.")
    wanted = {name: getattr(arguments, name) for name in SEARCHED if getattr(arguments, name) is not None}
    with open_service(arguments.directory) as context:
        found = find_entries(
            context.store.engine,
            wanted,
            since=arguments.since,
            until=arguments.until,
            before=arguments.before,
            limit=arguments.limit,
        )
    rows = [
        (one["index"], day(one["at"]) if one["at"] else "", one["kind"], one["code"], str(one["device"])[:16],
         one["license"], str(one["subject"])[:16])
        for one in found
    ]  # fmt: skip
    titles = ("entry", "at", "kind", "code", "device", "licence", "subject")
    print_result(found, table(titles, rows), as_json=arguments.json)


def _show(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        found = transaction.get(LogEntryRecord, arguments.index)
    if found is None:
        raise OperationError(f"The log has no entry {arguments.index}.", cure="`audit search` lists them.")
    members: dict[str, Any] = json.loads(found.leaf)
    words = [f"{name}: {value}" for name, value in members.items() if name != "rows"]
    words += [f"  {row['table']} {row['key']}: {row['sha256'] or 'deleted'}" for row in members.get("rows", ())]
    print_result(members, words, as_json=arguments.json)
