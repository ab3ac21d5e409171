"""``metering show | report | names``: what the vendor is told, with an administrator's key."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from sealwright_client.cli_keys import ADMIN_KEY, administered
from sealwright_client.cli_output import Commands, add_command, moment, print_result

SHOW_EXAMPLE = "  sealwright-box metering show https://box.example:8443 --fingerprint sha256:5f1c…"
REPORT_EXAMPLE = "  sealwright-box metering report https://box.example:8443 --fingerprint sha256:5f1c…"
NAMES_EXAMPLE = "  sealwright-box metering names https://box.example:8443 yes --fingerprint sha256:5f1c…"
EXAMPLES = f"{SHOW_EXAMPLE}\n{REPORT_EXAMPLE}\n{NAMES_EXAMPLE}"


def add_metering(commands: Commands) -> None:
    """Add them to the command line."""
    group = commands.add_parser(
        "metering", help="what the vendor is told of what the box has served",
        description=f"Counts only: never a prompt or a reply. {ADMIN_KEY}",
        epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")  # fmt: skip
    add_command(
        group, "show", _show, help_="what will be reported next, and what waits", example=SHOW_EXAMPLE, more=ADMIN_KEY
    )
    add_command(
        group, "report", _report, help_="report what waits within a minute, and not at the next renewal only",
        example=REPORT_EXAMPLE, more=ADMIN_KEY,
    )  # fmt: skip
    names = add_command(
        group, "names", _names, help_="report keys by name, or by pseudonym", example=NAMES_EXAMPLE, more=ADMIN_KEY
    )
    names.add_argument("choice", choices=["yes", "no"], help="names from now on, or pseudonyms")


def _show(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        view, status = box.metering(key), box.status()
    print_result(arguments, view | {"last_report": status.get("metering")}, metering_lines(view, status))


def metering_lines(view: Mapping[str, Any], status: Mapping[str, Any]) -> list[str]:
    """The meter in words."""
    names = {alias: name for name, alias in view.get("aliases", {}).items()}
    lines = [
        f"waiting   {view.get('waiting')} receipts",
        f"report    {status.get('metering') or 'none yet since the start'}",
        f"keys      {'by name' if view.get('names') else 'by pseudonym'}",
        f"open      since {moment(view.get('opened_at'))}",
    ]
    for row in view.get("rows", []):
        key = names.get(row.get("alias"), row.get("alias"))
        tokens = f"{row.get('prompt_tokens')} + {row.get('completion_tokens')} tokens"
        lines.append(f"usage     {row.get('model')}  {key}: {row.get('requests')} requests, {tokens}")
    return lines


def _report(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        reply = box.order_report(key)
    print_result(
        arguments, reply, [f"Ordered; {reply.get('waiting')} receipts wait. `metering show` tells the outcome."]
    )


def _names(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        reply = box.choose_metering(key, names=arguments.choice == "yes")
    print_result(
        arguments, reply, [f"Keys are reported by {'name' if reply.get('names') else 'pseudonym'} from now on."]
    )
