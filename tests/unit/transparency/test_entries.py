"""Entries of the log: the fields that may stand in it, one spelling, and digests of rows."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.errors import FormatError
from sealwright_policies.transparency.entries import (
    ENTRY_LIMIT,
    ChangeEntry,
    DecisionEntry,
    LogKeyEntry,
    OperationEntry,
    ReleaseEntry,
    RowChange,
    RowState,
    entry_bytes,
    parse_entry,
    release_entry,
    row_digest,
    row_key,
)

ROW = RowState(table="devices", key="a" * 52, sha256="11" * 32)
COMMON: dict[str, Any] = {"version": 1, "entry_id": "22" * 16, "at": 1_800_000_000, "rows": [ROW]}
DECISION = DecisionEntry(
    kind="decision", decision_id="d", purpose="renew", code="ok", device_id="a" * 52, license_id="l-1", **COMMON
)


@pytest.mark.parametrize(
    "entry",
    [
        release_entry("33" * 32, "sealed-advisor", "1.2"),
        DECISION,
        OperationEntry(
            kind="operation",
            operation_id="o",
            actor_kind="cli",
            actor="anna",
            operation="license.issue",
            subject="l",
            **COMMON,
        ),
        ChangeEntry(
            kind="change", reason="baseline", **(COMMON | {"rows": [ROW, ROW.model_copy(update={"sha256": None})]})
        ),
        LogKeyEntry(version=1, kind="log-key", entry_id="22" * 16, at=1, event="retired", key="44" * 32),
    ],
)
def test_an_entry_reads_back_in_one_line(entry: Any) -> None:
    data = entry_bytes(entry)

    assert parse_entry(data) == entry
    assert b"\n" not in data


def test_the_entry_of_a_release_is_computed_by_anybody() -> None:
    """Byte for byte, from the specification's words."""
    assert entry_bytes(release_entry("ab" * 32, "sealed-advisor", "1.2")) == (
        b'{"version":1,"kind":"release","release_id":"' + b"ab" * 32 + b'","product":"sealed-advisor",'
        b'"product_version":"1.2"}'
    )


def test_the_allow_list_of_fields() -> None:
    """Whoever adds a field decides here, too, that it may be public for good."""
    assert list(ReleaseEntry.model_fields) == ["version", "kind", "release_id", "product", "product_version"]
    shared = ["version", "kind", "entry_id", "at"]
    named = ["decision_id", "purpose", "code", "device_id", "license_id"]
    assert list(DecisionEntry.model_fields) == [*shared, *named, "rows"]
    assert list(OperationEntry.model_fields) == [
        *shared,
        "operation_id",
        "actor_kind",
        "actor",
        "operation",
        "subject",
        "rows",
    ]
    assert list(ChangeEntry.model_fields) == [*shared, "reason", "rows"]
    assert list(LogKeyEntry.model_fields) == [*shared, "event", "key"]
    assert list(RowState.model_fields) == ["table", "key", "sha256"]
    assert list(RowChange.model_fields) == ["table", "key", "sha256", "before"]


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"code": "a sentence with spaces"},
        {"at": "1"},
        {"version": 2},
        {"kind": "other"},
        {"entry_id": "22"},
        {"rows": [json.loads(ROW.model_dump_json())] * 513},
    ],
)
def test_anything_else_is_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(FormatError):
        parse_entry(json.dumps(json.loads(entry_bytes(DECISION)) | change, separators=(",", ":")).encode())


def test_a_second_spelling_is_malformed() -> None:
    """One content has one leaf."""
    members = json.loads(entry_bytes(DECISION))
    for data in (json.dumps(members).encode(), json.dumps(dict(reversed(members.items()))).encode()):
        with pytest.raises(FormatError):
            parse_entry(data)


def test_a_row_digest_is_the_framed_sequence_of_its_columns() -> None:
    """Spelled out once from the specification."""
    columns: dict[str, Any] = {"b": "text", "a": 7, "c": None, "d": True, "e": b"\x00"}
    parts = [b"sealwright/v1/log-row", b"devices", b"a", b"i7", b"b", b"stext", b"c", b"n", b"d", b"b1", b"e", b"y\x00"]
    framed = b"".join(struct.pack(">I", len(part)) + part for part in parts)

    assert row_digest("devices", columns) == hashlib.sha256(framed).hexdigest()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=4), st.binary(max_size=4)
)


@given(VALUES, VALUES)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    same = type(one) is type(other) and one == other

    assert (row_digest("t", {"c": one}) == row_digest("t", {"c": other})) is same


def test_keys_of_rows() -> None:
    assert row_key(["device", 7, b"\xab"]) == "device/7/ab"


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_raise_anything_else(data: bytes, cut: int) -> None:
    whole = entry_bytes(DECISION)
    for candidate in (data, whole[:cut] + data, whole[:cut] + data + whole[cut:]):
        try:
            assert entry_bytes(parse_entry(candidate)) == candidate
        except FormatError:
            continue


def test_an_endless_entry_is_malformed() -> None:
    with pytest.raises(FormatError):
        parse_entry(b" " * (ENTRY_LIMIT + 1))
