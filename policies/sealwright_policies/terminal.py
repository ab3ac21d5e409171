"""Text that others have chosen, as a terminal may be given it."""

from __future__ import annotations


def terminal_text(text: str) -> str:
    """One line in which nothing moves a cursor, ends the line or turns text around; such characters become numbers.

    Nothing but what ``str.isprintable`` calls printable is left as it is, so the result is its own.
    """
    return "".join(one if one.isprintable() else _number(one) for one in text)


def _number(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
