"""Keylime as something to compare with: its quote verification, in a process and a Python environment of its own."""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.tcg.public import Public
from sealwright_testing.python_environments import python_environment

ROOT = Path(__file__).resolve().parents[2]
_BANKS, _DIGESTS_IN_LIST, _LARGEST_DIGEST = 16, 8, 64
"""Sizes of the structures in tpm2-tools' memory that its PCR files are images of."""


@dataclass(frozen=True, slots=True)
class Quote:
    """One quote with what it is checked against."""

    ak: Public
    nonce: bytes
    signature: bytes
    attest: bytes
    pcrs: Mapping[int, bytes]


class Keylime:
    """A process that checks the same quotes as often as it is asked."""

    def __init__(self, process: subprocess.Popen[str], number: int) -> None:
        self._process = process
        self._number = number

    def quotes_per_second(self) -> float:
        """One round over all quotes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._number / float(self._process.stdout.readline())


@contextmanager
def running_keylime(quotes: Sequence[Quote]) -> Iterator[Keylime]:
    """Keylime's checkquote over these quotes, until the block ends; on the processors of the caller.

    Raises:
        OperationError: Keylime could not be installed.
        RuntimeError: Keylime does not accept one.
    """
    argv = [str(python_environment("keylime") / "bin/python"), str(ROOT / "tests/bench/keylime_checkquote.py")]
    variables = {"PATH": os.environ["PATH"], "KEYLIME_LOGGING_CONFIG": ""}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps([_as_json(quote) for quote in quotes]) + "\n")
        keylime = Keylime(process, len(quotes))
        try:
            yield keylime
        finally:
            process.stdin.close()
            process.wait(60)


def _as_json(quote: Quote) -> dict[str, str]:
    pem = quote.ak.key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    fields = {
        "key": pem,
        "nonce": quote.nonce,
        "signature": quote.signature,
        "attest": quote.attest,
        "pcrs": _pcr_file(quote.pcrs),
    }
    return {name: base64.b64encode(value).decode("ascii") for name, value in fields.items()}


def _pcr_file(pcrs: Mapping[int, bytes]) -> bytes:
    """What `tpm2_quote --pcrs_format=serialized` writes: TPML_PCR_SELECTION and TPML_DIGESTs as they lie in memory."""
    bitmap = sum(1 << pcr for pcr in pcrs)
    selection = struct.pack("<HB3s2x", 0x000B, 3, bitmap.to_bytes(3, "little"))
    values = [pcrs[pcr] for pcr in sorted(pcrs)]
    lists = [values[at : at + _DIGESTS_IN_LIST] for at in range(0, len(values), _DIGESTS_IN_LIST)]
    data = struct.pack("<I", 1) + selection + bytes(8 * (_BANKS - 1)) + struct.pack("<I", len(lists))
    for some in lists:
        padded = [*some, *[b""] * (_DIGESTS_IN_LIST - len(some))]
        data += struct.pack("<I", len(some))
        data += b"".join(struct.pack("<H", len(value)) + value.ljust(_LARGEST_DIGEST, b"\0") for value in padded)
    return data
