"""Tables of the licence service that somebody has changed past it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, Engine

Differences = Callable[[Connection], Iterable[tuple[str, str]]]


def found_behind(engine: Engine, statements: Iterable[str], *looks: Differences) -> list[tuple[str, str]]:
    """What is found behind these statements, of which nothing stays."""
    with engine.connect() as connection, connection.begin() as transaction:
        for statement in statements:
            connection.exec_driver_sql(statement)
        differences = [one for look in looks for one in look(connection)]
        transaction.rollback()
    return differences
