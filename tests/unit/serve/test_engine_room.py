"""Models in a bounded memory: who is loaded, who has to go, and that nobody is cut or forgotten."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import pytest

from sealwright_appliance.serve.engine_room import PAUSE_MOST_S, QUIET_S, STAY_S, EngineRoom, Presence
from sealwright_appliance.serve.errors import ApiError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Stage:
    """Engines that do as told. It is a fault to have more in memory than fits, or to stop one that is in use."""

    def __init__(self, room_mib: int, needs: dict[str, int], running: tuple[str, ...] = ()) -> None:
        self.clock = Clock()
        self.room = EngineRoom(room_mib, needs, self, self.clock)
        self.needs, self.running = needs, set(running)
        self.orders: list[str] = []
        self.failures: dict[str, ApiError] = {}
        self.hold = asyncio.Event()
        self.hold.set()

    async def running_engines(self) -> set[str]:
        return set(self.running)

    async def load_engine(self, model: str) -> None:
        self.orders.append(f"+{model}")
        self.running.add(model)
        assert sum(self.needs[one] for one in self.running) <= self.room.room_mib
        await self.hold.wait()
        if model in self.failures:
            raise self.failures[model]

    async def unload_engine(self, model: str) -> None:
        assert self.room.tenant(model).uses == 0
        self.orders.append(f"-{model}")
        await asyncio.sleep(0)
        if f"-{model}" in self.failures:
            raise self.failures[f"-{model}"]
        self.running.discard(model)

    @asynccontextmanager
    async def used(self, model: str) -> AsyncIterator[None]:
        async with self.room.use(model):
            assert model in self.running
            yield
            assert model in self.running

    async def once(self, model: str) -> None:
        async with self.used(model):
            await asyncio.sleep(0)


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


Play = Callable[[], Coroutine[None, None, None]]


def played(play: Play) -> None:
    asyncio.run(asyncio.wait_for(play(), 20))


def test_models_that_fit_together_are_loaded_once() -> None:
    async def play() -> None:
        stage = Stage(10, {"a": 5, "b": 5}, running=("a",))
        for model in "abab":
            await stage.once(model)
        assert stage.orders == ["+b"]
        await stage.room.close()

    played(play)


def test_the_least_recently_used_makes_room() -> None:
    async def play() -> None:
        stage = Stage(10, {"a": 5, "b": 5, "c": 5})
        for model in ("a", "b", "a", "c", "a", "b"):
            stage.clock.now += 1
            await stage.once(model)
        assert stage.orders == ["+a", "+b", "-b", "+c", "-c", "+b"]
        assert (stage.room.tenant("b").loads, stage.room.tenant("b").unloads) == (2, 1)
        await stage.room.close()

    played(play)


def test_as_many_as_are_needed_make_room_and_no_more() -> None:
    async def play() -> None:
        stage = Stage(10, {"a": 3, "b": 3, "c": 3, "d": 6})
        for model in "abcd":
            stage.clock.now += 1
            await stage.once(model)
        assert stage.orders == ["+a", "+b", "+c", "-a", "-b", "+d"]
        await stage.room.close()

    played(play)


def test_a_model_in_use_ends_its_requests_and_takes_no_further_ones_before_it_goes() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5})
        async with stage.used("a"):
            stage.clock.now += STAY_S + 1
            waits = asyncio.create_task(stage.once("b"))
            await settled()
            late = asyncio.create_task(stage.once("a"))
            await settled()
            assert stage.orders == ["+a"]
            assert stage.room.tenant("a").presence is Presence.LEAVING
            assert not waits.done()
            assert not late.done()
        await waits
        await late
        assert stage.orders == ["+a", "-a", "+b", "-b", "+a"]
        await stage.room.close()

    played(play)


def test_a_busy_model_stays_for_a_while_behind_its_loading() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5})
        async with stage.used("a"):
            waits = asyncio.create_task(stage.once("b"))
            await settled()
            await stage.once("a")
            waits.cancel()
        await stage.once("a")
        assert stage.orders == ["+a"]
        await stage.room.close()

    played(play)


def test_a_model_stays_when_whoever_wanted_its_room_has_gone() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5})
        async with stage.used("a"):
            stage.clock.now += STAY_S + 1
            waits = asyncio.create_task(stage.once("b"))
            await settled()
            late = asyncio.create_task(stage.once("a"))
            await settled()
            waits.cancel()
            await late
        assert stage.orders == ["+a"]
        await stage.room.close()

    played(play)


def test_those_who_have_waited_for_a_model_are_let_in_before_it_makes_room_again() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5})
        async with stage.used("a"):
            stage.clock.now += STAY_S + 1
            waiting = [asyncio.create_task(stage.once("b")) for _ in range(3)]
            await settled()
            waiting += [asyncio.create_task(stage.once("a")) for _ in range(3)]
            await settled()
        await asyncio.gather(*waiting)
        assert stage.orders == ["+a", "-a", "+b", "-b", "+a"]
        await stage.room.close()

    played(play)


def test_who_comes_later_does_not_take_the_room_that_an_earlier_one_waits_for() -> None:
    async def play() -> None:
        stage = Stage(10, {"a": 5, "large": 10, "small": 5}, running=("a",))
        async with stage.used("a"):
            first = asyncio.create_task(stage.once("large"))
            await settled()
            second = asyncio.create_task(stage.once("small"))
            await settled()
            assert stage.orders == []
        await first
        await second
        assert stage.orders == ["-a", "+large", "-large", "+small"]
        await stage.room.close()

    played(play)


def test_a_model_that_does_not_load_refuses_all_who_wait_and_takes_no_room() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5})
        stage.failures["a"] = ApiError(503, "ENGINE_FAILED", "It does not load.")
        for outcome in await asyncio.gather(stage.once("a"), stage.once("a"), return_exceptions=True):
            assert isinstance(outcome, ApiError)
            assert outcome.code == "ENGINE_FAILED"
        await stage.once("b")
        assert stage.orders == ["+a", "-a", "+b"]
        await stage.room.close()

    played(play)


def test_a_model_that_does_not_load_is_tried_again_after_pauses_that_grow() -> None:
    """Meanwhile who asks is refused at once, and hears for how long; nobody else leaves for it."""

    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5}, running=("b",))
        stage.failures["a"] = ApiError(503, "engine_unavailable", "It is being loaded.", retry_after_s=2)
        pauses = []
        for _ in range(6):
            with pytest.raises(ApiError):
                await stage.once("a")
            orders = list(stage.orders)
            with pytest.raises(ApiError) as refused:
                await stage.once("a")
            assert stage.orders == orders
            assert refused.value.code == "engine_unavailable"
            assert refused.value.retry_after_s is not None
            pauses.append(refused.value.retry_after_s)
            stage.clock.now += refused.value.retry_after_s
        assert pauses == [2, 4, 8, 16, PAUSE_MOST_S, PAUSE_MOST_S]
        del stage.failures["a"]
        await stage.once("a")
        stage.clock.now += 1
        await stage.once("b")
        stage.failures["a"] = ApiError(503, "engine_unavailable", "It is being loaded.", retry_after_s=2)
        with pytest.raises(ApiError):
            await stage.once("a")
        stage.clock.now += 2
        del stage.failures["a"]
        await stage.once("a")
        await stage.room.close()

    played(play)


def test_a_model_that_does_not_stop_refuses_who_wanted_its_room_and_still_serves() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5}, running=("a",))
        stage.failures["-a"] = ApiError(503, "agent_unavailable", "")
        with pytest.raises(ApiError) as refused:
            await stage.once("b")
        assert refused.value.code == "agent_unavailable"
        await stage.once("a")
        assert stage.orders == ["-a"]
        await stage.room.close()

    played(play)


def test_a_client_that_leaves_while_a_model_loads_holds_nothing() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5, "b": 5})
        stage.hold.clear()
        leaves = asyncio.create_task(stage.once("a"))
        await settled()
        leaves.cancel()
        stage.hold.set()
        await stage.once("b")
        assert stage.room.tenant("a").uses == 0
        assert stage.orders == ["+a", "-a", "+b"]
        await stage.room.close()

    played(play)


def test_a_client_that_leaves_in_the_moment_in_which_it_is_let_in_holds_nothing() -> None:
    async def play() -> None:
        stage = Stage(5, {"a": 5})
        stage.hold.clear()
        leaves = asyncio.create_task(stage.once("a"))
        await settled()
        stage.hold.set()
        await asyncio.sleep(0)
        assert stage.room.tenant("a").uses == 1
        leaves.cancel()
        await settled()
        assert leaves.cancelled()
        assert stage.room.tenant("a").uses == 0
        await stage.room.close()

    played(play)


@pytest.mark.parametrize("seed", range(20))
def test_in_a_crowd_everybody_gets_there_and_the_room_suffices(seed: int) -> None:
    """Clients that come, stay, leave early; :class:`Stage` looks at memory and uses at every step."""

    async def play() -> None:
        chance = random.Random(seed)
        needs = {name: chance.randint(1, 6) for name in "abcde"}
        stage = Stage(8, needs)

        async def client() -> None:
            await asyncio.sleep(chance.random() / 100)
            async with stage.used(chance.choice("abcde")):
                stage.clock.now += chance.random() * 3
                await asyncio.sleep(chance.random() / 100)

        clients = [asyncio.create_task(client()) for _ in range(60)]
        for one in chance.sample(clients, 15):
            asyncio.get_running_loop().call_later(chance.random() / 50, one.cancel)

        async def passing() -> None:
            while True:
                await asyncio.sleep(0.001)
                stage.clock.now += 0.5

        time_passes = asyncio.create_task(passing())
        outcomes = await asyncio.gather(*clients, return_exceptions=True)
        time_passes.cancel()
        assert not [one for one in outcomes if isinstance(one, Exception)]
        assert all(stage.room.tenant(name).uses == 0 for name in needs)
        with suppress(asyncio.CancelledError):
            await time_passes
        await stage.room.close()

    played(play)


def test_an_engine_that_is_to_be_renewed_ends_its_requests_and_is_started_anew() -> None:
    """At once if nobody uses it; whoever comes meanwhile waits for the new one."""

    async def play() -> None:
        stage = Stage(10, {"a": 5}, running=("a",))
        async with stage.used("a"):
            stage.room.renew("a")
            late = asyncio.create_task(stage.once("a"))
            await settled()
            assert stage.orders == []
            assert not late.done()
        await late
        assert stage.orders == ["-a", "+a"]
        stage.room.renew("a")
        await settled()
        assert stage.orders == ["-a", "+a", "-a"]
        stage.room.renew("a")  # it is out
        await stage.once("a")
        assert stage.orders == ["-a", "+a", "-a", "+a"]

    played(play)


def test_a_renewal_while_it_is_loaded_comes_behind_and_one_that_fails_hangs_nobody() -> None:
    async def play() -> None:
        stage = Stage(10, {"a": 5})
        stage.hold.clear()
        first = asyncio.create_task(stage.once("a"))
        await settled()
        stage.room.renew("a")
        stage.hold.set()
        await first
        await settled()
        assert stage.orders == ["+a", "-a"]
        await stage.once("a")
        stage.failures["-a"] = ApiError(503, "x", "It does not stop.")
        stage.room.renew("a")
        await settled()
        await stage.once("a")
        assert stage.orders == ["+a", "-a", "+a", "-a"]

    played(play)


def test_the_box_takes_no_room_that_requests_have_used_of_late() -> None:
    """Its own work loads a model beside them, or when they have long been quiet; never while somebody waits."""

    async def run() -> None:
        stage = Stage(10, {"a": 6, "b": 6, "c": 4}, ("a",))
        await stage.room.learn()
        assert [stage.room.spares(one) for one in "abc"] == [True, False, True]
        stage.clock.now += QUIET_S + 1
        assert stage.room.spares("b")
        async with stage.used("a"):
            assert not stage.room.spares("b")
        assert not stage.room.spares("b")
        stage.clock.now += QUIET_S + 1
        stage.hold.clear()
        waiting = asyncio.create_task(stage.once("c"))
        await settled()
        assert not stage.room.spares("b")
        stage.hold.set()
        await waiting
        assert stage.orders == ["+c"]

    asyncio.run(run())
