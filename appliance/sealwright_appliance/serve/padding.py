"""Replies of a size that says little: who listens to the encrypted stream sees lengths, and so what was said.

A piece of a stream has a token in it, and sequences of token lengths give texts away (Weiss et al., "What Was Your
Prompt? A Remote Keylogging Attack on AI Assistants", 2024). How many pieces there are, and when, is still seen.
"""

from __future__ import annotations

EVENT_END = b"\n\n"
_COMMENT = 2
"""Bytes of an empty comment: a colon and its line end."""


def padded_events(events: bytes, step: int) -> bytes:
    """Fill each server-sent event up to a multiple of ``step`` bytes, by a comment before its data.

    A reader of event streams passes over comments (HTML, 9.2.6).

    Args:
        events: whole ones.
        step: 0 for as they are.
    """
    if step == 0:
        return events
    if events.count(EVENT_END) == 1:
        return _padded(events, step)
    return b"".join(_padded(event + EVENT_END, step) for event in events.split(EVENT_END) if event)


def padded_document(document: bytes, step: int) -> bytes:
    """Fill a JSON document up with spaces, which no reader of JSON minds (RFC 8259, 2)."""
    return document + b" " * (-len(document) % step) if step else document


def _padded(event: bytes, step: int) -> bytes:
    return b":" + b"." * (-(len(event) + _COMMENT) % step) + b"\n" + event
