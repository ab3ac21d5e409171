"""``keys list | create | revoke``: the API keys of a box, with an administrator's key."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sealwright_client.box import Box, connected
from sealwright_client.cli_output import Commands, add_command, moment, print_result
from sealwright_client.pinning import parse_fingerprint
from sealwright_client.secret_input import ask_key
from sealwright_policies.errors import UsageError

API_KEY = re.compile(r"sw-[A-Za-z0-9_-]{43}")
LIST_EXAMPLE = "  sealwright-box keys list https://box.example:8443 --fingerprint sha256:5f1c… --json < admin-key"
CREATE_EXAMPLE = "  sealwright-box keys create https://box.example:8443 'ward 3' --fingerprint sha256:5f1c…"
REVOKE_EXAMPLE = "  sealwright-box keys revoke https://box.example:8443 'ward 3' --fingerprint sha256:5f1c…"
EXAMPLES = f"{LIST_EXAMPLE}\n{CREATE_EXAMPLE}\n{REVOKE_EXAMPLE}"
ADMIN_KEY = "The administrator's key is asked for, or read from standard input."


def add_keys(commands: Commands) -> None:
    """Add them to the command line."""
    group = commands.add_parser(
        "keys", help="list, create or revoke API keys", description=f"The API keys of a box. {ADMIN_KEY}",
        epilog=f"examples:\n{EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")  # fmt: skip
    add_command(group, "list", _list, help_="list all keys by name", example=LIST_EXAMPLE, more=ADMIN_KEY)
    create = add_command(
        group, "create", _create, help_="make a key and print it, once", example=CREATE_EXAMPLE, more=ADMIN_KEY
    )
    create.add_argument("--admin", action="store_true", help="an administrator's, which makes and revokes others")
    create.add_argument(
        "--model", action="append", metavar="ID", help="which it may ask; may be repeated; without it, all"
    )
    create.add_argument(
        "--expires", type=_behind, metavar="DATE", help="its last day, YYYY-MM-DD in UTC; without it, it has no end"
    )
    revoke = add_command(
        group, "revoke", _revoke, help_="let a key in no more, at once", example=REVOKE_EXAMPLE, more=ADMIN_KEY
    )
    for command in (create, revoke):
        command.add_argument("name", metavar="NAME", help="of the key, 1 to 64 characters")


@contextmanager
def administered(arguments: argparse.Namespace) -> Iterator[tuple[Box, str]]:
    """The box, and the key that its administrator shows once the box is known to be the right one."""
    with connected(arguments.url, parse_fingerprint(arguments.fingerprint)) as box:
        yield box, admin_key()


def admin_key() -> str:
    """An administrator's key, from whoever gives the command.

    Raises:
        UsageError: it has not the form of one.
    """
    key = ask_key("Administrator's API key")
    if not API_KEY.fullmatch(key):
        raise UsageError("An API key is sw- and 43 characters; standard input has none.")
    return key


def _list(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        reply = box.api_keys(key)
    print_result(arguments, reply, [_line(entry) for entry in reply.get("keys", [])])


def _line(entry: Mapping[str, Any]) -> str:
    models, expires = entry.get("models"), entry.get("expires")
    only = [f"only {', '.join(models)}"] if models else []
    until = [f"until {moment(expires)}"] if expires is not None else []
    bounds = f" ({'; '.join(only + until)})" if only or until else ""
    return f"{moment(entry.get('created'))}  {'admin' if entry.get('admin') else '     '}  {entry.get('name')}{bounds}"


def _behind(day: str) -> int:
    """The end of a day, in seconds since 1970."""
    try:
        return int((datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(days=1)).timestamp())
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError("a day is YYYY-MM-DD") from None


def _create(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        reply = box.create_api_key(
            key, arguments.name, admin=arguments.admin, models=arguments.model, expires=arguments.expires
        )
    print_result(arguments, reply, [str(reply.get("api_key"))])


def _revoke(arguments: argparse.Namespace) -> None:
    with administered(arguments) as (box, key):
        reply = box.revoke_api_key(key, arguments.name)
    print_result(arguments, reply, [f"Revoked: {arguments.name}"])
