"""``database status | upgrade | downgrade | copy``."""

from __future__ import annotations

import argparse
from pathlib import Path

from sealwright_licensing import database_copy, schema
from sealwright_licensing.cli_actor import cli_actor
from sealwright_licensing.cli_judgements import acknowledged_documents, acknowledged_lines
from sealwright_licensing.cli_output import Commands, add_group, add_leaf, print_result, table
from sealwright_licensing.config import ServiceFolder, load_config, read_password
from sealwright_licensing.database import describe, open_engine, opened_database
from sealwright_licensing.revisions import newest_revision
from sealwright_licensing.service_schema import downgrade_service, upgrade_service
from sealwright_policies.errors import OperationError


def add_commands(commands: Commands) -> None:
    """Add them to the command line."""
    group = add_group(commands, "database", "the service's database")
    add_leaf(
        group, "status", _status, help_="show the database, its schema and how many records it holds",
        example="sealwright-license database status /srv/license",
    )  # fmt: skip
    add_leaf(
        group, "upgrade", _upgrade, help_="bring the database to this version's schema; back it up before",
        example="sealwright-license database upgrade /srv/license",
    )  # fmt: skip
    downgrade = add_leaf(
        group, "downgrade", _downgrade,
        help_="take the database back to an older schema, which forgets what that one has no place for",
        example="sealwright-license database downgrade /srv/license --to 0001",
    )  # fmt: skip
    downgrade.add_argument("--to", metavar="REVISION", required=True, help='the older schema; "base" empties it')
    copy = add_leaf(
        group, "copy", _copy, help_="copy a stopped service's records into an empty database, and compare them there",
        example="sealwright-license database copy /srv/license --to postgresql+psycopg://license@/license",
    )  # fmt: skip
    copy.add_argument("--to", metavar="URL", required=True, help="the empty database, as in config.toml")
    copy.add_argument("--password-file", metavar="FILE", type=Path, help="file with its password, mode 0600")


def _status(arguments: argparse.Namespace) -> None:
    folder = ServiceFolder(arguments.directory)
    with opened_database(folder, load_config(folder)) as engine:
        found, wanted = schema.current_revision(engine), newest_revision()
        counts = database_copy.count_records(engine) if found == wanted else {}
        about = describe(engine)
    result = {"database": about, "schema": found, "wanted": wanted, "records": counts}
    words = [f"{about}, schema {found or 'none'}" + ("." if found == wanted else f"; this version needs {wanted}.")]
    if found != wanted:
        words.append(f"Run `sealwright-license database upgrade {folder.path}`.")
    print_result(result, [*words, *table(("table", "records"), list(counts.items()))], as_json=arguments.json)


def _upgrade(arguments: argparse.Namespace) -> None:
    folder = ServiceFolder(arguments.directory)
    with opened_database(folder, load_config(folder)) as engine:
        before = schema.current_revision(engine)
        done = upgrade_service(folder, engine, cli_actor())
        after = schema.current_revision(engine)
    words = [f"{done.signed} devices, enrolments and roots that stood in it are signed now."] if done.signed else []
    _print_move(arguments, before, after, done, words=words, more={"signed": done.signed})


def _downgrade(arguments: argparse.Namespace) -> None:
    folder = ServiceFolder(arguments.directory)
    with opened_database(folder, load_config(folder)) as engine:
        before = schema.current_revision(engine)
        done = downgrade_service(folder, engine, arguments.to, cli_actor())
        after = schema.current_revision(engine)
    words = []
    if after is not None and after < schema.SIGNED_SINCE:
        words.append("It holds no signatures: the next `database upgrade` signs whatever stands in it then.")
    _print_move(arguments, before, after, done, words=words, more={})


def _print_move(
    arguments: argparse.Namespace,
    before: str | None,
    after: str | None,
    done: schema.Migration,
    *,
    words: list[str],
    more: dict[str, int],
) -> None:
    result = {"before": before, "after": after, "acknowledged": acknowledged_documents(done.acknowledged), **more}
    lines = [f"Schema {before or 'none'} -> {after or 'none'}.", *words]
    if done.acknowledged:
        lines.append("From now on the log has these as they are:")
        lines += acknowledged_lines(done.acknowledged)
    print_result(result, lines, as_json=arguments.json)


def _copy(arguments: argparse.Namespace) -> None:
    folder = ServiceFolder(arguments.directory)
    config = load_config(folder)
    password = read_password(arguments.password_file) if arguments.password_file else None
    url = folder.absolute_url(arguments.to)
    if url == folder.database_url(config):
        raise OperationError("That is the service's own database.", cure="Give another one with --to.")
    target = open_engine(url, password=password)
    try:
        with opened_database(folder, config) as source:
            schema.require_newest(source)
            copied = database_copy.copy_records(source, target)
    finally:
        target.dispose()
    words = [f"{sum(copied.values())} records copied, and read again from there: they are the same."]
    words.append(f'Now write into {folder.config_file}: database = "{arguments.to}"')
    print_result(
        {"copied": copied}, [*words, *table(("table", "records"), list(copied.items()))], as_json=arguments.json
    )
