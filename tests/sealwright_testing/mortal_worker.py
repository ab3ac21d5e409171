"""A worker of the licence service that is killed at a chosen boundary of a transaction."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sealwright_licensing import cli, cli_context
from sealwright_licensing.admission import admission
from sealwright_licensing.config import load_config
from sealwright_licensing.database import service_engine
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.store import Transaction
from sealwright_licensing.store_sql import SqlStore
from sealwright_testing.license_world import NO_FLOOR, LicenseWorld


@dataclass
class Life:
    """How many boundaries a process has left; behind the last one it is killed, as by ``kill -9``."""

    boundaries: int

    def boundary(self) -> None:
        """Pass one."""
        self.boundaries -= 1
        if self.boundaries < 0:
            os.kill(os.getpid(), signal.SIGKILL)


class MortalStore(SqlStore):
    """The real store. The process dies when it has passed so many boundaries."""

    life: Life

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Boundaries before and after."""
        self.life.boundary()
        with super().read() as transaction:
            yield transaction
        self.life.boundary()

    @contextmanager
    def read_once(self) -> Iterator[Transaction]:
        """The same."""
        self.life.boundary()
        with super().read_once() as transaction:
            yield transaction
        self.life.boundary()

    @contextmanager
    def write(self, *names: str) -> Iterator[Transaction]:
        """Boundaries before, when all is written and nothing committed, and after the commit."""
        self.life.boundary()
        with super().write(*names) as transaction:
            yield transaction
            transaction.flush()  # type: ignore[attr-defined]
            self.life.boundary()
        self.life.boundary()


@dataclass(frozen=True)
class Services:
    """What a worker has."""

    enrollment: EnrollmentService
    renewal: RenewalService


def run_mortal(world: LicenseWorld, boundaries: int, work: Callable[[Services], object]) -> bool:
    """Run something with a worker's services in a process that lives for so many boundaries; whether it lived."""

    def with_services(store: MortalStore) -> None:
        grantor = world.enrollment._grantor
        renewal = RenewalService(store, grantor, StatelessNonces(world.keys.nonce), NO_FLOOR)
        work(Services(EnrollmentService(store, grantor, NO_FLOOR), renewal))

    return run_mortal_store(world, boundaries, with_services)


def run_mortal_store(world: LicenseWorld, boundaries: int, work: Callable[[MortalStore], object]) -> bool:
    """Run something over the store in a process of its own that lives for so many boundaries; whether it lived.

    The child opens the database itself. It leaves by a signal or ``_exit`` and touches nothing of its parent's.
    """
    world.store.close()
    child = os.fork()
    if child == 0:
        try:
            engine = service_engine(world.folder, load_config(world.folder))
            store = MortalStore(engine, admission(world.folder))
            store.life = Life(boundaries)
            work(store)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise AssertionError("the worker failed by itself")
    return os.WIFEXITED(status)


def run_mortal_command(world: LicenseWorld, boundaries: int, *arguments: str) -> bool:
    """Run a command in such a process, whose boundaries are also those of every file that it writes."""

    def run(store: MortalStore) -> None:
        store.close()
        life, sync, rename = store.life, os.fsync, Path.replace

        class CommandStore(MortalStore):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given)
                self.life = life

        def mortal_sync(descriptor: int) -> None:
            life.boundary()
            sync(descriptor)

        def mortal_rename(path: Path, target: Path) -> Path:
            life.boundary()
            renamed = rename(path, target)
            life.boundary()
            return renamed

        with (
            patch.object(cli_context, "SqlStore", CommandStore),
            patch.object(os, "fsync", mortal_sync),
            patch.object(Path, "replace", mortal_rename),
            redirect_stdout(io.StringIO()),
        ):
            if cli.main(arguments) != 0:
                os._exit(1)

    return run_mortal_store(world, boundaries, run)
