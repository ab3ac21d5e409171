"""What the benchmark of renewals is made of: many devices renew with a real service, and its costs are counted."""

from __future__ import annotations

import time
from pathlib import Path

from sealwright_testing.license_server import running_service
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.process_costs import process_costs
from sealwright_testing.renewal_clients import RenewalClients, enroll_devices


def test_each_device_renews_again_and_again_on_one_connection(tmp_path: Path) -> None:
    world = LicenseWorld.create(tmp_path / "service", now=int(time.time()))
    devices = enroll_devices(world, 3)
    world.store.close()
    with running_service(world.folder) as server:
        clients = RenewalClients(server, devices)
        before = process_costs(server.process.pid)
        load = clients.renew(12, at_once=3)
        after = process_costs(server.process.pid)
        clients.close()

    assert len(load.latencies_ms) == 12
    assert sum(one.device.lease_number for one in devices) == 3 + 12
    assert load.percentile(0.5) <= load.percentile(0.99) <= max(load.latencies_ms)
    assert after.cpu_s > before.cpu_s > 0
    assert after.resident > 1 << 20
