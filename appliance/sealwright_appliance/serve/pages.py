"""The pages of an unadorned box: its state, the activation form, and the secrets with their acknowledgement."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

WEB = Path(__file__).parent / "web"


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(WEB), autoescape=select_autoescape(), undefined=StrictUndefined)


def front(status: dict[str, Any]) -> str:
    """The box's state in words and, while it waits for a claim, the form for it."""
    return _environment().get_template("front.html").render(status=status)


def secrets(reply: dict[str, Any], claim: dict[str, str]) -> str:
    """The customer's secrets, and the button that acknowledges them with the same claim code."""
    return _environment().get_template("secrets.html").render(reply=reply, claim_code=claim["claim_code"])


def acknowledged() -> str:
    """The secrets are erased."""
    return _environment().get_template("acknowledged.html").render()


def refused(reply: dict[str, Any]) -> str:
    """Why a claim was not taken."""
    return _environment().get_template("refused.html").render(reply=reply)


def activation_by_file(status: dict[str, Any]) -> str:
    """The three forms of an activation without a network."""
    return _environment().get_template("activation_by_file.html").render(status=status)


def renewal(status: dict[str, Any]) -> str:
    """The forms of a renewal without a network."""
    return _environment().get_template("renewal.html").render(status=status)


def qr_code(svg: str) -> str:
    """A renewal request as a QR code.

    Args:
        svg: of our own drawing.
    """
    return _environment().get_template("qr_code.html").render(svg=Markup(svg))  # noqa: S704


def renewed(reply: dict[str, Any]) -> str:
    """What has come of a reply file."""
    return _environment().get_template("renewed.html").render(reply=reply)


@cache
def style() -> bytes:
    """The style sheet of all pages."""
    return (WEB / "style.css").read_bytes()
