"""What a command works with: the folder's configuration and its open store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sealwright_licensing import schema
from sealwright_licensing.config import ServiceConfig, ServiceFolder, load_config
from sealwright_licensing.database import open_engine
from sealwright_licensing.store_sql import SqlStore


@dataclass(frozen=True, slots=True)
class Context:
    """An existing service."""

    folder: ServiceFolder
    config: ServiceConfig
    store: SqlStore


@contextmanager
def open_service(directory: Path) -> Iterator[Context]:
    """Open the service in a folder; its schema must be current.

    Raises:
        OperationError, UsageError: no service there, a bad configuration, another schema.
    """
    folder = ServiceFolder(directory)
    config = load_config(folder)
    engine = open_engine(folder.database_url(config))
    try:
        schema.require_newest(engine)
        yield Context(folder, config, SqlStore(engine))
    finally:
        engine.dispose()
