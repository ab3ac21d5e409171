"""systemd's userspace measurement log, ``/run/log/systemd/tpm2-measure.log`` (policies/spec/eventlog.md).

A JSON text sequence (RFC 7464) of objects in the form of the TCG Canonical Event Log, one for each measurement that
systemd made into a PCR. It is appended to while the system runs, so its last record may be cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.algorithms import DIGEST_SIZES, AlgorithmId, algorithm_name
from sealwright_policies.tcg.pcr import PCR_COUNT, bank_by_name, replay_digests

MAX_LOG_SIZE = 4 << 20
MAX_EVENTS = 16_384
RECORD_SEPARATOR = b"\x1e"

_BANK_NAMES = {algorithm_name(algorithm) for algorithm in DIGEST_SIZES}


@dataclass(frozen=True, slots=True)
class UserspaceEvent:
    """One measurement. ``pcr`` is None where systemd measured into an NV index and not into a PCR."""

    index: int
    pcr: int | None
    digests: Mapping[int, bytes]
    content_type: str
    event_type: str
    string: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class UserspaceLog:
    """The events in order; ``truncated`` says that a last record was cut off and left out (RFC 7464, 2.3)."""

    events: tuple[UserspaceEvent, ...]
    truncated: bool

    def __iter__(self) -> Iterator[UserspaceEvent]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def replay(self, bank: int = AlgorithmId.SHA256, start: Mapping[int, bytes] | None = None) -> dict[int, bytes]:
        """Extend the log's digests onto ``start`` (the firmware log's replay) and return all values."""
        pairs = ((e.pcr, e.digests[bank]) for e in self.events if e.pcr is not None and bank in e.digests)
        return replay_digests(pairs, bank, dict(start or {}))


def parse_userspace_log(data: bytes) -> UserspaceLog:
    """Parse the log.

    Raises:
        FormatError: a record other than the last is not of the expected form, or a limit is passed.
    """
    if len(data) > MAX_LOG_SIZE:
        raise FormatError(f"userspace log: {len(data)} bytes, the limit is {MAX_LOG_SIZE}")
    if not data:
        return UserspaceLog((), truncated=False)
    first, *records = data.split(RECORD_SEPARATOR)
    if first.strip():
        raise FormatError("userspace log: does not begin with a record separator (RFC 7464)")
    if len(records) > MAX_EVENTS:
        raise FormatError(f"userspace log: more than {MAX_EVENTS} records")
    events: list[UserspaceEvent] = []
    for number, record in enumerate(records):
        if not record.strip():
            continue  # RFC 7464, 2.1: separators in a row are one
        if number == len(records) - 1 and not record.endswith(b"\n"):
            return UserspaceLog(tuple(events), truncated=True)
        events.append(_read_record(len(events), record))
    return UserspaceLog(tuple(events), truncated=False)


def _read_record(index: int, record: bytes) -> UserspaceEvent:
    try:
        entry = json.loads(record.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"userspace log, record {index}: not JSON: {error}") from None
    if not isinstance(entry, dict):
        raise _wrong(index, "not an object")
    content = entry.get("content")
    if not isinstance(content, dict):
        raise _wrong(index, "no content")
    return UserspaceEvent(
        index=index,
        pcr=_read_pcr(index, entry),
        digests=_read_digests(index, entry.get("digests")),
        content_type=_text(index, entry, "content_type"),
        event_type=_text(index, content, "eventType"),
        string=_text(index, content, "string"),
        content=content,
    )


def _read_pcr(index: int, entry: dict[str, Any]) -> int | None:
    pcr = entry.get("pcr")
    if pcr is None:
        return None
    if type(pcr) is not int or not 0 <= pcr < PCR_COUNT:
        raise _wrong(index, "pcr is not a number from 0 to 23")
    return pcr


def _read_digests(index: int, listed: object) -> dict[int, bytes]:
    if not isinstance(listed, list):
        raise _wrong(index, "no list of digests")
    digests: dict[int, bytes] = {}
    for item in listed:
        if not isinstance(item, dict):
            raise _wrong(index, "a digest is not an object")
        name, text = _text(index, item, "hashAlg"), _text(index, item, "digest")
        if name not in _BANK_NAMES:
            continue  # a bank of an algorithm that we cannot replay
        bank = bank_by_name(name)
        try:
            digest = bytes.fromhex(text)
        except ValueError:
            raise _wrong(index, "a digest is not hexadecimal") from None
        if len(digest) != DIGEST_SIZES[bank] or bank in digests:
            raise _wrong(index, f"a second {name} digest, or one of {len(digest)} bytes")
        digests[bank] = digest
    return digests


def _text(index: int, container: dict[str, Any], key: str) -> str:
    value = container.get(key, "")
    if not isinstance(value, str):
        raise _wrong(index, f"{key} is not text")
    return value


def _wrong(index: int, sentence: str) -> FormatError:
    return FormatError(f"userspace log, record {index}: {sentence}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        raise ValueError("a key occurs twice")
    return entry


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
