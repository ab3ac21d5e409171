"""One difference between what evidence shows and what is expected of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sealwright_policies.errors import RejectionCode, VerificationError

LogName = Literal["boot", "userspace"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A rule that denies, where it was broken, and a sentence for people."""

    code: RejectionCode
    sentence: str
    log: LogName | None = None
    """Which log ``event_index`` counts in."""
    event_index: int | None = None
    pcr: int | None = None
    expected: str | None = None
    found: str | None = None

    @classmethod
    def of(cls, error: VerificationError) -> Mismatch:
        """The mismatch that a verifier of one structure raised."""
        expected, found = error.details.get("expected"), error.details.get("found")
        return cls(
            error.code,
            _sentence(str(error).removeprefix(f"{error.code}: ")),
            expected=None if expected is None else str(expected),
            found=None if found is None else str(found),
        )

    def as_dict(self) -> dict[str, object]:
        """The members that are set, for JSON."""
        members: dict[str, object] = {"code": self.code.value, "sentence": self.sentence}
        for name in ("log", "event_index", "pcr", "expected", "found"):
            value = getattr(self, name)
            if value is not None:
                members[name] = value
        return members

    def where(self) -> str:
        """Where it is, as a prefix for the sentence; empty if in no event or PCR."""
        parts = []
        if self.event_index is not None:
            parts.append(f"event {self.event_index} of the {self.log} log")
        if self.pcr is not None:
            parts.append(f"PCR {self.pcr}")
        return f"{', '.join(parts)}: " if parts else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
