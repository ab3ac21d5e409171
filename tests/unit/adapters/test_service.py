"""The adapter service as it runs in the box, with trainers that play their parts over real sockets."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwright_appliance.adapters.messages import (
    AdapterReply,
    AdapterState,
    KeptAdapter,
    Trained,
    TrainingCounts,
    TrainingFailure,
    TrainingJob,
    parse_adapter_reply,
)
from sealwright_appliance.adapters.refusals import AdapterCode
from sealwright_appliance.files import write_durably
from sealwright_appliance.local_messages import framed
from sealwright_appliance.paths import Paths
from sealwright_appliance.retention_calendar import tell_time
from sealwright_policies.engines import ReleaseEngines
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.lease import DAY_S
from sealwright_testing.adapters import (
    TRAINER,
    AdapterProcess,
    Part,
    examples,
    finish,
    learned,
    own_adapter_plans,
    played_trainer,
    say,
    shapes_of,
)

SHAPES = shapes_of()
WAIT_S = 60.0
IN_2020 = 1_577_836_800


class Held:
    """A service, and somebody who asks it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.process = AdapterProcess(paths, ["own"])

    def ask(self, content: bytes = b"", **asked: Any) -> AdapterReply:
        request = {"operation": "list"} | asked | ({"size": len(content)} if content else {})
        return self._said(request, content)

    def _said(self, request: dict[str, Any], content: bytes) -> AdapterReply:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.paths.adapters_socket))
            connection.sendall(framed(json.dumps(request).encode(), content))
            said = b""
            while piece := connection.recv(65536):
                said += piece
        return parse_adapter_reply(said)

    def add(self, name: str = "ward") -> str:
        reply = self.ask(examples(), operation="add", model="medical", name=name)
        assert reply.adapters
        return reply.adapters[0].adapter_id

    def one(self) -> KeptAdapter:
        found = self.ask().adapters
        assert found
        return found[0]

    def until(self, *states: AdapterState) -> KeptAdapter:
        ends = time.monotonic() + WAIT_S
        while (one := self.one()).state not in states:
            assert time.monotonic() < ends
            time.sleep(0.02)
        return one


@pytest.fixture
def held(short_tmp: Path) -> Iterator[Held]:
    """The service of a release whose customer may train two adapters of ``medical``."""
    paths = Paths(root=short_tmp)
    write_durably(paths.workload_plans, document_bytes(own_adapter_plans({"medical": "own"})))
    engines = ReleaseEngines(version=1, models={}, layers={"medical": SHAPES})
    write_durably(paths.engines, document_bytes(engines))
    paths.run.mkdir(parents=True)
    running = Held(paths)
    yield running
    running.process.close()


def trainer(held: Held, *parts: Part) -> Any:
    return played_trainer(held.paths.trainer_socket(TRAINER), *parts)


def whole(connection: socket.socket, _: TrainingJob, __: bytes, ___: bytes) -> None:
    say(connection, 10)
    finish(connection, SHAPES)


def test_examples_become_an_adapter(held: Held) -> None:
    """The trainer gets them as they were understood; losses are told with four digits."""
    seen: list[tuple[TrainingJob, bytes]] = []

    def noted(connection: socket.socket, job: TrainingJob, text: bytes, checkpoint: bytes) -> None:
        seen.append((job, text))
        whole(connection, job, text, checkpoint)

    with trainer(held, noted):
        held.add()
        ready = held.until(AdapterState.READY, AdapterState.FAILED)
    assert (ready.state, ready.percent, ready.loss_before, ready.loss_after) == (AdapterState.READY, 100, 2.346, 1.0)
    assert ready.expires - ready.created == 30 * 86400
    assert seen[0][0].model == "medical"
    assert seen[0][1].count(b"\n") == ready.examples == 10
    assert [path.name for path in held.paths.served_adapters("own").iterdir()] == [f"{ready.adapter_id}.gguf"]


