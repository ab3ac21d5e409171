"""What the agent asks of the volume service, noted, where there is no systemd and no device-mapper."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sealwright_appliance.engines import ObservedEngine
from sealwright_appliance.workloads import ObservedRun


@dataclass(frozen=True, slots=True)
class NotedVolumes:
    """Stands where the volume service does."""

    restarts: list[float]
    """When the box was to be restarted, by time.monotonic."""
    closed: list[str] = field(default_factory=list)
    applied: list[float] = field(default_factory=list)
    """When the site's settings were to be applied, likewise."""

    def close(self, payload_id: str) -> None:
        """Note it."""
        self.closed.append(payload_id)

    def is_corrupted(self, payload_id: str) -> bool:
        """Never."""
        return False

    def forget(self, now: int) -> tuple[str, ...]:
        """There are no results."""
        return ()

    def start_engine(self, payload_id: str) -> None:
        """There is none."""

    def stop_engine(self, payload_id: str) -> None:
        """There is none."""

    def engine_of(self, payload_id: str) -> ObservedEngine:
        """As if."""
        return ObservedEngine(runs=True, deaths=0)

    def run_of(self, payload_id: str) -> ObservedRun | None:
        """Nobody knows."""
        return None

    def apply_site(self) -> None:
        """Note it."""
        self.applied.append(time.monotonic())

    def restart(self) -> None:
        """Note it."""
        self.restarts.append(time.monotonic())
