"""``token create | list | revoke``: who may use the operators' API and console."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_context import open_service
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, day, print_result, table
from sealwright_licensing.operators.records import ApiToken
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token, is_good, revoke_token
from sealwright_licensing.operators.views import TokenView, list_tokens
from sealwright_licensing.service_time import service_time
from sealwright_licensing.store import Store
from sealwright_policies.errors import UsageError

_MOST_DAYS = 3660


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "token", "tokens for the operators' API and console")
    create = add_leaf(
        group, "create", _create, help_="make a token; prints it once",
        example="sealwright-license token create /srv/license 'console of Ward 3' --role operator --days 90",
    )  # fmt: skip
    create.add_argument("name", metavar="NAME", help="who or what will use it")
    create.add_argument("--role", required=True, choices=[role.value for role in Role],
                        help="operator: reads and changes; auditor: reads everything; read-only: no audit")  # fmt: skip
    create.add_argument("--days", type=_days, help="how long it is good (default: until it is revoked)")
    create.add_argument("--license", action="append", default=[], metavar="LICENSE", dest="licenses",
                        help="bind it to this licence and its boxes; may be given again")  # fmt: skip
    add_leaf(group, "list", _list, help_="list tokens", example="sealwright-license token list /srv/license")
    revoke = add_leaf(
        group, "revoke", _revoke, help_="let a token, and every session begun with it, in no more",
        example="sealwright-license token revoke /srv/license 'console of Ward 3'",
    )  # fmt: skip
    revoke.add_argument("token", metavar="TOKEN", help="its id or its name")


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {_MOST_DAYS}")
    return int(text)


def _create(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        record, token = create_token(
            context.store,
            cli_actor(),
            arguments.name,
            Role(arguments.role),
            now=service_time(context.store, int(time.time())),
            days=arguments.days,
            licenses=arguments.licenses,
        )
        shown = _views(context.store, [record])[0].model_dump()
    end = f"until {day(record.expires_at)} UTC" if record.expires_at else "until it is revoked"
    words = [f"Token {record.token_id} of {record.name}, {record.role}, {end}:", token, "It is shown only now."]
    print_result({**shown, "token": token}, words, as_json=arguments.json)


def _list(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        with context.store.read() as transaction:
            found = transaction.find(ApiToken, newest_first="created_at")
        shown = _views(context.store, found)
    rows = [
        (one.token_id, one.name, one.role, one.licenses or "all", day(one.created_at), _state(one),
         day(view.last_used_at) if view.last_used_at else "never")
        for one, view in zip(found, shown, strict=True)
    ]  # fmt: skip
    titles = ("token", "name", "role", "licences", "made", "", "last used")
    print_result([one.model_dump() for one in shown], table(titles, rows), as_json=arguments.json)


def _views(store: Store, found: Sequence[ApiToken]) -> list[TokenView]:
    with store.read() as transaction:
        return list_tokens(transaction, found)


def _state(record: ApiToken) -> str:
    if record.revoked_at is not None:
        return "revoked"
    if not is_good(record, now=int(time.time())):
        return "expired"
    return f"until {day(record.expires_at)}" if record.expires_at else ""


def _revoke(arguments: argparse.Namespace) -> None:
    with open_service(arguments.directory) as context:
        now = service_time(context.store, int(time.time()))
        with context.store.read() as transaction:
            named = [one for one in transaction.find(ApiToken, name=arguments.token) if is_good(one, now=now)]
            found = named or [one for one in [transaction.get(ApiToken, arguments.token)] if one]
        if not found:
            raise UsageError(f"There is no token {arguments.token}; `sealwright-license token list` names them.")
        revoked = revoke_token(context.store, cli_actor(), found[0].token_id, now=now)
        (shown,) = _views(context.store, [revoked])
    print_result(
        shown.model_dump(), [f"Token {revoked.token_id} of {revoked.name} is revoked."],
        as_json=arguments.json,
    )  # fmt: skip
