"""A worker of the licence service that is killed at a chosen boundary of a transaction."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sealwright_licensing.config import load_config
from sealwright_licensing.database import service_engine
from sealwright_licensing.enrollment import EnrollmentService
from sealwright_licensing.manifest_keys import ManifestKeys
from sealwright_licensing.nonces import StatelessNonces
from sealwright_licensing.renewal import RenewalService
from sealwright_licensing.store import Transaction
from sealwright_licensing.store_sql import SqlStore
from sealwright_testing.license_world import NO_FLOOR, LicenseWorld


class MortalStore(SqlStore):
    """The real store. The process dies when it has passed so many boundaries."""

    boundaries_left: int

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Boundaries before and after."""
        self._pass()
        with super().read() as transaction:
            yield transaction
        self._pass()

    @contextmanager
    def write(self, *names: str) -> Iterator[Transaction]:
        """Boundaries before, when all is written and nothing committed, and after the commit."""
        self._pass()
        with super().write(*names) as transaction:
            yield transaction
            transaction.flush()  # type: ignore[attr-defined]
            self._pass()
        self._pass()

    def _pass(self) -> None:
        self.boundaries_left -= 1
        if self.boundaries_left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Services:
    """What a worker has."""

    enrollment: EnrollmentService
    renewal: RenewalService


def run_mortal(world: LicenseWorld, boundaries: int, work: Callable[[Services], object]) -> bool:
    """Run something in a process of its own that lives for so many boundaries; whether it lived to the end.

    The child opens the database itself. It leaves by a signal or ``_exit`` and touches nothing of its parent's.
    """
    world.store.close()
    child = os.fork()
    if child == 0:
        try:
            engine = service_engine(world.folder, load_config(world.folder))
            store = MortalStore(engine, ManifestKeys(world.folder.manifest_keys).admit)
            store.boundaries_left = boundaries
            grantor = world.enrollment._grantor
            renewal = RenewalService(store, grantor, StatelessNonces(world.keys.nonce), NO_FLOOR)
            work(Services(EnrollmentService(store, grantor, NO_FLOOR), renewal))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise AssertionError("the worker failed by itself")
    return os.WIFEXITED(status)
