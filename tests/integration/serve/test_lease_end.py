"""The end of a lease and the requests that run: the real gateway, a real lease keeper, an engine that takes its time.

Whatever the licence has said meanwhile, a request has the time of the lease under which it began, and the payload is
closed behind it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealwright_appliance.boot import BoxState
from sealwright_appliance.lease_keeper import LET_IN_LATE_S, Actions, LeaseKeeper
from sealwright_appliance.license_client import DeniedError
from sealwright_appliance.status import PayloadState
from sealwright_policies.wire.lease import Lease, sign_lease_partitions
from sealwright_policies.wire.messages import Problem
from sealwright_testing.document_vectors import PARTITION, lease_terms
from sealwright_testing.release_log import release_proof
from sealwright_testing.scripted_engine import is_asked_to_answer
from sealwright_testing.serving import ServingBox

REPLY_S = 4.0
EVENT = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'
REVOKED = Problem(type="about:blank", title="Denied", status=403, code="REVOKED", detail="The licence was revoked.")
POLICY_KEY = ec.generate_private_key(ec.SECP256R1())
ASKED = {"model": "elsewhere", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def lease_of(max_request_s: int) -> Lease:
    """A lease that lets a request run for so long."""
    terms = lease_terms(release_proof(Ed25519PrivateKey.generate(), "11" * 32), max_request_s=max_request_s)
    return Lease(**dict(terms), partitions=sign_lease_partitions(terms, {PARTITION: "elsewhere"}, POLICY_KEY))


class ScriptedKeeper(LeaseKeeper):
    """A keeper whose service gives this lease, or says that the licence is revoked."""

    said: Lease | None = None

    def _renew(self) -> Lease | None:
        if self.said is None:
            raise DeniedError(403, REVOKED)
        return self.said

    def renew(self, lease: Lease | None) -> None:
        """One contact."""
        self.said = lease
        self.contact()


@dataclass
class Ending:
    """A gateway over the model ``elsewhere``, and the keeper that closes it."""

    box: ServingBox
    closed: list[float] = field(default_factory=list)
    """When the payload was closed, by time.monotonic()."""

    def __post_init__(self) -> None:
        """Let the keeper note what it closes."""
        actions = Actions(lambda _: self.closed.append(time.monotonic()), lambda: None, lambda _: None)
        self.keeper = ScriptedKeeper(self.box.board, actions, threading.Lock(), "", None)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A stream of REPLY_S."""
    if not await is_asked_to_answer(reader, writer):
        return
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    end = time.monotonic() + REPLY_S
    while time.monotonic() < end:
        writer.write(b"%x\r\n%s\r\n" % (len(EVENT), EVENT))
        await writer.drain()
        await asyncio.sleep(0.1)
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


@contextmanager
def slow_engine(box: ServingBox) -> Iterator[None]:
    """The engine of ``elsewhere``."""
    place = box.paths.engine_socket("elsewhere")
    place.parent.mkdir(parents=True, exist_ok=True)
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_unix_server(_answer, place))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize(("at_boot", "then"), [(1, 60), (8, 1)], ids=["raised", "lowered"])
def test_a_request_that_runs_has_its_time(own_box: ServingBox, at_boot: int, then: int) -> None:
    """The stream ends whole, new requests are refused meanwhile, and the payload is closed behind it."""
    ending = Ending(own_box)
    ending.keeper.renew(lease_of(at_boot))
    with slow_engine(own_box), own_box.http() as http:
        if then > at_boot:
            ending.keeper.renew(lease_of(then))
        time.sleep(1.1)  # the gateway may have asked before
        with http.stream("POST", "/v1/chat/completions", json=ASKED) as reply:
            pieces = reply.iter_bytes()
            assert b'"error"' not in next(pieces)
            began = time.monotonic()
            if then < at_boot:
                ending.keeper.renew(lease_of(then))
            closing = threading.Thread(target=ending.keeper.renew, args=(None,), daemon=True)
            closing.start()
            time.sleep(1.1)
            assert own_box.board.status.state is BoxState.ENDED
            refused = http.post("/v1/chat/completions", json=ASKED)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "REVOKED")
            assert b"".join(pieces).endswith(b"data: [DONE]\n\n")
            finished = time.monotonic()
    assert finished - began > REPLY_S - 1
    assert ending.closed == []
    if then > at_boot:  # nobody waits for that
        ending.keeper.stop.set()
    closing.join()
    assert len(ending.closed) == 1
    assert own_box.board.payloads_in(PayloadState.CLOSED)
    if then < at_boot:
        assert at_boot <= ending.closed[0] - began < at_boot + LET_IN_LATE_S + 2
