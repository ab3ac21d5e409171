"""How many boxes one core of a licence service serves.

A decision here is all of a renewal but the database: nonce, signatures of quote and both counters, replay and judgement
of the logs, the lease's TPM policy and document and the device certificate signed. It is measured with logs that were
never seen and with those of the box's last renewal. A committed renewal is the same with the reads and the transaction
of a SQLite file, synchronous=FULL. HTTP and TLS are in neither. One thread; a sample is a round of many.
Rates of one core are by processor time, so that what else runs on the machine takes little from them.

Renewals end to end, by HTTPS on PostgreSQL, are measured with all cores (sealwright_testing.renewal_bench).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_licensing.renewal_results import Verdict
from sealwright_policies.appraisal.appraise import KNOWN_BOOTS, appraise
from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.tcg.attestation import verify_quote
from sealwright_policies.tcg.structures import parse_public
from sealwright_policies.wire.encoding import document_bytes, parse_json, pcr_bytes
from sealwright_policies.wire.messages import MESSAGE_LIMIT, NonceRequest, Purpose, RenewalRequest
from sealwright_testing.bench import Figure, figure, in_turns, ratio
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.keylime import Quote, running_keylime
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.postgres import running_postgres
from sealwright_testing.query_count import counted_queries, grow_fleet
from sealwright_testing.renewal_bench import EVENTS, measure_renewals
from sealwright_testing.software_device import SoftwareDevice

ROUNDS = 5
QUOTES, APPRAISALS, DECISIONS = 1000, 100, 50
FLEETS = (10, 1_000, 100_000)
RENEWALS = 64
"""Twice what lies between two prunings (journal.py)."""
END_TO_END = 512
"""Renewals of a round by HTTPS; `make bench-memory` makes 50 000 in all."""


def measure() -> Iterator[Figure]:
    """The figures."""
    with _one_core(), tempfile.TemporaryDirectory() as directory:
        world = LicenseWorld.create(Path(directory) / "service")
        short = len(world.box.boot_events())
        world.box.option_roms += EVENTS - short
        yield from _quotes(world)
        yield _appraisals(world)
        yield from _decisions(world)
        world.store.close()
    yield from _queries()
    yield from measure_renewals(ROUNDS, END_TO_END, workers=2)


@contextmanager
def _one_core() -> Iterator[None]:
    """Stay on one core, with all processes that are started meanwhile."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _queries() -> Iterator[Figure]:
    """Statements of a renewal, and its time, as the fleet grows: on PostgreSQL one is a round trip."""
    with tempfile.TemporaryDirectory() as directory, running_postgres() as server:
        for name, database in (("sqlite", DEFAULT_DATABASE), ("postgresql", server.url(server.create_database()))):
            world = LicenseWorld.create(Path(directory) / name, database=database)
            box = EnrolledDevice.enroll(world)
            means = []
            for devices in FLEETS:
                grow_fleet(world, devices)
                queries, times = zip(*(_asked(box) for _ in range(RENEWALS)), strict=True)
                means.append(sum(queries) / RENEWALS)
                about = f"{name}, {devices} devices"
                yield figure(f"queries_per_renewal_{devices}", means[-1:], "queries", against=about)
                yield figure(f"stored_renewal_ms_{devices}", times, "ms", against=about)
            yield figure("queries_per_renewal", means, "queries", against=f"{name}, {FLEETS[0]} to {devices} devices")
            world.store.close()


def _asked(box: EnrolledDevice) -> tuple[int, float]:
    """Statements of a nonce and a renewal, and milliseconds."""
    box.device.increment()
    box.pass_time(100)
    start = time.perf_counter()
    with counted_queries() as count:
        box.ask(box.nonce())
    return count.number, 1000 * (time.perf_counter() - start)


def _rate(count: int, work: Callable[[], None]) -> list[float]:
    """Rounds of ``count`` calls, as calls per second of processor time; one round before is not counted."""
    work()
    samples = []
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(count):
            work()
        samples.append(count / (time.process_time() - start))
    return samples


