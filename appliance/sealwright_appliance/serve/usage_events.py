"""What an engine's events say of usage: counted, and kept from a client that did not ask for it.

Almost every block is a token and is only scanned, which costs a few hundred nanoseconds. Within text JSON escapes
quotes, so none of the marks can stand there.
"""

from __future__ import annotations

import json

from sealwright_appliance.serve.meter import Tally

EVENT_END = b"\n\n"
DATA = b"data: "
GOES_ON = b'"finish_reason":null'
"""In each event of a token, and in those of :data:`ROLE`."""
ROLE = b'"role":"assistant"'
"""In the first event of a choice, and in those of progress through the prompt."""
PROGRESS = b'"prompt_progress"'
USAGE = b'"choices":[]'
TIMINGS, DETAILS = b'"timings":{', b'"prompt_tokens_details":{'
TIMED = b'"predicted_n"'
MOST = 2**32
"""Tokens of one request, for an engine that went wrong."""


def count_events(block: bytes, tally: Tally, *, show_usage: bool) -> bytes:
    """Count whole events, and return those that are the client's."""
    tally.tokens_seen += block.count(GOES_ON)
    if ROLE not in block and USAGE not in block and TIMINGS not in block:
        return block
    events = (event for event in block.split(EVENT_END) if event)
    return b"".join(without_cache(event) + EVENT_END for event in events if _is_shown(event, tally, show_usage))


class CallCount:
    """Counts the tokens of replies with tools, of which the engine says in each event how many there were."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._by_choice: dict[int, int] = {}

    def add(self, block: bytes) -> None:
        """Count whole events, instead of what :func:`count_events` makes of them."""
        for event in block.split(EVENT_END):
            if TIMED in event and USAGE not in event:
                choice = _choice(event)
                made = told(event, "timings", "predicted_n")
                self._by_choice[choice] = max(self._by_choice.get(choice, 0), made)
        self._tally.tokens_seen = sum(self._by_choice.values())


def _choice(event: bytes) -> int:
    """The choice that an event belongs to."""
    try:
        return int(json.loads(event[len(DATA) :])["choices"][0]["index"])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return 0


def _is_shown(event: bytes, tally: Tally, show_usage: bool) -> bool:
    if PROGRESS in event:
        tally.tokens_seen -= 1
        tally.prompt_seen = max(tally.prompt_seen, told(event, "prompt_progress", "processed"))
        return False
    if ROLE in event:
        tally.tokens_seen -= 1
    elif USAGE in event:
        tally.used(told(event, "usage", "prompt_tokens"), told(event, "usage", "completion_tokens"))
        return show_usage
    return True


def without_cache(event: bytes) -> bytes:
    """An event without what the engine had kept of its prompt: somebody else may have asked it before.

    How long a prompt takes says the same, less exactly.
    """
    if TIMINGS not in event and DETAILS not in event:
        return event
    chunk = json.loads(event[len(DATA) :])
    chunk.pop("timings", None)
    (chunk.get("usage") or {}).pop("prompt_tokens_details", None)
    return DATA + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode()


def told(event: bytes, member: str, name: str) -> int:
    """A number that the engine says; 0 for what is none, since an engine that went wrong must not stop the meter."""
    try:
        found = json.loads(event[len(DATA) :])[member][name]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return min(max(found, 0), MOST) if isinstance(found, int) else 0
