"""How much memory engines may have together, how long their contexts may be in it, and which of them fit: pure rules.

Sizes are MiB, contexts tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sealwright_policies.engines import EngineNeed

MIB = 1024 * 1024
CACHE_SHARE = 8
"""One part in so many of the box's memory may hold the state of past prompts, all engines together."""
BOX_MIB = 640
"""Kernel, services, gateway and agent, with buffers of a thousand connections."""
CONTEXT_LEAST = 4096
"""Contexts are cut to what the machine has memory for, but not below this: models take turns before."""
CONTEXT_STEP = 256
"""To whole multiples of which llama.cpp makes a context."""


def engine_room_mib(memory_mib: int) -> int:
    """What all engines together may have of a box with so much memory."""
    return max(0, memory_mib - memory_mib // CACHE_SHARE - BOX_MIB)


def need_mib(need: EngineNeed, longest: int) -> int:
    """What an engine takes with its context cut to ``longest``."""
    return need.memory_mib - (-min(need.context, longest) * need.token_bytes // MIB)


def longest_context(room_mib: int, needs: Collection[EngineNeed]) -> int:
    """The length to which contexts are cut: so that all models fit together; if they cannot, so that each fits alone.

    Models that do not even fit alone with the least context do not count: none of them is ever loaded.
    """
    loaded = [need for need in needs if need_mib(need, CONTEXT_LEAST) <= room_mib]
    together = _longest(loaded, lambda taken: sum(taken) <= room_mib)
    if together >= CONTEXT_LEAST:
        return together
    return max(CONTEXT_LEAST, _longest(loaded, lambda taken: max(taken, default=0) <= room_mib))


def _longest(needs: Collection[EngineNeed], fits: Callable[[list[int]], bool]) -> int:
    """The longest context with which engines fit; negative if they do with none. Never much longer than is wanted."""
    most = max(CONTEXT_LEAST, *(need.context for need in needs)) if needs else CONTEXT_LEAST
    steps = range(-(-most // CONTEXT_STEP) + 1)

    def is_too_long(count: int) -> bool:
        return not fits([need_mib(need, count * CONTEXT_STEP) for need in needs])

    return (bisect_left(steps, True, key=is_too_long) - 1) * CONTEXT_STEP


@dataclass(frozen=True, slots=True)
class Placement:
    """Which engines fit into the room that there is, by their needs in the order of the release."""

    room_mib: int
    needs: Mapping[str, int]

    @property
    def first(self) -> tuple[str, ...]:
        """Those that are loaded as the box starts: each that fits beside the ones before it."""
        chosen, left = [], self.room_mib
        for name, need in self.needs.items():
            if need <= left:
                chosen.append(name)
                left -= need
        return tuple(chosen)

    @property
    def most_at_once(self) -> int:
        """How many can ever be loaded together; at least 1."""
        count, left = 0, self.room_mib
        for need in sorted(self.needs.values()):
            left -= need
            count += left >= 0
        return max(1, count)