def _quotes(world: LicenseWorld) -> Iterator[Figure]:
    """Quotes that differ in what they were made for, by one AK; both sides are given its key unread."""
    device = world.device()
    quotes = [_quote(device, bytes([at // 256, at % 256]) * 16) for at in range(QUOTES)]
    area = device.ak.public_area

    def verify() -> float:
        start = time.process_time()
        for quote in quotes:
            verify_quote(
                parse_public(area),
                quote.attest,
                quote.signature,
                qualifying_data=quote.nonce,
                pcrs=quote.pcrs,
                selection=QUOTE_SET,
            )
        return QUOTES / (time.process_time() - start)

    with running_keylime(quotes) as keylime:
        in_turns(1, verify, keylime.quotes_per_second)
        ours, theirs = in_turns(ROUNDS, verify, keylime.quotes_per_second)
    yield figure("quote_verify_per_s", ours, "1/s", against="one core")
    yield figure("quote_verify_per_s_keylime", theirs, "1/s", against="Keylime 7.14.3's checkquote, one core")
    yield ratio("quote_verify_vs_keylime", ours, theirs, against="the same quotes, in turns, one core")


def _quote(device: SoftwareDevice, nonce: bytes) -> Quote:
    evidence = device.evidence(device.bound(nonce=nonce, license_id="l", purpose=Purpose.RENEW))
    bound = device.bound(nonce=nonce, license_id="l", purpose=Purpose.RENEW)
    ak = parse_public(device.ak.public_area)
    return Quote(ak, bound, evidence.quote.signature, evidence.quote.attest, pcr_bytes(evidence.pcrs))


def _appraisals(world: LicenseWorld) -> Figure:
    device = world.device()
    evidence = device.evidence(device.bound(nonce=bytes(32), license_id="l", purpose=Purpose.RENEW))
    ak, release = parse_public(device.ak.public_area), device.box.release

    def judge() -> None:
        KNOWN_BOOTS.clear()
        result = appraise(
            evidence,
            ak=ak,
            nonce=bytes(32),
            device_id=device.device_id,
            license_id="l",
            release=release,
            purpose=Purpose.RENEW,
            now=world.now,
        )
        result.require_affirming()

    return figure("appraisal_per_s", _rate(APPRAISALS, judge), "1/s", against="one core, new logs")


def _decisions(world: LicenseWorld) -> Iterator[Figure]:
    license_, (code,) = world.issue()
    device = world.device()
    world.enroll(device, code)
    messages = [_message(world, device, license_.license_id) for _ in range(DECISIONS)]
    requests = [parse_json(RenewalRequest, message, limit=MESSAGE_LIMIT) for message in messages]
    held = world.renewal.look_up(requests[0])

    def decide(request: RenewalRequest) -> None:
        if not isinstance(world.renewal.decide(request, held, now=world.now), Verdict):
            raise AssertionError("the bench's own evidence was denied")

    def decide_with_known_logs() -> None:
        for request in requests:
            decide(request)

    def decide_with_new_logs() -> None:
        for request in requests:
            KNOWN_BOOTS.clear()
            decide(request)

    new = [DECISIONS * rate for rate in _rate(1, decide_with_new_logs)]
    yield figure("full_decision_per_s", new, "1/s", against="one core, a log that was never seen each time")
    known = [DECISIONS * rate for rate in _rate(1, decide_with_known_logs)]
    yield figure("full_decision_known_boot_per_s", known, "1/s", against="one core, logs of the last renewal")
    samples = []
    for _ in range(ROUNDS + 1):
        messages = [_next_message(world, device, license_.license_id) for _ in range(DECISIONS)]
        start = time.perf_counter()
        for message in messages:
            world.renewal.renew(parse_json(RenewalRequest, message, limit=MESSAGE_LIMIT), now=world.now)
        samples.append(DECISIONS / (time.perf_counter() - start))
    yield figure("committed_renewal_per_s", samples[1:], "1/s", against="one core, SQLite, synchronous=FULL")


def _next_message(world: LicenseWorld, device: SoftwareDevice, license_id: str) -> bytes:
    """A renewal that proves N, made before the clock runs; the box then goes on to N + 1."""
    message = _message(world, device, license_id)
    device.increment()
    device.pass_time(1)
    return message


def _message(world: LicenseWorld, device: SoftwareDevice, license_id: str) -> bytes:
    nonce = world.renewal.nonce(NonceRequest(device_id=device.device_id), now=world.now).nonce
    return document_bytes(device.renewal(license_id, nonce))
