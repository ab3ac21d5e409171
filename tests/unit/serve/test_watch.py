"""A key that looks like copying waits, then is refused; what is known outlives the gateway until it is cleared."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from sealwright_appliance.outflow.extraction import HARVEST_MOST, SWEEPS_MOST, Sign
from sealwright_appliance.outflow.key_states import (
    STATES_MOST,
    KeyState,
    KeyStates,
    KnownKeys,
    with_cleared,
    with_counted,
)
from sealwright_appliance.serve.errors import ApiError, budgets_unreadable
from sealwright_appliance.serve.meter import Meter
from sealwright_appliance.serve.watch import KEYS_MOST, SENT_AT_ONCE, Watch
from sealwright_policies.outflow import STRICTEST, OutflowPolicy, Reaction

WARD = ("medical", "ward")
BEGINNING = "long beginning that is the same in every one of these prompts and has more than sixteen words in it"


@dataclass
class Scene:
    """A clock, and an agent that keeps what it is told."""

    now: float = 0.0
    ahead_s: float = 0.0
    """The agent's calendar, less the clock."""
    kept: KeyStates = field(default_factory=KeyStates)
    refuses: bool = False
    raised: list[KeyState] = field(default_factory=list)

    async def report(self, counted: Sequence[KeyState]) -> None:
        if self.refuses:
            raise budgets_unreadable()
        assert len(counted) <= SENT_AT_ONCE
        self.kept, raised = with_counted(self.kept, counted, int(self.now))
        self.raised += raised

    def watch(self) -> Watch:
        return Watch(self.report, lambda: self.now, b"0" * 16)

    async def admit(
        self, watch: Watch, policy: OutflowPolicy = STRICTEST, prompts: int = 1, name: tuple[str, str] = WARD
    ) -> None:
        states = {(one.model, one.key): one for one in self.kept.states}
        await watch.admit(name, policy, KnownKeys(states, self.ahead_s), prompts=prompts)

    async def sweep(self, watch: Watch, count: int, first: int = 0) -> None:
        for number in range(first, first + count):
            await self.admit(watch, OutflowPolicy(on_extraction=Reaction.ALERT))
            watch.observe(WARD, [("user", f"{BEGINNING} {number}")], self.now, 1)
            self.now += 1.0


def test_a_sweep_comes_to_alarm_and_then_to_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)

    async def run() -> None:
        scene = Scene()
        watch = scene.watch()
        await scene.sweep(watch, int(SWEEPS_MOST) - 2)
        await scene.admit(watch)
        assert slept == []
        await scene.sweep(watch, 20, first=1000)
        for _ in range(7):
            await scene.admit(watch)
        assert slept == [0, 10, 20, 30, 40, 50, 60]
        with pytest.raises(ApiError) as caught:
            await scene.admit(watch)
        assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        assert caught.value.retry_after_s == 70
        await scene.sweep(watch, int(SWEEPS_MOST), first=2000)
        with pytest.raises(ApiError) as caught:
            await scene.admit(watch)
        assert caught.value.retry_after_s == 3600
        await watch.send()
        assert [(one.sign, one.level) for one in scene.raised] == [(Sign.PREFIX_SWEEP, 2)]

    asyncio.run(run())


def test_several_prompts_at_once_are_several_requests() -> None:
    """For what a minute allows, and for the signs of copying."""

    async def run() -> None:
        scene = Scene()
        watch, policy = scene.watch(), OutflowPolicy(requests_per_minute=3, on_extraction=Reaction.ALERT)
        await scene.admit(watch, policy, prompts=2)
        with pytest.raises(ApiError) as caught:
            await scene.admit(watch, policy, prompts=2)
        assert (caught.value.code, caught.value.retry_after_s) == ("rate_limit_exceeded", 20)
        with pytest.raises(ApiError) as caught:
            await scene.admit(watch, policy, prompts=4)
        assert caught.value.status == 400
        await scene.admit(watch, policy)
        prompts = [[("user", f"{BEGINNING} {number}")] for number in range(int(SWEEPS_MOST) + 2)]
        async with watch.over(WARD, prompts, Meter().tally(*WARD)):
            pass
        await watch.send()
        assert [one.sign for one in scene.raised] == [Sign.PREFIX_SWEEP]

    asyncio.run(run())


def test_a_key_asks_so_often_in_a_minute() -> None:
    async def run() -> None:
        scene = Scene()
        watch, policy = scene.watch(), OutflowPolicy(requests_per_minute=3)
        for _ in range(3):
            await scene.admit(watch, policy)
        with pytest.raises(ApiError) as caught:
            await scene.admit(watch, policy)
        assert (caught.value.code, caught.value.retry_after_s) == ("rate_limit_exceeded", 20)
        scene.now += 20
        await scene.admit(watch, policy)

    asyncio.run(run())


