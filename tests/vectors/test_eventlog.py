"""Runs the vectors of ``eventlog/``; where there is a corpus, also real logs against tpm2_eventlog's YAML."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sealwright_policies.errors import FormatError
from sealwright_policies.tcg.eventlog import MAX_EVENTS, EventLog, parse_event_log
from sealwright_policies.tcg.pcr import bank_by_name, bank_name
from sealwright_testing.corpus import corpus_logs
from sealwright_testing.event_logs import LogWriter, separator
from sealwright_testing.tpm2_tools import parse_pcr_listing
from sealwright_testing.vectors import LoadedVector, check_outcome, load_vectors

DIRECTORY = Path(__file__).parent / "eventlog"
SPEC = Path(__file__).parents[2] / "policies/spec/eventlog.md"
VECTORS = load_vectors(DIRECTORY)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.folder.name)
def test_vector(vector: LoadedVector) -> None:
    """The log is refused, or its replay and facts are the expected ones."""
    log = check_outcome(vector, lambda: parse_event_log(vector.input_bytes))
    if log is None:
        return
    assert isinstance(log, EventLog)
    expected = vector.expected
    for name, values in expected["pcrs"].items():
        assert log.replay(bank_by_name(name)) == {int(pcr): bytes.fromhex(value) for pcr, value in values.items()}
    assert expected.get("padding", 0) == log.padding
    assert expected.get("startup_locality", 0) == log.startup_locality
    assert expected.get("format", log.format.name.lower()) == log.format.name.lower()
    if "missing_sha256" in expected:
        assert log.missing(bank_by_name("sha256")) == tuple(expected["missing_sha256"])


def test_a_log_has_a_limit_of_events() -> None:
    """Too long for a vector."""
    log = LogWriter().log([separator(0)] * MAX_EVENTS)
    with pytest.raises(FormatError):
        parse_event_log(log)


def test_every_section_has_a_vector_or_a_reason() -> None:
    sections = set(re.findall(r"^#+ (\d+(?:\.\d+)?)\b", SPEC.read_text(), re.MULTILINE))
    gaps = set(json.loads((DIRECTORY / "coverage.json").read_text())["gaps"])
    covered = {vector.manifest["spec"].split()[1] for vector in VECTORS}
    assert covered <= sections
    assert covered | gaps == sections
    assert not covered & gaps


@pytest.mark.corpus
@pytest.mark.parametrize("path", corpus_logs(), ids=lambda path: path.name)
def test_real_log_replays_as_tpm2_eventlog_says(path: Path) -> None:
    """Logs of real firmware, with an independent tool's replay as oracle."""
    log = parse_event_log(path.read_bytes())
    oracle = parse_pcr_listing(Path(f"{path}.yaml").read_text().split("\npcrs:\n")[1])
    replayed = {bank_name(bank): log.replay(bank) for bank in log.banks}
    assert {name: values for name, values in replayed.items() if values} == oracle
