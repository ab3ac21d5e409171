"""Writes the vectors of ``tests/vectors/policy``: ``python -m sealwright_testing.policy_vectors DIRECTORY``.

The expected digests come from policy sessions of a software TPM made for the purpose (trial sessions), never from the
code under test; the input is the same each time.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tpm2_pytss import ESAPI
from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE

from sealwright_testing.swtpm import SoftwareTpm
from sealwright_testing.tpm_session import NO_CIPHER, TpmSession

COUNTER_INDEX = 0x01C10200
UNSEAL = 0x15E
SELECTION = (0, 2, 4, 7, 11, 12, 13, 14, 15)


@dataclass(frozen=True)
class Trial:
    """One step on a trial session of a real TPM, and the input by which the code computes the same."""

    name: str
    description: str
    operation: str
    input: dict[str, Any]
    step: Callable[[ESYS_TR], None]


def trials(session: TpmSession, index: ESYS_TR) -> Iterator[Trial]:
    """Yield the steps."""
    esapi = session.esapi
    values = {str(pcr): value.hex() for pcr, value in session.read_pcrs(SELECTION).items()}
    selected = "sha256:" + ",".join(map(str, SELECTION))
    yield Trial(
        "pcr", "PolicyPCR over nine PCRs", "policy_pcr", {"pcrs": values},
        lambda trial: esapi.policy_pcr(trial, b"", selected),
    )  # fmt: skip
    for name, offset, operation, operand in (
        ("clock-le", 8, 9, (10**12).to_bytes(8, "big")),
        ("resets-le", 16, 9, (99).to_bytes(4, "big")),
        ("safe-eq", 24, 0, b"\1"),
    ):
        yield Trial(
            f"counter-timer-{name}", f"PolicyCounterTimer, {name}", "policy_counter_timer",
            {"operand": operand.hex(), "offset": offset, "operation": operation},
            partial(_counter_timer, esapi, operand, operation, offset),
        )  # fmt: skip
    nv_name = session.nv_public(index).name
    for name, operation in (("eq", 0), ("le", 9)):
        operand = (41).to_bytes(8, "big")
        yield Trial(
            f"nv-{name}", f"PolicyNV, {name}", "policy_nv",
            {"operand": operand.hex(), "offset": 0, "operation": operation, "nv_name": nv_name.hex()},
            partial(_nv, esapi, index, operand, operation),
        )  # fmt: skip
    yield Trial(
        "command-code", "PolicyCommandCode(Unseal)", "policy_command_code", {"command_code": UNSEAL},
        lambda trial: esapi.policy_command_code(trial, UNSEAL),
    )  # fmt: skip


def _counter_timer(esapi: ESAPI, operand: bytes, operation: int, offset: int, trial: ESYS_TR) -> None:
    esapi.policy_counter_timer(trial, operand, operation, offset)


def _nv(esapi: ESAPI, index: ESYS_TR, operand: bytes, operation: int, trial: ESYS_TR) -> None:
    esapi.policy_nv(index, index, trial, operand, operation, 0)


def write_all(directory: Path) -> None:
    """Write every vector below ``directory``, replacing what is there."""
    for folder in directory.iterdir() if directory.is_dir() else ():
        shutil.rmtree(folder)
    with (
        tempfile.TemporaryDirectory() as temporary,
        SoftwareTpm.manufacture(Path(temporary) / "tpm") as tpm,
        ESAPI(tpm.tcti) as esapi,
    ):
        session = TpmSession(esapi)
        for pcr in SELECTION:
            session.extend(pcr, hashlib.sha256(b"%d" % pcr).digest())
        index = session.define_counter(COUNTER_INDEX)
        esapi.nv_increment(index)
        for trial in trials(session, index):
            _write(directory / trial.name, trial, _digest(session, trial.step))


def _digest(session: TpmSession, step: Callable[[ESYS_TR], None]) -> bytes:
    trial = session.esapi.start_auth_session(ESYS_TR.NONE, ESYS_TR.NONE, TPM2_SE.TRIAL, NO_CIPHER, TPM2_ALG.SHA256)
    step(trial)
    digest = bytes(session.esapi.policy_get_digest(trial))
    session.flush(trial)
    return digest


def _write(folder: Path, trial: Trial, digest: bytes) -> None:
    folder.mkdir(parents=True)
    manifest = {"description": trial.description, "spec": "tcg-structures.md 4", "operation": trial.operation}
    expected = {"outcome": "accepted", "digest": digest.hex()}
    for name, content in (("manifest", manifest), ("input", trial.input), ("expected", expected)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
