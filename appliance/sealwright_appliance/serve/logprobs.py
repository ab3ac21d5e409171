"""Log probabilities as the policy of a model lets them out: no more of them than asked for, and rounded.

Hundredths are enough to see how sure a model is. Copying its last layer takes the numbers as they are: what is computed
from them is only as exact as they.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

DATA = b"data: "
EVENT_END = b"\n\n"
DIGITS = 2
"""Behind the point, of a natural logarithm."""
_MARK = b'"logprobs"'


def rounded_events(events: bytes, top: int) -> bytes:
    """Whole events with their numbers rounded, at most ``top`` alternatives each, and no token ids."""
    if _MARK not in events:
        return events
    return b"".join(_rounded(event, top) + EVENT_END for event in events.split(EVENT_END) if event)


def _rounded(event: bytes, top: int) -> bytes:
    if _MARK not in event or not event.startswith(DATA):
        return event
    chunk = json.loads(event[len(DATA) :])
    for choice in chunk["choices"]:
        content = (choice.get("logprobs") or {}).get("content")
        choice["logprobs"] = None if content is None else {"content": rounded(content, top)}
    return DATA + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode()


def rounded(content: Sequence[dict[str, Any]], top: int) -> list[dict[str, Any]]:
    """The numbers of some tokens, at most ``top`` alternatives each, and no token ids."""
    return [_position(one, top) for one in content]


def _position(one: dict[str, Any], top: int) -> dict[str, Any]:
    return _token(one) | {"top_logprobs": [_token(other) for other in one["top_logprobs"][:top]]}


def _token(one: dict[str, Any]) -> dict[str, Any]:
    return {"token": one["token"], "logprob": round(one["logprob"], DIGITS), "bytes": one["bytes"]}
