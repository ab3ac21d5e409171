"""What the agent may ask of the volume service: nine things, each about one payload or the box.

One request for each connection of ``/run/sealwright/volumes.sock``: a JSON document up to the end of what the client
sends, then the reply up to the end of the connection.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from sealwright_appliance.status import WorkloadRun
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import Document, Identifier
from sealwright_policies.workloads import MOST

MESSAGE_LIMIT = 4096
"""Bytes of a request or reply."""
SENTENCE_LIMIT = 1024


class VolumeOperation(StrEnum):
    """What can be asked."""

    CLOSE = "close"
    """Stop a payload's engine and close its volume; may be asked again."""
    INSPECT = "inspect"
    """Has verity refused a block of it?"""
    START = "start"
    """Start a payload's engine, if it is one of those that unlocking has prepared and nothing has closed since."""
    STOP = "stop"
    """Stop it; its payload stays open."""
    ENGINE = "engine"
    """Does it run, or is it about to, and how often has it died?"""
    RUN = "run"
    """How far has a workload come?"""
    FORGET = "forget"
    """Remove what workloads have written and their domains keep no longer."""
    SITE = "site"
    """Have systemd and the packet filter told what the agent has changed of the site."""
    RESTART = "restart"
    """Restart the box."""


class VolumeRequest(Document):
    """One request."""

    operation: VolumeOperation
    payload_id: Identifier | None = None
    """None for what concerns the box."""
    now: Seconds | None = None
    """For FORGET: of the calendar of retention, which the agent keeps."""


class VolumeReply(Document):
    """Its outcome."""

    error: Annotated[str, Field(max_length=SENTENCE_LIMIT)] | None = None
    """What failed; None: it was done."""
    corrupted: bool = False
    """Answers INSPECT."""
    runs: bool = False
    """Answers ENGINE."""
    deaths: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    """Likewise; systemd counts in 32 bits."""
    run: WorkloadRun | None = None
    """Answers RUN."""
    results_full: bool = False
    """Answers RUN, of a workload that has ended."""
    forgotten: Annotated[tuple[Identifier, ...], Field(max_length=MOST)] = ()
    """Answers FORGET: adapters that are served no longer."""
