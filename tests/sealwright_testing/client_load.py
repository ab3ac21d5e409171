"""Clients that keep asking a server, and count what goes wrong."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

CLIENTS = 4
MOST_REQUESTS = 20_000
TIMEOUT_S = 60


@dataclass
class Load:
    """What clients that ask one request after the other, each on a connection of its own, have seen.

    A client whose connection ends before it could send anything has lost no request: it connects once more, as every
    client of a network does. Only a second time is a failure.
    """

    url: str
    tls: ssl.SSLContext
    answered: int = 0
    not_connected: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    is_over: bool = False

    def ask(self) -> None:
        """Ask until it is over."""
        while not self.is_over and self.answered < MOST_REQUESTS:
            try:
                reply = self._get()
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
                if reply.status_code != httpx.codes.OK:
                    self.failures.append(reply.text)

    def _get(self) -> httpx.Response:
        begun = time.monotonic()
        try:
            return httpx.get(self.url, verify=self.tls, timeout=TIMEOUT_S)
        except httpx.ConnectError as error:
            self.not_connected.append(f"{error!r} after {time.monotonic() - begun:.2f} s")
            return httpx.get(self.url, verify=self.tls, timeout=TIMEOUT_S)


@contextmanager
def under_load(url: str, tls: ssl.SSLContext) -> Iterator[Load]:
    """Clients keep asking for a page until the block ends; ``tls`` says whom they trust."""
    load = Load(url, tls)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in range(CLIENTS):
            pool.submit(load.ask)
        try:
            yield load
        finally:
            load.is_over = True
