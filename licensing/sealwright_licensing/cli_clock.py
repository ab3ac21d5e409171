"""``clock show | reset``."""

from __future__ import annotations

import argparse
import time

from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result
from sealwright_licensing.operations.service import reset_service_time
from sealwright_licensing.service_time import service_time


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "clock", "the service's time, which never goes back")
    add_leaf(group, "show", _show, help_="show the clock and the service's time",
             example="sealwright-license clock show /srv/license")  # fmt: skip
    add_leaf(group, "reset", _reset, help_="make the present time the latest seen, after a clock that was ahead",
             example="sealwright-license clock reset /srv/license")  # fmt: skip


def _show(arguments: argparse.Namespace) -> None:
    clock = int(time.time())
    with open_service(arguments.directory) as context:
        latest = service_time(context.store, clock)
    result = {"clock": clock, "service_time": latest, "behind_s": latest - clock}
    words = [f"The clock says {day(clock)} UTC, the service's time is {day(latest)} UTC."]
    if latest > clock:
        words.append(f"The clock is {latest - clock} s behind; nothing is extended by that.")
    print_result(result, words, as_json=arguments.json)


def _reset(arguments: argparse.Namespace) -> None:
    now = int(time.time())
    with open_service(arguments.directory) as context:
        before = reset_service_time(context.store, cli_actor(), now=now)
    result = {"service_time": now, "was": before}
    words = [
        f"The service's time is {day(now)} UTC, it was {day(before)} UTC.",
        "A process of the service that has gone on meanwhile writes the later time back: stop all, then do it again.",
    ]
    print_result(result, words, as_json=arguments.json)
