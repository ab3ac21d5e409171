"""Reads a domain file: bounded, strict, every problem with line and key (policies/spec/domain.md, 1)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from sealwright_policies.domains.model import Domain
from sealwright_policies.errors import FormatError
from sealwright_policies.toml_location import dotted, find_line, parse_toml, problem_sentence

DOMAIN_FILE_LIMIT = 64 * 1024
"""Bytes."""
PROBLEMS_MOST = 20
"""Told of one file."""

Location = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class DomainFile:
    """A domain and the text it came from, so that a refusal can name a line."""

    file: str
    """As the user named it."""
    text: str
    domain: Domain

    def line(self, location: Location) -> int:
        """Where a key stands, or the table that it would stand in."""
        return find_line(self.text, location)

    def place(self, location: Location) -> str:
        """Where a key stands, for a sentence; a key that is not there holds by its default."""
        first = str(location[0])
        if not any(name in self.domain.model_fields_set for name in (first, f"{first}_")):
            return f"{self.file} has no {first}"
        return f"{self.file}: line {self.line(location)}"


def parse_domain(data: bytes, file: str) -> DomainFile:
    """Parse the bytes of a domain file; ``file`` is how errors call it.

    Raises:
        FormatError: too long, not UTF-8, not TOML, a key missing, unknown, of another type or out of its range. One
            line for each problem, with file, line and key.
    """
    if len(data) > DOMAIN_FILE_LIMIT:
        raise FormatError(f"{file}: {len(data)} bytes, at most {DOMAIN_FILE_LIMIT} are allowed.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise FormatError(f"{file}: line {line}: not UTF-8.") from error
    try:
        values = parse_toml(text)
        # Through JSON: in strict mode pydantic takes arrays and names for tuples and enums from JSON alone. A date
        # becomes a number, which no key takes.
        return DomainFile(file, text, Domain.model_validate_json(json.dumps(values, default=lambda date: math.nan)))
    except FormatError as error:
        raise FormatError(f"{file}: {error}.") from error
    except RecursionError as error:
        raise FormatError(f"{file}: nested too deep.") from error
    except ValidationError as error:
        raise FormatError("\n".join(_problems(error, text, file))) from error


def _problems(error: ValidationError, text: str, file: str) -> list[str]:
    problems = error.errors(include_url=False, include_context=False)
    return [
        f"{file}: line {find_line(text, one['loc'])}: {dotted(one['loc']) or 'file'}: {problem_sentence(one)}"
        for one in problems[:PROBLEMS_MOST]
    ]
