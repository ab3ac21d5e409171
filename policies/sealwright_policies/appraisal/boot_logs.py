"""What two boots of one machine and release have in common: the sequence of measurements (policies/spec/air-gap.md, 2).

The logs themselves differ at each boot. The digest proves nothing; a quote has to be over the replayed values.
"""

from __future__ import annotations

import struct

from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.eventlog import EventLog, UserspaceLog, parse_event_log, parse_userspace_log
from sealwright_policies.tcg.pcr import initial_value
from sealwright_policies.wire.framing import BOOT_LOGS_LABEL, framed_digest

_SHA256 = int(AlgorithmId.SHA256)
_FIRMWARE_ENTRY = struct.Struct(">II32s")
_USERSPACE_HEAD = struct.Struct(">II")


def boot_logs_digest(firmware: EventLog, userspace: UserspaceLog) -> bytes:
    """SHA-256 over PCR, event type and digest of every measurement, 32 bytes."""
    entries = b"".join(
        _FIRMWARE_ENTRY.pack(event.pcr, event.type, event.digests[_SHA256])
        for event in firmware.events
        if event.extends and _SHA256 in event.digests
    )
    words = []
    for event in userspace.events:
        if event.pcr is None or _SHA256 not in event.digests:
            continue
        kind = event.event_type.encode("utf-8", "surrogatepass")
        words += [_USERSPACE_HEAD.pack(event.pcr, len(kind)), kind, event.digests[_SHA256]]
    return framed_digest(BOOT_LOGS_LABEL, entries, b"".join(words))


def digest_of_logs(firmware: bytes, userspace: bytes) -> bytes:
    """The same of logs as they are read.

    Raises:
        FormatError: a log is malformed.
    """
    return boot_logs_digest(parse_event_log(firmware), parse_userspace_log(userspace))


def replay_quote_set(firmware: bytes, userspace: bytes) -> dict[int, bytes]:
    """The value of each quoted PCR that both logs lead to.

    Raises:
        FormatError: a log is malformed.
        UnsupportedError: the firmware's log has no SHA-256 digests.
    """
    values = parse_userspace_log(userspace).replay(start=parse_event_log(firmware).replay())
    return {pcr: values.get(pcr, initial_value(pcr)) for pcr in QUOTE_SET}
