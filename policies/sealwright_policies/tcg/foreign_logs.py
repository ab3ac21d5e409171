"""Files that people take for a boot event log; recognised to say what they are, never parsed."""

from __future__ import annotations

import re

from sealwright_policies.errors import UnsupportedError

_IMA_DIGEST_SIZES = (20, 32, 48, 64)
_IMA_TEMPLATES = (b"ima", b"evm")
_MAX_IMA_NAME = 32

_BEGINNINGS = (
    (rb"\x1e", "systemd's measurement log; the firmware's log is wanted"),
    (rb" ?\d{1,2} [0-9a-f]{40,128} (ima|evm)", "an IMA measurement list as text; the firmware's log is wanted"),
    (rb"---\r?\nversion: ", "the output of tpm2_eventlog; the binary log is wanted"),
    (rb"(TPM2|TCPA|CCEL)....[\x01-\x09]", "an ACPI table, which says where the log is; the log itself is wanted"),
    (rb"[0-9A-Za-z+/=:\s]{64}", "text, hexadecimal or base64 perhaps; the binary log is wanted"),
)
_PATTERNS = tuple((re.compile(pattern, re.DOTALL), sentence) for pattern, sentence in _BEGINNINGS)


def refuse_foreign_log(data: bytes) -> None:
    """Raise UnsupportedError if the file is a known one of another kind; no boot event log begins as these do."""
    for pattern, sentence in _PATTERNS:
        if pattern.match(data):
            raise UnsupportedError(f"this is {sentence}")
    if any(_is_ima_list(data, size) for size in _IMA_DIGEST_SIZES):
        raise UnsupportedError("this is an IMA measurement list; the firmware's log is wanted")


def _is_ima_list(data: bytes, digest_size: int) -> bool:
    """Whether it begins with PCR, template digest, length and name of the template (Linux, security/integrity/ima)."""
    name = 4 + digest_size + 4
    length = int.from_bytes(data[name - 4 : name], "little")
    return length <= _MAX_IMA_NAME and data[name : name + length].startswith(_IMA_TEMPLATES)
