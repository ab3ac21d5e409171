"""Lines that a support bundle may show: the latest of a process, and of each what stands in code."""

from __future__ import annotations

import logging

import pytest

from sealwright_appliance.boot import BoxCode
from sealwright_appliance.log_lines import Event, Notice, Trouble
from sealwright_appliance.recent_lines import RecentLines
from sealwright_policies.support import LINES_MOST

CANARY = "canary_of_a_patient"
"""In the form of a name in code."""


@pytest.fixture
def logger(request: pytest.FixtureRequest) -> logging.Logger:
    """Of this test alone."""
    made = logging.getLogger(f"tests.{request.node.name}")
    made.propagate = False
    return made


@pytest.fixture
def recent(logger: logging.Logger) -> RecentLines:
    kept = RecentLines()
    logger.addHandler(kept)
    return kept


def test_nothing_that_was_said_is_kept(logger: logging.Logger, recent: RecentLines) -> None:
    logger.error("said %s", CANARY)
    try:
        raise ValueError(CANARY)
    except ValueError:
        logger.exception(CANARY)
    logger.error(CANARY, extra={"canary": CANARY})
    lines = recent.lines()
    assert CANARY not in "".join(line.model_dump_json() for line in lines)
    assert [line.error for line in lines] == [None, "ValueError", None]
    assert all(line.place and line.place.startswith("test_recent_lines.py:") for line in lines)


def test_a_name_that_is_no_name_of_code_is_left_out(recent: RecentLines) -> None:
    record = logging.LogRecord(f"of {CANARY}!", logging.ERROR, f"/tmp/{CANARY}", 1, CANARY, (), None)
    recent.emit(record)
    (line,) = recent.lines()
    assert (line.source, line.place, line.level) == (None, None, "error")


def test_our_own_lines_are_kept_as_they_are(logger: logging.Logger, recent: RecentLines) -> None:
    logger.warning(Notice(Event.EXTRACTION_ALARM, "medical", BoxCode.TPM, 2))
    logger.warning(Trouble(Event.RETENTION, OSError))
    alarm, trouble = recent.lines()
    assert (alarm.event, alarm.model, alarm.code, alarm.count) == ("extraction-alarm", "medical", "TPM", 2)
    assert (trouble.event, trouble.error) == ("retention", "OSError")


def test_the_oldest_go(logger: logging.Logger, recent: RecentLines) -> None:
    for _ in range(LINES_MOST):
        logger.warning("early")
    logger.error("late")
    lines = recent.lines()
    assert len(lines) == LINES_MOST
    assert lines[-1].level == "error"
    logger.info("too quiet")
    assert recent.lines() == lines
