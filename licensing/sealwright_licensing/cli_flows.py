"""``flows list``: what boxes have sent to each other, as they report it."""

from __future__ import annotations

import argparse

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.flow_records import ReportedFlow
from sealwright_licensing.tables import TABLES
from sealwright_policies.errors import OperationError

_SHOWN = ("received_at", "role", "flow_id", "device_id", "other_id", "source", "target", "form", "name", "size",
          "file_digest", "finding", "sequence", "digest", "license_id")  # fmt: skip


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "flows", "what went from box to box")
    listing = add_leaf(
        group, "list", _list, help_="list records of flows, newest first, with what is odd about them",
        example="sealwright-license flows list /srv/license --device oxw4…",
    )  # fmt: skip
    listing.add_argument("--device", metavar="DEVICE", help="that this box has reported")
    listing.add_argument("--flow", metavar="ID", help="both sides of one flow")
    listing.add_argument("--odd", action="store_true", help="only those about which something is odd")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="records at most (default: 100)")


def _list(arguments: argparse.Namespace) -> None:
    columns = TABLES[ReportedFlow].c
    query = select(*(columns[name] for name in _SHOWN)).order_by(columns.received_at.desc(), columns.digest)
    if arguments.device:
        query = query.where(columns.device_id == arguments.device)
    if arguments.flow:
        query = query.where(columns.flow_id == arguments.flow)
    if arguments.odd:
        query = query.where(columns.finding != "")
    with open_service(arguments.directory) as context:
        try:
            with context.store.engine.connect() as connection:
                rows = [dict(row) for row in connection.execute(query.limit(arguments.limit)).mappings()]
        except DBAPIError as error:
            said = str(error.orig).partition("\n")[0]
            raise OperationError(f"The database cannot be read: {said}.", cure="Check its path and rights.") from error
    lines = table(
        ("day", "role", "device", "other", "flow", "what", "finding"),
        [
            (day(one["received_at"]), one["role"], one["device_id"][:12], one["other_id"][:12], one["flow_id"],
             f"{one['form']} {one['name']}, {one['size']} bytes, {one['source']} → {one['target']}", one["finding"])
            for one in rows
        ],
    )  # fmt: skip
    print_result({"flows": rows}, lines, as_json=arguments.json)
