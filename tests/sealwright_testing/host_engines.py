"""Engines of a box without systemd: started and stopped as the volume service has it done, for the agent's own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sealwright_appliance.engines import ObservedEngine
from sealwright_appliance.workloads import ObservedRun
from sealwright_testing.engine_process import EngineProcess


@dataclass
class HostEngines:
    """:class:`sealwright_appliance.volume_service.Volumes` over processes of this machine."""

    processes: Mapping[str, EngineProcess]
    """A model that has none is played by its test."""
    orders: list[tuple[str, str]] = field(default_factory=list)
    """What was done by order, ``load`` or ``unload``, and to which model."""

    def start_engine(self, payload_id: str) -> None:
        """Start a process, unless it runs."""
        if not self.engine_of(payload_id).runs:
            self.orders.append(("load", payload_id))
            self.processes[payload_id].launch()

    def stop_engine(self, payload_id: str) -> None:
        """Stop it, unless it does not run."""
        if self.engine_of(payload_id).runs:
            self.orders.append(("unload", payload_id))
            self.processes[payload_id].stop()

    def engine_of(self, payload_id: str) -> ObservedEngine:
        """It runs from its start until it is stopped or killed by its test; one that ends by itself is not started
        again before it is stopped, which systemd would do after a second."""
        if payload_id not in self.processes:
            return ObservedEngine(runs=True, deaths=0)
        process = self.processes[payload_id].process
        return ObservedEngine(process is not None, int(process is not None and process.poll() is not None))

    def close(self, payload_id: str) -> None:
        """Stop it."""
        self.stop_engine(payload_id)

    def is_corrupted(self, _: str) -> bool:
        """No: a plain file."""
        return False

    def run_of(self, _: str) -> ObservedRun | None:
        """There is none."""
        return None

    def forget(self, _: int) -> tuple[str, ...]:
        """There are no results."""
        return ()

    def apply_site(self) -> None:
        """Nothing: the machine's network is not the box's."""

    def restart(self) -> None:
        """There is no machine of its own."""
