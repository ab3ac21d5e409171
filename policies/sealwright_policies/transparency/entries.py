"""Entries of the log (policies/spec/transparency.md, 4): the one list of what may stand in it.

An entry is pseudonymous and holds no secret: ids, codes, times, and digests of rows. What is not a field here cannot
get into the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, RootModel, StringConstraints

from sealwright_policies.appraisal.reference_values import ProductVersion
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import Document, Identifier, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.framing import framed_digest

ENTRY_LIMIT = 256 * 1024
"""Bytes of the longest entry."""
MOST_ROWS = 512
"""Rows that one entry lists."""
ROW_LABEL = "sealwright/v1/log-row"

Value = str | int | bytes | bool | None
_Word = Annotated[str, StringConstraints(pattern=r"^[!-~]{0,128}$")]
"""An id, a code, a name without spaces; empty where there is none."""
_Text = Annotated[str, StringConstraints(max_length=256)]
_RandomId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
_Time = Annotated[int, Field(ge=0, lt=2**62)]
_Version = Annotated[int, Field(ge=1, le=1)]


class RowState(Document):
    """A row of an audited table as a transaction left it."""

    table: Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,64}$")]
    key: Annotated[str, StringConstraints(max_length=512)]
    sha256: Sha256Hex | None
    """None: it is gone."""


class RowChange(RowState):
    """The same, and the row as the transaction found it."""

    before: Sha256Hex | None
    """None: it was not there."""


_Rows = Annotated[list[RowChange | RowState], Field(max_length=MOST_ROWS)]


class ReleaseEntry(Document):
    """A release is known to the service; anybody who has its manifest computes this entry."""

    version: _Version
    kind: Literal["release"]
    release_id: Sha256Hex
    product: Identifier
    product_version: ProductVersion


class DecisionEntry(Document):
    """A decision about a device."""

    version: _Version
    kind: Literal["decision"]
    entry_id: _RandomId
    at: _Time
    decision_id: _Word
    purpose: _Word
    code: _Word
    device_id: _Word
    license_id: _Word
    rows: _Rows


class OperationEntry(Document):
    """Something that an operator did."""

    version: _Version
    kind: Literal["operation"]
    entry_id: _RandomId
    at: _Time
    operation_id: _Word
    actor_kind: _Word
    actor: _Text
    operation: _Word
    subject: _Text
    rows: _Rows


class ChangeEntry(Document):
    """Any other change of an audited table."""

    version: _Version
    kind: Literal["change"]
    entry_id: _RandomId
    at: _Time
    reason: Literal["written", "baseline"]
    rows: _Rows


class LogKeyEntry(Document):
    """A key of the log itself is new, or retired."""

    version: _Version
    kind: Literal["log-key"]
    entry_id: _RandomId
    at: _Time
    event: Literal["current", "retired"]
    key: Sha256Hex
    """SHA-256 of its SubjectPublicKeyInfo."""


Entry = ReleaseEntry | DecisionEntry | OperationEntry | ChangeEntry | LogKeyEntry


class _AnyEntry(RootModel[Annotated[Entry, Field(discriminator="kind")]]):
    """One of them, by its kind."""


def parse_entry(data: bytes) -> Entry:
    """Parse an entry.

    Raises:
        FormatError: not an entry, or not in the one spelling.
    """
    entry = parse_json(_AnyEntry, data, limit=ENTRY_LIMIT).root
    if entry_bytes(entry) != data:
        raise FormatError("Log entry: not in the one spelling of its content.")
    return entry


def entry_bytes(entry: Entry) -> bytes:
    """The entry as it stands in the log: one line."""
    return document_bytes(entry)


def is_log_key_entry(data: bytes) -> bool:
    """Whether bytes, if they are an entry, are one about a key of the log; there is one spelling."""
    return data.startswith(b'{"version":1,"kind":"log-key",')


def release_entry(release_id: str, product: str, product_version: str) -> ReleaseEntry:
    """The entry of a release."""
    return ReleaseEntry(
        version=1, kind="release", release_id=release_id, product=product, product_version=product_version
    )


def row_digest(table: str, columns: Mapping[str, Value]) -> str:
    """The digest by which a row is known to the log, hex."""
    fields = [part for name in sorted(columns) for part in (name.encode("ascii"), _tagged(columns[name]))]
    return framed_digest(ROW_LABEL, table.encode("ascii"), *fields).hex()


def row_key(values: Sequence[Value]) -> str:
    """The key of a row in an entry."""
    return "/".join(value.hex() if isinstance(value, bytes) else str(value) for value in values)


def _tagged(value: Value) -> bytes:
    match value:  # most are text
        case str():
            return b"s" + value.encode("utf-8", "surrogatepass")
        case bool():
            return b"b1" if value else b"b0"
        case int():
            return b"i%d" % value
        case bytes():
            return b"y" + value
        case None:
            return b"n"
