"""pytest plugin: an empty database for each test: SQLite in a file, or a real PostgreSQL (``--database postgresql``).

The unit tests of the licence service run on either; `make test-unit` takes SQLite, `make test-postgresql` the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_licensing.database import open_engine
from sealwright_testing.postgres import PostgresServer, running_postgres

SQLITE, POSTGRESQL = "sqlite", "postgresql"


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--database``."""
    parser.addoption("--database", choices=(SQLITE, POSTGRESQL), default=SQLITE, help="what the licence service is on")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL leave out what asks for no database: it has run already."""
    if config.getoption("--database") != POSTGRESQL:
        return
    asking = {"database", "module_database", "postgres_server"}
    left_out = [one for one in items if isinstance(one, pytest.Function) and not asking.intersection(one.fixturenames)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [one for one in items if one not in left_out]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server, one for each worker of xdist."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database there."""
    name = postgres_server.create_database()
    yield postgres_server.url(name)
    postgres_server.drop_database(name)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """An empty database, as ``config.toml`` names it."""
    if request.config.getoption("--database") == POSTGRESQL:
        return str(request.getfixturevalue("postgres_url"))
    return DEFAULT_DATABASE


@pytest.fixture(scope="module")
def module_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """One for a service that all tests of a file share."""
    if request.config.getoption("--database") != POSTGRESQL:
        yield DEFAULT_DATABASE
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def engine(database: str, tmp_path: Path) -> Iterator[Engine]:
    """An empty database, open."""
    made = open_engine(f"sqlite:///{tmp_path / 'db'}" if database == DEFAULT_DATABASE else database)
    yield made
    made.dispose()