def test_days_are_counted_by_the_calendar_of_retention_whatever_the_machines_clock_says(held: Held) -> None:
    """A machine's whose battery is empty was in 2020, and a time server has put it right."""
    tell_time(held.paths.retention_time, IN_2020)
    with trainer(held, whole):
        held.add()
        made = held.until(AdapterState.READY)
        assert IN_2020 <= made.created < IN_2020 + WAIT_S
        for days, left in ((29, 1), (30, None)):
            tell_time(held.paths.retention_time, made.created + days * DAY_S)
            held.process.kill()
            held.process.start()
            found = held.ask().adapters
            assert found is not None
            assert [-(-(one.left_s or 0) // DAY_S) for one in found] == ([] if left is None else [left])
        ends = time.monotonic() + WAIT_S
        while list(held.paths.served_adapters("own").iterdir()):
            assert time.monotonic() < ends
            time.sleep(0.02)


def test_before_the_calendar_is_told_nothing_goes_and_nothing_is_added(held: Held) -> None:
    with trainer(held, whole):
        held.add()
        made = held.until(AdapterState.READY)
    held.paths.retention_time.unlink()
    held.process.kill()
    held.process.start()
    assert held.one() == made.model_copy(update={"left_s": 30 * DAY_S})
    assert held.ask(examples(), operation="add", model="medical", name="other").error is AdapterCode.UNAVAILABLE
    tell_time(held.paths.retention_time, made.created)
    held.add("other")


def test_after_a_power_cut_it_goes_on_from_the_checkpoint(held: Held) -> None:
    given: list[bytes] = []

    def stuck(connection: socket.socket, _: TrainingJob, __: bytes, ___: bytes) -> None:
        say(connection, 40, b"what was learned")
        connection.recv(1)

    def resumed(connection: socket.socket, job: TrainingJob, text: bytes, checkpoint: bytes) -> None:
        given.append(checkpoint)
        whole(connection, job, text, checkpoint)

    with trainer(held, stuck, resumed):
        held.add()
        ends = time.monotonic() + WAIT_S
        while not list((held.paths.adapters / "kept").glob("*.checkpoint")):  # percents are told before it is kept
            assert time.monotonic() < ends
            time.sleep(0.02)
        held.process.kill()
        held.process.start()
        assert held.until(AdapterState.READY, AdapterState.FAILED).state is AdapterState.READY
    assert given == [b"what was learned"]


def test_a_trainer_that_ends_too_soon_is_tried_again_and_then_given_up(held: Held) -> None:
    tries: list[int] = []

    def ends(connection: socket.socket, _: TrainingJob, __: bytes, ___: bytes) -> None:
        tries.append(1)
        say(connection, 5)

    with trainer(held, ends):
        held.add()
        failed = held.until(AdapterState.FAILED)
    assert failed.failure is TrainingFailure.ENDED
    assert len(tries) == 3


def foreign(connection: socket.socket, *_: object) -> None:
    """An adapter for another model."""
    finish(connection, shapes_of(width=16))


def deep(connection: socket.socket, *_: object) -> None:
    finish(connection, shapes_of(blocks=3))


def babbling(connection: socket.socket, *_: object) -> None:
    connection.sendall(framed(b"canary"))


def backwards(connection: socket.socket, *_: object) -> None:
    connection.sendall(framed(b'{"percent": 101}'))


def endless(connection: socket.socket, *_: object) -> None:
    connection.sendall(b"\xff\xff\xff\xff" + b"[" * 600_000)


def not_finite(connection: socket.socket, *_: object) -> None:
    adapter, numbers = learned(SHAPES)
    trained = Trained(adapter=adapter, loss_before=1, loss_after=1)
    say(connection, 100, b"\xff\xff\xff\xff" + numbers[4:], trained=trained)


@pytest.mark.parametrize("part", [foreign, deep, babbling, backwards, endless, not_finite])
def test_what_is_no_adapter_of_the_model_is_never_served(held: Held, part: Part) -> None:
    with trainer(held, part):
        held.add()
        failed = held.until(AdapterState.FAILED, AdapterState.READY)
    assert (failed.state, failed.failure) == (AdapterState.FAILED, TrainingFailure.MALFORMED)
    assert list(held.paths.served_adapters("own").iterdir()) == []


def test_trainings_that_end_are_counted(held: Held) -> None:
    """As they end, not as they are tried; one that is deleted is neither."""
    assert held.ask().trainings == TrainingCounts()

    def breaks_off(connection: socket.socket, *_: object) -> None:
        say(connection, 5)

    with trainer(held, foreign, whole, breaks_off):
        for name, state in (("a", AdapterState.FAILED), ("b", AdapterState.READY), ("c", AdapterState.FAILED)):
            adapter_id = held.add(name)
            assert held.until(AdapterState.FAILED, AdapterState.READY).state is state
            held.ask(operation="delete", adapter_id=adapter_id)
    assert held.ask().trainings == TrainingCounts(finished=1, failed=2)


def test_deleting_ends_the_training(held: Held) -> None:
    begun, ended = threading.Event(), list[bytes]()

    def stuck(connection: socket.socket, _: TrainingJob, __: bytes, ___: bytes) -> None:
        say(connection, 1)
        begun.set()
        ended.append(connection.recv(1))

    with trainer(held, stuck, whole):
        first = held.add()
        assert begun.wait(WAIT_S)
        assert held.ask(operation="delete", adapter_id=first) == AdapterReply()
        held.add("next")
        assert held.until(AdapterState.READY).name == "next"
    assert ended == [b""]


def test_without_a_trainer_it_waits(held: Held) -> None:
    held.add()
    time.sleep(0.3)
    assert held.one().state is AdapterState.QUEUED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model": "finance"}, AdapterCode.NOT_ALLOWED),
        ({"model": "own"}, AdapterCode.NOT_ALLOWED),
        ({"name": "Ward"}, AdapterCode.NAME),
        ({"name": "../x"}, AdapterCode.NAME),
        ({"name": ""}, AdapterCode.NAME),
    ],
)
def test_orders_that_cannot_be_are_refused(held: Held, change: dict[str, str], code: AdapterCode) -> None:
    asked = {"operation": "add", "model": "medical", "name": "ward"} | change
    assert held.ask(examples(), **asked).error is code
    assert held.ask().adapters == []
