"""Chunked transfer coding, in whatever pieces it arrives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.serve.engine_http import BrokenReplyError, split_chunks


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.integers(min_value=1, max_value=50))
def test_chunks_come_out_as_they_went_in(chunks: list[bytes], step: int) -> None:
    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    found, held, ended = b"", b"", False
    for position in range(0, len(coded), step):
        assert not ended
        part, held, ended = split_chunks(held + coded[position : position + step])
        found += part
    assert (found, held, ended) == (b"".join(chunks), b"", True)


@given(st.binary(max_size=200))
def test_any_bytes_are_chunks_or_refused(data: bytes) -> None:
    try:
        found, held, _ = split_chunks(data)
    except BrokenReplyError:
        return
    assert len(found) + len(held) <= len(data)
