"""Whose turn it is, for an engine that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.serve.admission import SHARED_S, Admission
from sealwright_appliance.serve.errors import ApiError

HEAVY, LIGHT, THIRD = "heavy", "light", "third"
PLACES = 4


class Scene:
    """An admission, requests in it by number, and in what order they began."""

    def __init__(self, *, waiting: int = 256) -> None:
        self.time = 0.0
        self.admission = Admission(active=PLACES, waiting=waiting, now=lambda: self.time)
        self.begun: list[tuple[str, int]] = []
        self.refused: list[tuple[str, int]] = []
        self.tasks: dict[tuple[str, int], tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._number = 0

    async def ask(self, key: str, places: int = 1) -> tuple[str, int]:
        """A new request; it has its place, waits or is refused when this returns."""
        self._number += 1
        name, over = (key, self._number), asyncio.Event()

        async def request() -> None:
            try:
                async with self.admission.slot(key, places):
                    self.begun.append(name)
                    await over.wait()
            except ApiError:
                self.refused.append(name)

        self.tasks[name] = asyncio.create_task(request()), over
        await _settled()
        return name

    async def end(self, name: tuple[str, int]) -> None:
        """Its reply is over."""
        task, over = self.tasks.pop(name)
        over.set()
        await _settled()
        assert task.done()

    async def leave(self, name: tuple[str, int]) -> None:
        """Its client is gone."""
        task, _ = self.tasks.pop(name)
        task.cancel()
        await _settled()
        assert task.done()

    def running(self) -> list[tuple[str, int]]:
        return [name for name in self.begun if name in self.tasks]


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Coroutine[Any, Any, None]) -> None:
    async def whole() -> None:
        async with AsyncExitStack():
            await test
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    asyncio.run(whole())


def test_a_key_alone_has_all_places() -> None:
    async def test() -> None:
        scene = Scene()
        for _ in range(PLACES + 1):
            await scene.ask(HEAVY)
        assert (scene.admission.running, scene.admission.waiting) == (PLACES, 1)

    run(test())


def test_whoever_asks_now_and_then_finds_a_place_beside_long_replies() -> None:
    """From its second request on."""

    async def test() -> None:
        scene = Scene()
        heavy = [await scene.ask(HEAVY) for _ in range(20)]
        first = await scene.ask(LIGHT)
        assert first not in scene.begun
        await scene.end(heavy[0])
        assert first in scene.begun
        await scene.end(first)
        for name in heavy[1:8]:
            await scene.end(name)
            assert scene.admission.running == PLACES - 1
            light = await scene.ask(LIGHT)
            assert light in scene.begun
            await scene.end(light)

    run(test())


def test_a_place_that_nobody_else_has_asked_for_in_a_while_is_given_back() -> None:
    async def test() -> None:
        scene = Scene()
        await scene.end(await scene.ask(LIGHT))
        for _ in range(PLACES):
            await scene.ask(HEAVY)
        assert scene.admission.running == PLACES - 1
        scene.time = SHARED_S + 1
        await scene.ask(HEAVY)
        assert scene.admission.running == PLACES

    run(test())


def test_keys_have_their_turns_however_many_requests_each_has() -> None:
    async def test() -> None:
        scene = Scene()
        await scene.ask(THIRD, PLACES)
        for key, count in ((HEAVY, 9), (LIGHT, 3), (THIRD, 3)):
            for _ in range(count):
                await scene.ask(key)
        await scene.end(scene.begun[0])
        assert {key for key, _ in scene.begun[1:4]} == {HEAVY, LIGHT, THIRD}
        while running := scene.running():
            await scene.end(running[0])
        assert [key for key, _ in scene.begun[1:10]].count(HEAVY) == 3
        own = [number for key, number in scene.begun if key == HEAVY]
        assert own == sorted(own)

    run(test())


def test_a_full_queue_refuses_the_newest_of_who_has_most_in_it() -> None:
    async def test() -> None:
        scene = Scene(waiting=3)
        heavy = [await scene.ask(HEAVY) for _ in range(PLACES + 3)]
        too_many = await scene.ask(HEAVY)
        assert scene.refused == [too_many]
        light = await scene.ask(LIGHT)
        assert scene.refused == [too_many, heavy[-1]]
        assert scene.admission.waiting == 3
        await scene.end(heavy[0])
        assert light in scene.begun

    run(test())


def test_a_request_for_several_replies_holds_several_places() -> None:
    """And is let in, though others that need fewer come behind it."""

    async def test() -> None:
        scene = Scene()
        first = await scene.ask(HEAVY, 2)
        large = await scene.ask(LIGHT, 3)
        small = await scene.ask(HEAVY)
        assert scene.running() == [first]
        await scene.end(first)
        assert scene.running() == [large, small]
        assert scene.admission.running == PLACES

    run(test())


def test_more_replies_than_there_are_places_is_all_that_a_key_may_have() -> None:
    async def test() -> None:
        scene = Scene()
        await scene.ask(HEAVY, 64)
        assert scene.admission.running == PLACES
        await scene.ask(LIGHT, 64)
        await scene.end(scene.begun[0])
        assert scene.admission.running == PLACES - 1

    run(test())


@pytest.mark.parametrize("waits", [True, False])
def test_whoever_leaves_makes_room(waits: bool) -> None:
    async def test() -> None:
        scene = Scene()
        names = [await scene.ask(HEAVY) for _ in range(PLACES + 2)]
        await scene.leave(names[PLACES] if waits else names[0])
        assert (scene.admission.running, scene.admission.waiting) == (PLACES, 1)
        await scene.end(names[1])
        assert (scene.admission.running, scene.admission.waiting) == (PLACES, 0)

    run(test())


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from([HEAVY, LIGHT, THIRD]), st.integers(1, 6)),
            st.tuples(st.sampled_from(["end", "leave"]), st.just(""), st.integers(0, 30)),
            st.tuples(st.just("later"), st.just(""), st.integers(1, 400)),
        ),
        max_size=40,
    )
)
def test_places_are_never_overdrawn_nor_lost(steps: list[tuple[str, str, int]]) -> None:
    """Whatever comes and goes; and nobody waits for a place that is free and may be had."""

    async def test() -> None:
        scene = Scene(waiting=8)
        for step, key, number in steps:
            if step == "ask":
                await scene.ask(key, number)
            elif step == "later":
                scene.time += number
            else:
                alive = [name for name in scene.tasks if name not in scene.refused]
                running = [name for name in alive if name in scene.begun]
                if step == "end" and running:
                    await scene.end(running[number % len(running)])
                elif step == "leave" and alive:
                    await scene.leave(alive[number % len(alive)])
            assert scene.admission.running <= PLACES
            assert scene.admission.waiting <= 8
        while running := scene.running():
            await scene.end(running[0])
        assert (scene.admission.running, scene.admission.waiting) == (0, 0)
        assert all(task.done() for name, (task, _) in scene.tasks.items() if name in scene.refused)

    run(test())


def test_the_box_works_on_a_place_that_nobody_wants() -> None:
    """One more stays free for whoever comes; who has waited for it gets it as soon as the work is over."""

    async def run() -> None:
        scene = Scene()
        running = [await scene.ask(LIGHT) for _ in range(PLACES - 2)]
        with scene.admission.spare() as first, scene.admission.spare() as second:
            assert (first, second) == (True, False)
            assert scene.admission.running == PLACES - 1
        await scene.end(running.pop())
        with scene.admission.spare() as first:
            assert first
            wide = await scene.ask(THIRD, PLACES - 1)
            assert wide not in scene.begun
        await _settled()
        assert wide in scene.begun
        assert scene.admission.running == PLACES
        for name in (*running, wide):
            await scene.end(name)
        assert scene.admission.running == 0

    asyncio.run(run())


def test_the_box_does_not_work_while_somebody_waits() -> None:
    """Though places are free, which are not enough for whoever waits."""

    async def run() -> None:
        scene = Scene()
        running = [await scene.ask(LIGHT) for _ in range(PLACES - 2)]
        wide = await scene.ask(THIRD, PLACES - 1)
        assert scene.admission.waiting == 1
        with scene.admission.spare() as is_free:
            assert not is_free
        for name in running:
            await scene.end(name)
        assert wide in scene.begun
        await scene.end(wide)

    asyncio.run(run())
