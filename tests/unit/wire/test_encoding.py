"""Documents are read in one way only: no second spelling, no unknown field, no value that readers disagree about."""

from __future__ import annotations

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from sealwright_policies.appraisal.reference_values import Statement, WrappedShares
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import (
    MAX_DEPTH,
    Bytes4K,
    Document,
    canonical_base64,
    document_bytes,
    parse_json,
    pcr_bytes,
    pcr_values,
)
from sealwright_policies.wire.envelope import DsseEnvelope
from sealwright_policies.wire.lease import Lease
from sealwright_policies.wire.messages import EnrollmentRequest, Evidence, Grant, NonceRequest, RenewalRequest
from sealwright_policies.wire.service import LicenseService

DOCUMENTS: list[type[BaseModel]] = [
    DsseEnvelope,
    EnrollmentRequest,
    Evidence,
    Grant,
    Lease,
    LicenseService,
    NonceRequest,
    RenewalRequest,
    Statement,
    WrappedShares,
]


class Sample(Document):
    """One field of each kind that is easy to get wrong."""

    number: int
    raw: Bytes4K
    nested: list[Any] = Field(default_factory=list)


def sample(**changes: Any) -> bytes:
    return json.dumps({"number": 1, "raw": "AAE="} | changes).encode()


def parse(data: bytes, limit: int = 10_000) -> Sample:
    return parse_json(Sample, data, limit=limit)


def test_a_document_survives_the_round_trip() -> None:
    document = Sample(number=7, raw=b"\x00\xff")

    assert document_bytes(document) == b'{"number":7,"raw":"AP8=","nested":[]}'
    assert parse(document_bytes(document)) == document


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"number":1,"number":2,"raw":""}', "twice"),
        (b'{"number":1,"raw":"","nested":[{"a":1,"a":1}]}', "twice"),
        (sample(nested=[1]).replace(b"[1]", b"[NaN]"), "NaN"),
        (sample(nested=[1]).replace(b"[1]", b"[-Infinity]"), "Infinity"),
        (sample(other=1), "other"),
        (b'{"raw":""}', "number"),
        (sample(number=1.0), "number"),
        (sample(number="1"), "number"),
        (sample(number=True), "number"),
        (sample(raw="AAE"), "base64"),
        (sample(raw="AAF="), "canonical"),
        (sample(raw="AAE=\n"), "base64"),
        (sample(raw="A-E="), "base64"),
        (sample(raw=[0, 1]), "base64"),
        (sample(raw="A" * 5464), "4096"),
        (b"\xef\xbb\xbf" + sample(), "UTF-8 JSON"),
        (sample().decode().encode("utf-16"), "UTF-8 JSON"),
        (b'{"number":1,"raw":"\xff"}', "UTF-8 JSON"),
        (sample() + b"{}", "UTF-8 JSON"),
        (b"", "UTF-8 JSON"),
        (b"[]", "object"),
        (sample(number=1).replace(b"1", b"1" * 5000), "digits"),
        (b"[" * 100_000, "deeper"),
    ],
)
def test_what_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(FormatError, match=reason):
        parse(data, limit=200_000)


def test_depth_is_bounded_and_brackets_in_text_do_not_count() -> None:
    def deep(levels: int) -> bytes:
        nested: list[Any] = []
        for _ in range(levels - 2):
            nested = [nested]
        return sample(nested=nested)

    assert parse(deep(MAX_DEPTH))
    with pytest.raises(FormatError, match="deeper"):
        parse(deep(MAX_DEPTH + 1))
    assert parse(sample(nested=["[" * 50 + '"{\\']))


def test_a_document_over_its_limit_is_not_read() -> None:
    with pytest.raises(FormatError, match="at most 10"):
        parse(sample(), limit=10)


@given(st.binary(max_size=200))
def test_base64_has_one_spelling(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()

    assert canonical_base64(text) == raw
    for other in (text + "=", text + "\n", " " + text, text.rstrip("=") if text.endswith("=") else text + "A"):
        with pytest.raises(ValueError, match="base64"):
            canonical_base64(other)


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_document_or_a_format_error(kind: type[BaseModel], data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_json(kind, data, limit=250)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.__name__)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_json_gives_a_document_or_a_format_error(kind: type[BaseModel], data: st.DataObject) -> None:
    """Also under the right names, so that each field's own check sees every kind of value."""
    names = [field.alias or name for name, field in kind.model_fields.items()]
    value = data.draw(JSON | st.fixed_dictionaries(dict.fromkeys(names, JSON)))

    with pytest.raises(FormatError):
        parse_json(kind, json.dumps(value).encode(), limit=100_000)


def test_pcr_values_go_both_ways() -> None:
    values = {11: b"\x0b" * 32, 0: bytes(32)}

    assert list(pcr_values(values)) == ["0", "11"]
    assert pcr_bytes(pcr_values(values)) == values


def test_threads_that_read_a_kind_of_document_first_build_it_once() -> None:
    built = []

    class Slow(Document):
        number: int

        @classmethod
        def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
            built.append(source)
            time.sleep(0.2)
            return handler(source)

    with ThreadPoolExecutor(4) as threads:
        read = list(threads.map(Slow.model_validate_json, [b'{"number": 1}'] * 4))
    assert [one.number for one in read] == [1] * 4
    assert len(built) == 1
