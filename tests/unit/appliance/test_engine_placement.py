"""Which engines fit into a box's memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.engine_placement import (
    BOX_MIB,
    CACHE_SHARE,
    CONTEXT_LEAST,
    CONTEXT_STEP,
    Placement,
    engine_room_mib,
    longest_context,
    need_mib,
)
from sealwright_policies.engines import EngineNeed

NEEDS = st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 3000), max_size=6)


def test_the_box_itself_and_past_prompts_have_their_share() -> None:
    assert engine_room_mib(16 * 1024) == 16 * 1024 * (CACHE_SHARE - 1) // CACHE_SHARE - BOX_MIB
    assert engine_room_mib(256) == 0


def test_those_that_fit_beside_the_ones_before_them_are_loaded_first() -> None:
    placement = Placement(1000, {"a": 600, "b": 500, "c": 400, "d": 1001})
    assert placement.first == ("a", "c")
    assert placement.most_at_once == 2


@given(room=st.integers(0, 5000), needs=NEEDS)
def test_what_is_loaded_first_fits_and_nothing_that_is_left_out_would(room: int, needs: dict[str, int]) -> None:
    placement = Placement(room, needs)
    taken = sum(needs[name] for name in placement.first)
    assert taken <= room
    assert all(taken + need > room for name, need in needs.items() if name not in placement.first)
    assert placement.most_at_once >= max(1, len(placement.first))


MIB = 1024 * 1024
ENGINES = st.lists(
    st.builds(
        EngineNeed, memory_mib=st.integers(1, 3000), context=st.integers(0, 200_000), token_bytes=st.integers(0, MIB)
    ),
    max_size=5,
)


def engine(memory_mib: int, context: int, token_bytes: int = MIB // 16) -> EngineNeed:
    return EngineNeed(memory_mib=memory_mib, context=context, token_bytes=token_bytes)


def test_contexts_are_cut_before_models_take_turns() -> None:
    """Sixteen tokens are a MiB here: 6000 MiB are left for 96 000 tokens of two models."""
    pair = [engine(1000, 131_072), engine(1000, 131_072)]
    assert longest_context(8000, pair) == 48_000 // CONTEXT_STEP * CONTEXT_STEP
    assert longest_context(100_000, pair) >= 131_072
    assert (
        longest_context(8000, [engine(1000, 131_072), engine(1000, 8192)]) == 5488 * 16 // CONTEXT_STEP * CONTEXT_STEP
    )


def test_models_that_cannot_be_loaded_together_have_the_context_that_fits_alone() -> None:
    pair = [engine(5000, 131_072), engine(2900, 131_072)]
    assert longest_context(8000, pair) == 48_000 // CONTEXT_STEP * CONTEXT_STEP


def test_a_model_that_never_fits_cuts_nobody_elses_context() -> None:
    assert longest_context(8000, [engine(9000, 4096), engine(1000, 32_768)]) >= 32_768
    assert longest_context(8000, [engine(9000, 131_072)]) >= CONTEXT_LEAST


@given(room=st.integers(0, 8000), needs=ENGINES)
def test_whoever_fits_with_the_least_context_fits_with_the_chosen_one(room: int, needs: list[EngineNeed]) -> None:
    longest = longest_context(room, needs)
    assert longest >= CONTEXT_LEAST
    fitting = [need for need in needs if need_mib(need, CONTEXT_LEAST) <= room]
    assert all(need_mib(need, longest) <= room for need in fitting)
    if sum(need_mib(need, CONTEXT_LEAST) for need in fitting) <= room:
        assert sum(need_mib(need, longest) for need in fitting) <= room
