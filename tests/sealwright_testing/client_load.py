"""Clients that keep asking a server, and count what goes wrong."""

from __future__ import annotations

import ssl
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
    """What clients that ask one request after the other, each on a connection of its own, have seen."""

    url: str
    tls: ssl.SSLContext
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    is_over: bool = False

    def ask(self) -> None:
        """Ask until it is over."""
        while not self.is_over and self.answered < MOST_REQUESTS:
            try:
                reply = httpx.get(self.url, verify=self.tls, timeout=TIMEOUT_S)
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            else:
                self.answered += 1
                if reply.status_code != httpx.codes.OK:
                    self.failures.append(reply.text)


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
