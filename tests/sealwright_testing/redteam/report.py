"""What the planted programs have printed on a box's console."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one attempt went."""

    succeeded: bool
    detail: str

    @property
    def reason(self) -> str:
        """Of a refusal: the error's name, as EPERM."""
        return self.detail.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Report:
    """The console of a box with something planted in it, at the end."""

    console: str

    def verdicts(self, place: str) -> dict[str, Verdict]:
        """Every attempt from one place, by name."""
        found = re.findall(rf"\bprobe {re.escape(place)} (\S+) (denied|ALLOWED) ?(.*)", self.console)
        return {name: Verdict(word == "ALLOWED", detail) for name, word, detail in found}

    def lines(self, begin: str) -> list[str]:
        """What follows a word at a line's begin, behind the console's own prefix."""
        return re.findall(rf"(?:^|: )\b{re.escape(begin)} (.*)", self.console, re.MULTILINE)
