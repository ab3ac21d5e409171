"""Who acts on the service: the command line, a program with an API token, or a person at the console."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ActorKind(StrEnum):
    """How an actor came in."""

    CLI = "cli"
    TOKEN = "token"  # noqa: S105
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor as the journal names it."""

    kind: ActorKind
    name: str
    """User of the machine, name of the token, or of the person. Never a secret."""
