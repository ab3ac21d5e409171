"""Event logs and makers' certificates that are not ours to ship, in the folder that SEALWRIGHT_CORPUS names.

Tests of them carry the marker ``corpus`` and are left out where no folder is named; in one that is named, everything
must be there.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "SEALWRIGHT_CORPUS"


def corpus_is_named() -> bool:
    """Whether tests of the corpus are to run."""
    return VARIABLE in os.environ


def corpus_file(name: str) -> bytes:
    """Return the contents of a file of the corpus."""
    return Path(os.environ[VARIABLE], name).read_bytes()


def corpus_logs() -> list[Path]:
    """Return the event logs of the corpus, for parameters of tests; none where no corpus is named."""
    if not corpus_is_named():
        return []
    logs = sorted(Path(os.environ[VARIABLE], "eventlogs").glob("*.bin"))
    if not logs:
        raise FileNotFoundError(f"no event logs in {VARIABLE}={os.environ[VARIABLE]}")
    return logs
