"""What a command works with: the folder's configuration and its open store."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine

from sealwright_licensing import schema
from sealwright_licensing.admission import admission
from sealwright_licensing.cli_ids import complete_ids
from sealwright_licensing.config import ServiceConfig, ServiceFolder, load_config
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.database import opened_database
from sealwright_licensing.keys import load_signing_keys
from sealwright_licensing.services import Services, wire_services
from sealwright_licensing.store_sql import SqlStore


@dataclass(frozen=True, slots=True)
class Context:
    """An existing service."""

    folder: ServiceFolder
    config: ServiceConfig
    store: SqlStore
    engine: Engine

    def services(self) -> Services:
        """What decides, as in the running service: releases and devices are verified when they are read."""
        store = SqlStore(self.engine, admission(self.folder))
        keys = self.folder.keys
        return wire_services(store, load_signing_keys(keys), load_custodians(keys), self.config)


@contextmanager
def open_service(directory: Path) -> Iterator[Context]:
    """Open the service in a folder; its schema must be current.

    Raises:
        OperationError, UsageError: no service there, a bad configuration, another schema.
    """
    folder = ServiceFolder(directory)
    config = load_config(folder)
    with opened_database(folder, config) as engine:
        schema.require_newest(engine)
        yield Context(folder, config, SqlStore(engine), engine)


@contextmanager
def open_command(arguments: argparse.Namespace) -> Iterator[Context]:
    """Open the service of a command that names licences, devices or releases, whose ids are completed.

    Raises:
        SealwrightError: as :func:`open_service` and :func:`.cli_ids.complete_ids`.
    """
    with open_service(arguments.directory) as context:
        complete_ids(context.store, arguments)
        yield context