def test_it_outlives_the_gateway_and_ends_when_it_is_cleared() -> None:
    async def run() -> None:
        scene = Scene()
        watch = scene.watch()
        await scene.sweep(watch, 2 * int(SWEEPS_MOST) + 10)
        await watch.send()
        watch = scene.watch()
        with pytest.raises(ApiError):
            await scene.admit(watch)
        await watch.send()
        scene.kept = with_cleared(scene.kept, "ward")
        await scene.admit(watch)
        await scene.sweep(watch, 5, first=5000)
        await watch.send()
        assert [(one.cleared, one.level) for one in scene.kept.states] == [(1, 0)]
        assert 0 < scene.kept.states[0].sweeps < 10

    asyncio.run(run())


def test_a_restart_is_no_rest() -> None:
    """Day and night with a pause behind each reply, on a box that is off for a while each twenty hours: whoever copies
    has its switch. Its clock begins anew each time, the budgets' calendar goes on."""

    async def run() -> None:
        scene, alert = Scene(), OutflowPolicy(on_extraction=Reaction.ALERT)
        for start in range(3):
            watch = scene.watch()
            for number in range(20 * 60):
                await scene.admit(watch, alert)
                question = " ".join(f"{start}x{number}x{at}" for at in range(20))
                tally = Meter().tally(*WARD)
                tally.tokens_seen = 600
                async with watch.over(WARD, [[("user", question)]], tally):
                    pass
                scene.now += 60
            await watch.send()
            (kept,) = scene.kept.states
            assert kept.at_s == scene.now + scene.ahead_s - 60
            assert max(kept.hours) == 60
            scene.ahead_s, scene.now = scene.now + scene.ahead_s + 600, 0.0
        assert (kept.sign, kept.level) == (Sign.HARVEST, 2)

    asyncio.run(run())


def test_a_key_whose_prompts_are_forgotten_meanwhile_is_counted() -> None:
    """Requests that are under way while more keys ask than prompts are remembered of."""

    async def run() -> None:
        scene = Scene()
        watch = scene.watch()
        names = [("medical", f"key-{number}") for number in range(KEYS_MOST + 44)]
        for name in names:
            await scene.admit(watch, name=name)
        for name in names:
            watch.observe(name, [("user", f"{BEGINNING} {name}")], scene.now, 100)
        await watch.send()
        assert {one.requests for one in scene.kept.states} == {1.0}
        assert len(scene.kept.states) == len(names)
        for name in names:
            watch.observe(name, [("user", f"{BEGINNING} another")], scene.now, 100)
        await watch.send()
        assert {round(one.requests) for one in scene.kept.states} == {2}

    asyncio.run(run())


def test_it_fades_when_nothing_of_the_kind_comes_any_more() -> None:
    async def run() -> None:
        scene = Scene()
        watch = scene.watch()
        await scene.sweep(watch, 2 * int(SWEEPS_MOST) + 10)
        scene.now += 3 * 86_400
        await scene.admit(watch)
        await watch.send()
        assert (scene.kept.states[0].level, scene.kept.states[0].sign) == (0, None)

    asyncio.run(run())


def test_counts_from_before_it_was_cleared_are_not_taken() -> None:
    old = KeyState(model="medical", key="ward", level=2, sign=Sign.HARVEST, harvest=HARVEST_MOST)
    kept, raised = with_counted(KeyStates(), [old], 7)
    assert (raised[0].since_s, kept.states) == (7, (old.model_copy(update={"since_s": 7}),))
    cleared = with_cleared(kept, "ward")
    assert with_counted(cleared, [old], 8) == (cleared, [])


def test_what_could_not_be_told_is_told_later() -> None:
    async def run() -> None:
        scene = Scene(refuses=True)
        watch = scene.watch()
        await scene.sweep(watch, 3)
        with pytest.raises(ApiError):
            await watch.send()
        scene.refuses = False
        await watch.send()
        assert len(scene.kept.states) == 1

    asyncio.run(run())


def test_a_new_level_is_told_at_once() -> None:
    async def run() -> None:
        scene = Scene()
        watch = scene.watch()
        async with watch.running():
            await scene.sweep(watch, int(SWEEPS_MOST) + 10)
            while not scene.raised:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_the_agent_keeps_no_more_than_it_has_room_for_and_alarms_first() -> None:
    alarm = KeyState(model="medical", key="ward", level=1, sign=Sign.HARVEST)
    others = [KeyState(model="medical", key=f"key-{number}", harvest_slow=1.0) for number in range(STATES_MOST)]
    kept, _ = with_counted(KeyStates(), [*others, alarm], 0)
    assert len(kept.states) == STATES_MOST
    assert kept.states[0].key == "ward"
