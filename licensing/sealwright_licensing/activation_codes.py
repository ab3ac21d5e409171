"""Activation codes: 100 random bits as people can type them, stored as a hash, good for one enrolment."""

from __future__ import annotations

import secrets

from sealwright_policies.wire.framing import framed_digest

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32: no I, L, O, U."""
GROUPS, GROUP_SIZE = 4, 5
_LABEL = "sealwright/v1/activation-code"


def new_activation_code() -> str:
    """Draw a code, e.g. ``7KQ2M-…``."""
    symbols = [secrets.choice(ALPHABET) for _ in range(GROUPS * GROUP_SIZE)]
    return "-".join("".join(symbols[i : i + GROUP_SIZE]) for i in range(0, len(symbols), GROUP_SIZE))


def code_hash(code: str) -> str:
    """What is stored of a code. A plain hash is enough: nobody searches 2¹⁰⁰ values."""
    return framed_digest(_LABEL, code.encode("ascii")).hex()
