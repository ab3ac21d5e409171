"""Several worker processes behind one listening socket: started, replaced when they die, stopped together.

The supervisor decides nothing and opens nothing but the socket. It forks before there is any thread, key or connection
to the database; the workers take connections from the one queue, so a worker that dies loses only those that it had.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from sealwright_licensing.logs import logger
from sealwright_policies.errors import OperationError, SealwrightError

SHORT_LIFE_S = 10
MOST_SHORT_LIVES = 5
"""Workers that died young since one lived longer; then something is wrong that no other worker mends."""
_WAKING = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}

Work = Callable[[Callable[[], None], int], None]
"""Runs a worker: calls the function when it takes connections, ends when the file descriptor becomes readable."""


def supervise(count: int, work: Work, ready: Callable[[], None]) -> None:
    """Keep so many workers until SIGTERM or SIGINT; ``ready`` is called once, when all take connections.

    Raises:
        OperationError: a worker did not start, or workers keep dying.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAKING)
    supervisor = _Supervisor(work)
    try:
        for _ in range(count):
            supervisor.start()
        supervisor.run(count, ready)
    finally:
        supervisor.stop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Supervisor:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._born: dict[int, float] = {}
        self._short_lives = 0
        self._lifeline, self._held = os.pipe()  # its end tells workers that the supervisor is no more
        self._started, self._starting = os.pipe()
        os.set_blocking(self._started, False)

    def start(self) -> None:
        """Fork a worker."""
        child = os.fork()
        if child == 0:
            self._live()
        self._born[child] = time.monotonic()

    def run(self, count: int, ready: Callable[[], None]) -> None:
        """Wait for what happens, until it is time to stop."""
        started, announced = 0, False
        while True:
            match signal.sigwait(_WAKING):
                case signal.SIGUSR1:
                    started += self._count_started()
                    if started >= count and not announced:
                        announced = True
                        ready()
                case signal.SIGCHLD:
                    for _ in range(self._bury()):
                        if not announced:
                            raise OperationError("A worker did not start.", cure="Its error stands above.")
                        self.start()
                case _:
                    return

    def stop(self) -> None:
        """Tell all workers, and wait until their running requests are answered."""
        for worker in self._born:
            os.kill(worker, signal.SIGTERM)
        for worker in self._born:
            os.waitpid(worker, 0)
        for descriptor in (self._lifeline, self._held, self._started, self._starting):
            os.close(descriptor)

    def _live(self) -> NoReturn:
        code = 1
        try:
            os.close(self._held)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAKING)
            self._work(self._tell_started, self._lifeline)
            code = 0
        except SealwrightError as error:
            print(f"sealwright-license: {error}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            code = 130
        finally:
            os._exit(code)

    def _tell_started(self) -> None:
        os.write(self._starting, b".")
        os.kill(os.getppid(), signal.SIGUSR1)

    def _count_started(self) -> int:
        try:
            return len(os.read(self._started, 4096))
        except BlockingIOError:
            return 0

    def _bury(self) -> int:
        """Take note of the workers that have died."""
        dead = [worker for worker in self._born if os.waitpid(worker, os.WNOHANG)[0]]
        for worker in dead:
            is_short = time.monotonic() - self._born.pop(worker) < SHORT_LIFE_S
            self._short_lives = self._short_lives + 1 if is_short else 0
            logger.error("a worker died and is replaced")
        if self._short_lives > MOST_SHORT_LIVES:
            raise OperationError("Workers die as soon as they are started.", cure="The log says why.")
        return len(dead)
