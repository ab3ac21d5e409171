"""Why a set of domains is refused: one problem at one line, with the line upstream that forbids it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sealwright_policies.domains.reader import DomainFile, Location
from sealwright_policies.errors import RejectionCode
from sealwright_policies.toml_location import dotted


@dataclass(frozen=True, slots=True)
class Problem:
    """One refusal."""

    code: RejectionCode
    domain: str
    file: str
    line: int
    key: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}: line {self.line}: {self.key}: {self.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "code": self.code.value,
            "domain": self.domain,
            "file": self.file,
            "line": self.line,
            "key": self.key,
            "sentence": self.sentence,
        }


def problem_at(source: DomainFile, location: Location, code: RejectionCode, sentence: str) -> Problem:
    """A problem at a key of a file."""
    return Problem(code, source.domain.name, source.file, source.line(location), dotted(location), sentence)
