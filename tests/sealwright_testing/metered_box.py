"""A simulated box with its meter, over a real TPM and a real service, and what the service has of it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.metering.journal import Batch, BatchRow
from sealwright_appliance.metering.meter_store import MeterStore
from sealwright_appliance.metering.reporting import Reporting
from sealwright_appliance.renewal import Renewal
from sealwright_testing.metering import ALL_TOLD, PARTITION
from sealwright_testing.simulated_box import SimulatedBox, license_command

MODELS = {"medical": PARTITION}


@dataclass
class MeteredBox:
    """An enrolled box with its meter, as its agent wires it."""

    simulated: SimulatedBox
    renewal: Renewal
    gateway: str = "ab" * 16
    batches: int = 0
    meter: BoxMeter = field(init=False)
    requests_before: int = 0
    alarms_before: frozenset[str] = frozenset()
    """At the service when the test began."""

    def __post_init__(self) -> None:
        """The agent starts."""
        self.start()

    def start(self) -> None:
        """A new agent over what is on the disk."""
        identity, paths = self.renewal.identity, self.simulated.paths
        service = self.simulated.vendor.service
        store, terms = MeterStore(paths.metering), dict.fromkeys(MODELS, ALL_TOLD)
        self.meter = BoxMeter(store, service, identity.device_id, identity.license_id, MODELS, terms)
        self.reporting.open_meter()

    @property
    def reporting(self) -> Reporting:
        """Of the present agent."""
        return Reporting(self.renewal, self.meter, threading.Lock(), self.simulated.paths.tcti)

    def batch(self) -> Batch:
        """The gateway's next: one request."""
        self.batches += 1
        row = BatchRow(model="medical", key="ward", requests=1, prompt_tokens=10, completion_tokens=5, busy_ms=7)
        return Batch(gateway_id=self.gateway, number=self.batches, rows=[row])

    def serve_and_close(self) -> None:
        """One request, and a receipt of it."""
        self.meter.take(self.batch())
        self.reporting.close_interval()

    def report_all(self) -> int:
        """Report everything that waits."""
        acknowledged = 0
        while reported := self.reporting.report():
            acknowledged += reported
        return acknowledged

    def shown(self) -> dict[str, Any]:
        """What the service has of it."""
        return metering_command(self, "show", "--json")

    def requests(self) -> int:
        """All that count at the service."""
        return sum(int(one["requests"]) for one in self.shown()["usage"]) - self.requests_before

    def alarms(self) -> list[str]:
        """Codes of its new alarms."""
        return [one["code"] for one in self._alarms() if one["alarm_id"] not in self.alarms_before]

    def _alarms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = metering_command(self, "alarms", "--json")["alarms"]
        return found

    def note(self) -> None:
        """What the service has of it by now is not the next test's."""
        self.requests_before += self.requests()
        self.alarms_before = frozenset(one["alarm_id"] for one in self._alarms())

    def lease_ms(self) -> int:
        """Time for which its models were served."""
        return sum(int(one["lease_ms"]) for one in self.shown()["usage"])

    def settle(self) -> None:
        """The operator has what is disputed count."""
        found = metering_command(self, "alarms", "--json")["chains"]
        for chain in found:
            metering_command(self, "settle", chain["chain_id"], "--count", "--json")


def metering_command(box: MeteredBox, verb: str, *options: str) -> dict[str, Any]:
    """Run ``sealwright-license metering`` about a box."""
    folder, device = box.simulated.vendor.license_directory, box.renewal.identity.device_id
    about = [device] if verb == "settle" else ["--device", device]
    document: dict[str, Any] = json.loads(license_command("metering", verb, folder, *about, *options))
    return document
