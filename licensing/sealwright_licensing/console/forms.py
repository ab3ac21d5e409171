"""What a page's form sends, read strictly. A field that is not what it should be is a FormatError with its name."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError

from sealwright_policies.appraisal.reference_values import VERSION_PATTERN
from sealwright_policies.errors import FormatError

E = TypeVar("E", bound=StrEnum)
M = TypeVar("M", bound=BaseModel)
MOST_FIELDS = 100
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Form:
    """Fields of a form, each with all its values."""

    def __init__(self, fields: Mapping[str, tuple[str, ...]]) -> None:
        self._fields = fields

    def text(self, name: str, *, most: int = 500) -> str:
        """One line of text; empty if it was not sent.

        Raises:
            FormatError: too long, several, or not one line.
        """
        values = self._fields.get(name, ("",))
        value = values[0].strip()
        if len(values) > 1 or len(value) > most or any(ord(one) < 32 or ord(one) == 127 for one in value):
            raise FormatError(f"{name}: expected one line of at most {most} characters.")
        return value

    def number(self, name: str, least: int, most: int) -> int:
        """A whole number.

        Raises:
            FormatError: none, or outside its range.
        """
        given = self.text(name)
        if not re.fullmatch(r"[0-9]{1,15}", given) or not least <= int(given) <= most:
            raise FormatError(f"{name}: expected a whole number from {least} to {most}.")
        return int(given)

    def number_or_none(self, name: str, least: int, most: int) -> int | None:
        """A whole number, or None for an empty field."""
        return self.number(name, least, most) if self.text(name) else None

    def choice(self, name: str, kind: type[E]) -> E:
        """A member of a closed set."""
        given = self.text(name)
        if given not in set(kind):
            raise FormatError(f"{name}: expected one of {', '.join(kind)}.")
        return kind(given)

    def choices(self, name: str, kind: type[E]) -> list[E]:
        """Members of a closed set, of several boxes that can be ticked."""
        given = self._fields.get(name, ())
        if not set(given) <= set(kind):
            raise FormatError(f"{name}: expected some of {', '.join(kind)}.")
        return [kind(one) for one in given]

    def is_ticked(self, name: str) -> bool:
        """Whether a box is ticked."""
        return self.text(name) == "yes"

    def name(self, name: str) -> str:
        """A name as boxes read them."""
        given = self.text(name)
        if not _NAME.fullmatch(given):
            raise FormatError(f"{name}: expected small letters, digits and . _ -, at most 64.")
        return given

    def names(self, name: str) -> list[str]:
        """Names with commas or spaces between them."""
        given = self.text(name, most=4000).replace(",", " ").split()
        for one in given:
            if not _NAME.fullmatch(one):
                raise FormatError(f"{name}: {one!r} is no name: small letters, digits and . _ -, at most 64.")
        return given

    def version(self, name: str) -> str:
        """A product's version."""
        given = self.text(name)
        if not re.fullmatch(VERSION_PATTERN, given):
            raise FormatError(f"{name}: expected a version such as 1.4.")
        return given

    def day_or_none(self, name: str) -> int | None:
        """The beginning of a UTC day, seconds since the epoch; None for an empty field."""
        given = self.text(name)
        if not given:
            return None
        try:
            day = datetime.date.fromisoformat(given)
        except ValueError as error:
            raise FormatError(f"{name}: expected a day such as 2026-12-31.") from error
        return int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp())

    def as_sent(self) -> dict[str, tuple[str, ...]]:
        """All of it, to be shown again."""
        return dict(self._fields)


EMPTY = Form({})


async def read_form(request: Request) -> Form:
    """The form that a request carries; an empty one where it carries none.

    Raises:
        FormatError: it is none.
    """
    if request.method != "POST":
        return EMPTY
    try:
        pairs = parse_qsl(
            (await request.body()).decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError as error:
        raise FormatError("The form cannot be read.") from error
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        fields[name] = (*fields.get(name, ()), value)
    return Form(fields)


def asked(request: Request, kind: type[M]) -> M:
    """What a list is asked for in its address; empty fields are not given.

    Raises:
        FormatError: it cannot be meant.
    """
    given = {name: value for name, value in request.query_params.items() if value}
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise FormatError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
