"""The pages of an unadorned box: its state, the activation form, and the secrets that are shown once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

WEB = Path(__file__).parent / "web"


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(WEB), autoescape=select_autoescape(), undefined=StrictUndefined)


def front(status: dict[str, Any]) -> str:
    """The box's state in words and, while it waits for one, the activation form."""
    return _environment().get_template("front.html").render(status=status)


def activated(reply: dict[str, Any], *, ok: bool) -> str:
    """What the activation answered: the secrets, once, or why not."""
    return _environment().get_template("activated.html").render(reply=reply, ok=ok)


@cache
def style() -> bytes:
    """The style sheet of both pages."""
    return (WEB / "style.css").read_bytes()
