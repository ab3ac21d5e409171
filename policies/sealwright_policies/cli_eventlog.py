"""``sealwright-policy eventlog``: the events of a firmware log, and the PCR values they lead to."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from sealwright_policies.cli_command import add_command
from sealwright_policies.cli_files import load_event_log
from sealwright_policies.tcg.event_text import describe_event
from sealwright_policies.tcg.eventlog import Event, EventLog
from sealwright_policies.tcg.pcr import bank_name, replayable

DESCRIPTION = """\
Parse a TCG event log (SHA-1 or crypto-agile), print its events and replay it in every bank. Nothing printed is to be
trusted before a quote has confirmed the PCR values.
"""
EPILOG = """\
examples:
  sealwright-policy eventlog /sys/kernel/security/tpm0/binary_bios_measurements
  sealwright-policy eventlog boot.bin --json | jq .pcrs.sha256
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "eventlog",
        help_="print the events of a boot event log and the PCR values that follow from it",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="binary event log")
    parser.add_argument("--json", action="store_true", help="print JSON: format, events, pcrs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Parse the file and print it."""
    log = load_event_log(options.file)
    print(json.dumps(log_as_json(log), indent=2) if options.json else log_as_text(log))
    return 0


def log_as_json(log: EventLog) -> dict[str, Any]:
    """Return the log as JSON-ready values; ``pcrs`` holds only PCRs that the log extends."""
    return {
        "format": log.format.name.lower().replace("_", "-"),
        "startup_locality": log.startup_locality,
        "padding": log.padding,
        "events": [_event_as_json(event) for event in log.events],
        "incomplete": {bank_name(bank): list(log.missing(bank)) for bank in log.banks if log.missing(bank)},
        "pcrs": replayed_pcrs(log),
    }


def replayed_pcrs(log: EventLog) -> dict[str, dict[str, str]]:
    """Return the replayed values by bank and PCR, as ``verify-quote --pcrs`` reads them."""
    pcrs: dict[str, dict[str, str]] = {}
    for bank in filter(replayable, log.banks):
        values = log.replay(bank)
        if values:
            pcrs[bank_name(bank)] = {str(index): values[index].hex() for index in sorted(values)}
    return pcrs


def _event_as_json(event: Event) -> dict[str, Any]:
    return {
        "index": event.index,
        "pcr": event.pcr,
        "type": event.type_name,
        "digests": {bank_name(bank): digest.hex() for bank, digest in event.digests.items()},
        "size": len(event.data),
        "data": event.data.hex(),
        "decoded": describe_event(event),
    }


def log_as_text(log: EventLog) -> str:
    """Return the log for people: one line for each event, its digests below, the PCRs at the end."""
    lines: list[str] = []
    for event in log.events:
        said = json.dumps(describe_event(event))
        lines.append(f"{event.index:4} PCR {event.pcr:<2} {event.type_name} {said}")
        lines.extend(f"       {bank_name(bank)} {digest.hex()}" for bank, digest in event.digests.items())
    for bank in log.banks:
        missing = log.missing(bank)
        if missing:
            lines.append(f"incomplete: {bank_name(bank)} has no digest of events {', '.join(map(str, missing))}")
        if not replayable(bank):
            lines.append(f"not replayed: {bank_name(bank)} is not available")
    for name, values in replayed_pcrs(log).items():
        lines.append(f"{name}:")
        lines.extend(f"  {index:>2}: {value}" for index, value in values.items())
    return "\n".join(lines)
