"""Reads what tpm2-tools print."""

from __future__ import annotations

import re

_BANK = re.compile(r"^\s*(\w+):$")
_VALUE = re.compile(r"^\s+(\d+)\s*: 0x([0-9A-Fa-f]+)$")


def parse_pcr_listing(text: str) -> dict[str, dict[int, bytes]]:
    """Parse the banks and values that ``tpm2_pcrread`` prints, and ``tpm2_eventlog`` below ``pcrs:``."""
    banks: dict[str, dict[int, bytes]] = {}
    values: dict[int, bytes] = {}
    for line in text.splitlines():
        if bank := _BANK.match(line):
            values = banks.setdefault(bank[1], {})
        elif value := _VALUE.match(line):
            values[int(value[1])] = bytes.fromhex(value[2])
    return {name: values for name, values in banks.items() if values}
