"""``metering show | export | alarms | settle``."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_lists import each_page
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.metering_export import ExportFormat, export_usage
from sealwright_licensing.metering_records import MeteringAlarm, MeteringChain
from sealwright_licensing.metering_reports import UsageQuery, disputed_lines, totals, usage_lines
from sealwright_licensing.operations.metering import settle_chain
from sealwright_policies.errors import OperationError

_BY = ("month", "license_id", "model", "alias")
_HOUR_MS = 3_600_000


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "metering", "what boxes have served")
    show = add_leaf(
        group, "show", _show, help_="show requests, tokens and hours by month, licence, model and key",
        example="sealwright-license metering show /srv/license --license lic-0123456789ab --month 2026-11",
    )  # fmt: skip
    export = add_leaf(
        group, "export", _export, help_="write usage as CSV, Parquet or JSON, a line for each box, model and key",
        example="sealwright-license metering export /srv/license --month 2026-11 --format parquet --out usage.parquet",
    )  # fmt: skip
    odd = add_leaf(
        group, "alarms", _alarms, help_="list gaps, forks and implausible receipts, and where each chain stands",
        example="sealwright-license metering alarms /srv/license --license lic-0123456789ab",
    )  # fmt: skip
    for leaf in (show, export, odd):
        leaf.add_argument("--license", metavar="LICENSE", help="of this licence only")
        leaf.add_argument("--device", metavar="DEVICE", help="of this box only")
    for leaf in (show, export):
        leaf.add_argument("--month", type=_month, metavar="YYYY-MM", help="UTC month in which the service got it")
    export.add_argument("--format", type=ExportFormat, choices=list(ExportFormat), required=True)
    export.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: standard output)")
    settle = add_leaf(
        group, "settle", _settle, help_="decide about a chain's disputed receipts, and let the chain go on",
        example="sealwright-license metering settle /srv/license DEVICE CHAIN --count",
    )  # fmt: skip
    settle.add_argument("device_id", metavar="DEVICE")
    settle.add_argument("chain_id", metavar="CHAIN")
    verdict = settle.add_mutually_exclusive_group(required=True)
    verdict.add_argument("--count", action="store_true", help="they were served: add them to the totals")
    verdict.add_argument("--discard", action="store_true", help="leave them out of the totals")


def _month(text: str) -> str:
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError("expected a month as YYYY-MM")
    return text


def _query(arguments: argparse.Namespace) -> UsageQuery:
    return UsageQuery(arguments.license, getattr(arguments, "month", None), arguments.device)


def _show(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        found = totals(context.engine, _query(arguments), *_BY)
        disputed = disputed_lines(context.engine, _query(arguments))
    listed = [dict(zip(_BY, key, strict=True)) | counts for key, counts in found.items()]
    rows = [
        (
            *(one[name] or "(model)" if name == "alias" else one[name] for name in _BY),
            *(one[name] for name in ("requests", "prompt_tokens", "completion_tokens")),
            *(f"{int(one[name]) / _HOUR_MS:.1f}" for name in ("busy_ms", "lease_ms")),
        )
        for one in listed
    ]
    words = table(["month", "licence", "model", "key", "requests", "prompt", "completion", "busy h", "lease h"], rows)
    if disputed:
        words.append(f"{disputed} lines are disputed and left out; see `metering alarms`.")
    print_result({"usage": listed, "disputed": disputed}, words, as_json=arguments.json)


def _export(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        lines = usage_lines(context.engine, _query(arguments))
        if arguments.out is None:
            export_usage(lines, arguments.format, sys.stdout.buffer)
            return
        temporary = arguments.out.with_name(f".{arguments.out.name}.new")
        try:
            with temporary.open("wb") as file:
                export_usage(lines, arguments.format, file)
                file.flush()
                os.fsync(file.fileno())
            size = temporary.stat().st_size
            temporary.replace(arguments.out)
        except OSError as error:
            raise OperationError(f"{arguments.out} cannot be written: {error.strerror}.") from None
    print_result({"file": str(arguments.out), "bytes": size}, [str(arguments.out)], as_json=arguments.json)


def _alarms(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        wanted = {"license_id": arguments.license, "device_id": arguments.device}
        with context.store.read() as transaction:
            found = [
                one
                for page in each_page(transaction, MeteringAlarm, ("raised_at", "alarm_id"), **wanted)
                for one in page
            ]
            stands = [
                one
                for page in each_page(transaction, MeteringChain, ("reported_at", "chain_id"), **wanted)
                for one in page
            ]
    words = table(
        ["when", "device", "chain", "receipt", "code", "what"],
        [(day(o.raised_at), o.device_id, o.chain_id, o.sequence, o.code, o.sentence) for o in found],
    )
    words += ["", *table(
        ["chain", "device", "licence", "receipts", "last report", "state"],
        [
            (c.chain_id, c.device_id, c.license_id, c.sequence, day(c.reported_at), "disputed" if c.disputed else "")
            for c in stands
        ],
    )]  # fmt: skip
    document = {"alarms": [asdict(one) for one in found], "chains": [asdict(one) for one in stands]}
    print_result(document, words, as_json=arguments.json)


def _settle(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        number = 0
        while True:
            settled = settle_chain(
                context.store, cli_actor(), arguments.device_id, arguments.chain_id, count=arguments.count,
                now=int(time.time()),
            )  # fmt: skip
            number += settled.receipts
            if not settled.left:
                break
    verb = "count now" if arguments.count else "stay out of the totals"
    print_result({"receipts": number, "counted": arguments.count}, [f"{number} receipts {verb}."],
                 as_json=arguments.json)  # fmt: skip
