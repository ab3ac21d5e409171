"""``outflow show | clear``: what leaves the models, with an administrator's key."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from sealwright_client.cli_keys import ADMIN_KEY, administered
from sealwright_client.cli_output import Commands, add_command, print_result

SHOW_EXAMPLE = "  sealwright-box outflow show https://box.example:8443 --fingerprint sha256:5f1c…"
CLEAR_EXAMPLE = "  sealwright-box outflow clear https://box.example:8443 'ward 3' --fingerprint sha256:5f1c…"
EXAMPLES = f"{SHOW_EXAMPLE}\n{CLEAR_EXAMPLE}"
LEVELS = {1: "slowed down", 2: "refused"}


def add_outflow(commands: Commands) -> None:
    """Add them to the command line."""
    group = commands.add_parser(
        "outflow", help="budgets, and keys that look like the copying of a model",
        description=f"What leaves the models of a box through its API. {ADMIN_KEY}",
        epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")  # fmt: skip
    add_command(
        group, "show", _show, help_="what is used of the budgets, and which keys are slowed down or refused",
        example=SHOW_EXAMPLE, more=ADMIN_KEY,
    )  # fmt: skip
    clear = add_command(
        group, "clear", _clear, help_="begin anew with a key that is slowed down or refused", example=CLEAR_EXAMPLE,
        more=f"Budgets stay as they are. {ADMIN_KEY}",
    )  # fmt: skip
    clear.add_argument("name", metavar="NAME", help="of the key, 1 to 64 characters")


def _show(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        view = box.outflow(key)
    print_result(arguments, view, outflow_lines(view))


def outflow_lines(view: Mapping[str, Any]) -> list[str]:
    """Budgets and keys in words."""
    lines = []
    for model, policy in view.get("policies", {}).items():
        for budget in policy.get("budgets", []):
            limits = ", ".join(f"{budget[what]} {what}" for what in ("requests", "tokens") if budget.get(what))
            lines.append(f"budget    {model}, {budget.get('scope')}: {limits} a {budget.get('window')}")
    for row in view.get("used", []):
        day = f"{row.get('day_requests')} requests, {row.get('day_tokens')} tokens today"
        lines.append(f"used      {row.get('model')}  {row.get('key') or 'all keys'}: {day}; {row.get('month_tokens')} "
                     "this month")  # fmt: skip
    for one in view.get("keys", []):
        what = LEVELS.get(one.get("level"), "watched")
        lines.append(f"copying   {one.get('model')}  {one.get('key')}: {one.get('sign')}, {what}")
    return lines or ["Nothing has left yet, and nothing is limited."]


def _clear(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        reply = box.clear_key(key, arguments.name)
    print_result(arguments, reply, [f"Cleared: {arguments.name}, at {reply.get('cleared')} models."])
