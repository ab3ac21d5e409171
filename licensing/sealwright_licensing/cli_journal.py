"""``overview``, ``decision list | show`` and ``operation list``: the first page and the journals of the console."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from itertools import islice

from sealwright_licensing.cli_context import open_command, open_service
from sealwright_licensing.cli_license_terms import count, date
from sealwright_licensing.cli_lists import each_page
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.console.fleet import Fleet, read_fleet
from sealwright_licensing.leases import DAY_S
from sealwright_licensing.operators.views import summarise_decision, view_decision, view_operation
from sealwright_licensing.records import Decision, Operation
from sealwright_licensing.service_time import service_time
from sealwright_policies.errors import OperationError

_SHOWN, _MOST = 50, 100_000


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    add_leaf(commands, "overview", _overview, help_="tell what waits for a person, and the fleet in numbers",
             example="sealwright-license overview /srv/license")  # fmt: skip
    group = add_group(commands, "decision", "what was decided about boxes, granted or denied")
    decisions = add_leaf(
        group, "list", _decisions, help_="list decisions, the newest first",
        example="sealwright-license decision list /srv/license --code ROLLED_BACK --first-day 2026-11-01",
    )  # fmt: skip
    decisions.add_argument("--device", dest="device_id", metavar="DEVICE", help="only about this box")
    decisions.add_argument("--license", dest="license_id", metavar="LICENSE", help="only under this licence")
    decisions.add_argument("--code", help='only with this code: "ok" or why it was denied')
    decisions.add_argument("--purpose", choices=["enroll", "renew", "metering", "flow"], help="only for this purpose")
    show = add_leaf(
        group, "show", _decision, help_="print a decision and its appraisal, event by event",
        example="sealwright-license decision show /srv/license 18a9c4…",
    )  # fmt: skip
    show.add_argument("decision_id", metavar="DECISION", help="its id, as `decision list` gives it")
    journal = add_group(commands, "operation", "what operators have done")
    operations = add_leaf(
        journal, "list", _operations, help_="list operations, the newest first",
        example="sealwright-license operation list /srv/license --subject lic-0123456789ab",
    )  # fmt: skip
    operations.add_argument("--subject", help="only on the licence, box, release, key or token with this id")
    operations.add_argument("--operation", help="only of this kind, e.g. license.revoke")
    for leaf in (decisions, operations):
        leaf.add_argument("--first-day", type=date, metavar="DAY", help="only from this UTC day on")
        leaf.add_argument("--last-day", type=date, metavar="DAY", help="only up to this UTC day, included")
        leaf.add_argument("--limit", type=count(_MOST), default=_SHOWN, metavar="N",
                          help=f"at most so many (default: {_SHOWN})")  # fmt: skip


def _overview(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        fleet = read_fleet(context.engine, now=service_time(context.store, int(time.time())))
    print_result(asdict(fleet) | {"waiting": fleet.waiting}, _fleet_words(fleet), as_json=arguments.json)


def _fleet_words(fleet: Fleet) -> list[str]:
    waiting = {
        "boxes held": fleet.held, "with changed firmware": fleet.firmware, "chains disputed": fleet.disputed,
        "licences that end": fleet.ending, "metering alarms": fleet.alarms,
    }  # fmt: skip
    words = [f"{one.number} {name}" for name, one in waiting.items() if one.number] or ["Nothing waits for you."]
    numbers = {
        "boxes": fleet.by_status,
        "TPMs": fleet.by_tier,
        "licences": fleet.licenses,
        "leases end": fleet.by_lease_end,
    }
    words += [f"{name}: " + ", ".join(f"{n} {of}" for of, n in counts.items()) for name, counts in numbers.items()]
    words += [f"  {one['device_id']}  {one['held_code']}" for one in fleet.held.rows]
    words += [f"  {one['device_id']}  firmware" for one in fleet.firmware.rows]
    return words + [f"  {one['license_id']}  ends {day(one['expires_at'])}" for one in fleet.ending.rows]


def _decisions(arguments: argparse.Namespace) -> None:
    with open_command(arguments) as context, context.store.read() as transaction:
        wanted = {name: getattr(arguments, name) for name in ("device_id", "license_id", "code", "purpose")}
        pages = each_page(
            transaction, Decision, ("decided_at", "decision_id"),
            since=arguments.first_day, until=_end(arguments), **wanted,
        )  # fmt: skip
        found = list(islice((one for page in pages for one in page), arguments.limit))
    rows = [
        (day(one.decided_at), one.decision_id, one.purpose, one.code, one.device_id[:16], one.license_id)
        for one in found
    ]
    shown = [summarise_decision(one).model_dump(mode="json") for one in found]
    titles = ("when", "decision", "purpose", "code", "device", "licence")
    print_result(shown, table(titles, rows), as_json=arguments.json)


def _decision(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        found = transaction.get(Decision, arguments.decision_id)
    if found is None:
        raise OperationError(f"There is no decision {arguments.decision_id}.", cure="`decision list` names them.")
    view = view_decision(found)
    words = [f"{day(view.decided_at)} UTC, {view.purpose} of {view.device_id} under {view.license_id}: {view.code}"]
    words += [f"  {line}" for line in view.words or [view.sentence] if line]
    print_result(view.model_dump(mode="json"), words, as_json=arguments.json)


def _operations(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context, context.store.read() as transaction:
        pages = each_page(
            transaction, Operation, ("performed_at", "operation_id"), since=arguments.first_day, until=_end(arguments),
            subject=arguments.subject, operation=arguments.operation,
        )  # fmt: skip
        found = list(islice((one for page in pages for one in page), arguments.limit))
    rows = [
        (day(one.performed_at), one.operation, f"{one.actor_kind} {one.actor}", one.subject[:16], _plain(one.detail))
        for one in found
    ]
    shown = [view_operation(one).model_dump(mode="json") for one in found]
    print_result(shown, table(("when", "operation", "by", "subject", "detail"), rows), as_json=arguments.json)


def _plain(detail: str) -> str:
    return ", ".join(f"{name}: {value}" for name, value in json.loads(detail).items())


def _end(arguments: argparse.Namespace) -> int | None:
    """The last second of the last day."""
    return None if arguments.last_day is None else int(arguments.last_day) + DAY_S - 1
