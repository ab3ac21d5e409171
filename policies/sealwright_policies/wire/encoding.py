"""Field types of the JSON documents: canonical base64 and lower-case hex, with explicit limits.

Non-canonical encodings are refused: two texts must never stand for the same bytes, or a signature over one would
cover the other. ``parse_json`` is the only door by which bytes become a document.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

from sealwright_policies.errors import FormatError

_BUILDING = threading.RLock()


class Document(BaseModel):
    """Base of every wire document: frozen, no unknown fields, no coercion between types.

    What checks a document is built when the first is read: at import it is a tenth to a third of a service's start.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    @classmethod
    def model_rebuild(
        cls,
        *,
        force: bool = False,
        raise_errors: bool = True,
        _parent_namespace_depth: int = 2,
        _types_namespace: Mapping[str, Any] | None = None,
    ) -> bool | None:
        """Build it, in one thread at a time. Newer pydantic sees to that itself; the box's 2.10 does not."""
        with _BUILDING:
            return super().model_rebuild(
                force=force,
                raise_errors=raise_errors,
                _parent_namespace_depth=_parent_namespace_depth + 1,
                _types_namespace=_types_namespace,
            )


KIB = 1024


def _decode_base64(limit: int) -> Callable[[object], bytes]:
    def decode(value: object) -> bytes:
        if isinstance(value, bytes):
            raw = value
        elif isinstance(value, str):
            if len(value) > (limit + 2) // 3 * 4:
                raise ValueError(f"longer than {limit} bytes")
            raw = canonical_base64(value)
        else:
            raise ValueError("expected a base64 string")
        if len(raw) > limit:
            raise ValueError(f"longer than {limit} bytes")
        return raw

    return decode


def canonical_base64(text: str) -> bytes:
    """Decode base64 of RFC 4648 section 4, with padding, zero pad bits and nothing else.

    Raises:
        ValueError: any other spelling of the same or no bytes; pydantic turns it into a field error.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(raw).decode("ascii") != text:
        raise ValueError("not canonical base64")
    return raw


def _encode_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


_AS_BASE64 = PlainSerializer(_encode_base64, return_type=str)
_BASE64_SCHEMA = WithJsonSchema({"type": "string", "contentEncoding": "base64"})

Bytes4K = Annotated[bytes, PlainValidator(_decode_base64(4 * KIB)), _AS_BASE64, _BASE64_SCHEMA]
"""TPM structures, keys, certificates: at most 4 KiB."""
Bytes64K = Annotated[bytes, PlainValidator(_decode_base64(64 * KIB)), _AS_BASE64, _BASE64_SCHEMA]
"""Contents of UEFI variables (dbx is some 25 KiB on current machines): at most 64 KiB."""
Bytes1M = Annotated[bytes, PlainValidator(_decode_base64(KIB * KIB)), _AS_BASE64, _BASE64_SCHEMA]
"""Event logs: at most 1 MiB."""
Bytes4M = Annotated[bytes, PlainValidator(_decode_base64(4 * KIB * KIB)), _AS_BASE64, _BASE64_SCHEMA]
"""Payloads of envelopes: at most 4 MiB."""

Sha256Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 value as 64 lower-case hex digits."""
NameHex = Annotated[str, StringConstraints(pattern=r"^000b[0-9a-f]{64}$")]
"""A TPM Name with nameAlg SHA-256: ``000b`` and the digest, lower-case hex."""
PcrValues = dict[Annotated[str, StringConstraints(pattern=r"^(0|[1-9]|1[0-9]|2[0-3])$")], Sha256Hex]
"""PCR index (decimal text) to SHA-256 value."""
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""Ids that people choose: products, payloads, domains, licences."""

D = TypeVar("D", bound=BaseModel)

MAX_DEPTH = 16
"""Nested objects and arrays in a document. The deepest of ours is the manifest, with 7."""


def parse_json(kind: type[D], data: bytes, *, limit: int) -> D:
    """Parse bytes as one document of a kind.

    Raises:
        FormatError: over the limit, not UTF-8, not JSON, too deep, a key twice in one object, NaN or Infinity, a
            field missing, unknown or out of its range.
    """
    if len(data) > limit:
        raise FormatError(f"{kind.__name__}: {len(data)} bytes, at most {limit} are allowed.")
    try:
        refuse_ambiguous_json(data)
        return kind.model_validate_json(data)
    except FormatError as error:
        raise FormatError(f"{kind.__name__}: {error}") from error
    except ValidationError as error:
        raise FormatError(f"{kind.__name__}: {_first_problem(error)}") from error


def refuse_ambiguous_json(data: bytes) -> None:
    """Refuse what JSON readers understand differently, so that signer and reader mean the same document.

    pydantic takes the last of two equal keys and reads NaN; other readers take the first or stop. Depth is bounded
    before any recursive reader sees the bytes.

    Raises:
        FormatError: not UTF-8 JSON, deeper than ``MAX_DEPTH``, a key twice in one object, NaN or Infinity.
    """
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        # UnicodeDecodeError and JSONDecodeError are ValueErrors; their texts quote input, so only ours are passed on.
        raise FormatError(str(error) if type(error) is ValueError else "not UTF-8 JSON") from error


_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def _check_depth(text: str) -> None:
    if text.count("{") + text.count("[") <= MAX_DEPTH:  # not even if each stood in the one before; logs are long
        return
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return members


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _first_problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}"


def document_bytes(document: BaseModel) -> bytes:
    """The one JSON encoding in which our side writes a document: compact, UTF-8, fields in declared order."""
    return document.model_dump_json(by_alias=True).encode("utf-8")


def pcr_values(values: Mapping[int, bytes]) -> dict[str, str]:
    """PCR values as they stand in documents."""
    return {str(pcr): value.hex() for pcr, value in sorted(values.items())}


def pcr_bytes(values: Mapping[str, str]) -> dict[int, bytes]:
    """PCR values of a document as the appraisal uses them."""
    return {int(pcr): bytes.fromhex(value) for pcr, value in values.items()}
