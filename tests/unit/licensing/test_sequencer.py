"""A sequencer goes on only from a log that was signed, whatever somebody has written into the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Table, delete, insert, select, update

from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.tables import licenses, log_checkpoints, log_entries, log_nodes, log_queue
from sealwright_policies.errors import OperationError
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin
from sealwright_policies.transparency.entries import entry_bytes, parse_entry, row_digest
from sealwright_policies.transparency.merkle import Frontier, leaf_hash
from sealwright_testing.license_world import SERVICE_ID, LicenseWorld

ORIGIN = log_origin(SERVICE_ID)
LOG_TABLES = (log_entries, log_nodes, log_checkpoints, log_queue)


def sequencer(world: LicenseWorld) -> Sequencer:
    return Sequencer(world.store, load_log_keys(world.folder.keys), SERVICE_ID)


def leaves(connection: Connection) -> list[bytes]:
    return list(connection.execute(select(log_entries.c.leaf).order_by(log_entries.c.entry_index)).scalars())


def rewrite(connection: Connection, forged: list[bytes]) -> None:
    """Leaves, hashes and the newest checkpoint made anew without a key: with the signature that stood there."""
    old = connection.execute(select(log_checkpoints.c.note).order_by(log_checkpoints.c.size.desc())).scalars().first()
    assert old is not None
    signatures = old.partition("\n\n")[2]
    connection.execute(delete(log_nodes))
    connection.execute(delete(log_checkpoints))
    frontier = Frontier()
    for index, leaf in enumerate(forged):
        for node in frontier.append(leaf_hash(leaf)):
            connection.execute(insert(log_nodes).values(level=node.level, node_index=node.index, hash=node.hash))
        connection.execute(update(log_entries).where(log_entries.c.entry_index == index).values(leaf=leaf))
    text = Checkpoint(ORIGIN, frontier.size, frontier.root()).text
    connection.execute(insert(log_checkpoints).values(size=frontier.size, note=f"{text}\n{signatures}"))


def with_digest(leaf: bytes, table: str, digest: str) -> bytes:
    """The entry, as if it had left the rows of a table otherwise."""
    entry = parse_entry(leaf)
    rows = [
        row.model_copy(update={"sha256": digest}) if row.table == table else row for row in getattr(entry, "rows", ())
    ]
    return entry_bytes(entry.model_copy(update={"rows": rows}) if rows else entry)


@contextmanager
def changing(world: LicenseWorld) -> Iterator[Connection]:
    """What whoever can write the database alone does."""
    with world.store.engine.begin() as connection:
        yield connection


def kept(connection: Connection) -> dict[Table, list[dict[str, Any]]]:
    """The log as it stands."""
    return {table: [dict(row) for row in connection.execute(select(table)).mappings()] for table in LOG_TABLES}


def put_back(connection: Connection, rows: dict[Table, list[dict[str, Any]]]) -> None:
    for table in LOG_TABLES:
        connection.execute(delete(table))
        if rows[table]:
            connection.execute(insert(table), rows[table])


def test_a_history_that_was_rewritten_in_the_database_is_not_signed(world: LicenseWorld) -> None:
    """A row, its leaf, all hashes and the checkpoint's root are edited; only the signature is not the log's."""
    world.issue()
    world.sequence()
    with changing(world) as connection:
        connection.execute(update(licenses).values(seats=1000))
        digest = row_digest("licenses", dict(connection.execute(select(licenses)).mappings().one()))
        rewrite(connection, [with_digest(leaf, "licenses", digest) for leaf in leaves(connection)])
    world.issue()

    with pytest.raises(OperationError, match=r"damaged: LOG_PROOF_INVALID.*audit verify"):
        world.sequence()


def test_a_tree_that_is_not_the_checkpoints_is_not_signed(world: LicenseWorld) -> None:
    """The checkpoint is genuine, the hashes below it are not."""
    world.issue()
    world.sequence()
    with changing(world) as connection:
        connection.execute(update(log_nodes).values(hash=bytes(32)))
    world.issue()

    with pytest.raises(OperationError, match="not the one that was signed"):
        world.sequence()


def test_entries_without_a_checkpoint_are_not_gone_on_from(world: LicenseWorld) -> None:
    world.sequence()
    with changing(world) as connection:
        connection.execute(delete(log_checkpoints))
        connection.execute(delete(log_nodes))
    world.issue()

    with pytest.raises(OperationError, match="its entries have no checkpoint"):
        world.sequence()


def test_a_checkpoint_that_is_none_is_named(world: LicenseWorld) -> None:
    world.sequence()
    with changing(world) as connection:
        connection.execute(update(log_checkpoints).values(note="no note"))
    world.issue()

    with pytest.raises(OperationError, match=r"damaged: .*audit verify"):
        world.sequence()


@pytest.mark.parametrize("goes_on", [False, True], ids=["shorter", "another one"])
def test_a_log_that_was_taken_back_under_a_running_service_is_not_signed(world: LicenseWorld, goes_on: bool) -> None:
    """To an earlier state with a genuine checkpoint; also if another process has gone on from there."""
    running = sequencer(world)
    running.run()
    with changing(world) as connection:
        before = kept(connection)
    world.issue()
    running.run()
    with changing(world) as connection:
        put_back(connection, before)
    for _ in range(3 if goes_on else 0):
        world.issue()
        sequencer(world).run()
    world.issue()

    with pytest.raises(OperationError, match="damaged: LOG_PROOF_INVALID"):
        running.run()


def test_processes_append_in_turn(world: LicenseWorld) -> None:
    """What another process has appended in between is the same log."""
    one, two = sequencer(world), sequencer(world)
    size = one.run()
    for turn in range(1, 8):
        world.issue()
        assert (one, two)[turn % 2 or turn % 3 == 0].run() == size + turn
