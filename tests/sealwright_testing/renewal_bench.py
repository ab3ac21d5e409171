"""What renewals cost end to end: the real service on a real PostgreSQL, boxes over HTTPS, all on this machine's cores.

The clients' own processor time is a figure of its own and in none of the others; that they take it from the same cores
is in the rate and the latencies. PostgreSQL runs with its defaults, so each commit is on the disk before its reply.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sealwright_testing.bench import Figure, figure
from sealwright_testing.license_server import running_service, set_limits
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.postgres import PostgresServer, running_postgres
from sealwright_testing.process_costs import process_costs
from sealwright_testing.renewal_clients import Load, RenewalClients, enroll_devices

CLIENTS = 64
EVENTS = 100
"""Events of a boot log, as on a server with many option ROMs; a virtual machine's log has some 40."""
WARM_UP = 10
"""Renewals of each client before anything is measured: connections, prepared statements, caches."""
MANY = 1_000_000


def measure_renewals(rounds: int, renewals: int, *, workers: int) -> Iterator[Figure]:
    """Rate, latency, processor time and growth of memory, over so many rounds of so many renewals."""
    loads: list[Load] = []
    service_ms, database_ms, resident = [], [], []
    with tempfile.TemporaryDirectory() as directory, running_postgres(synced=True) as database:
        world = LicenseWorld.create(
            Path(directory) / "service", now=int(time.time()), database=database.url(database.create_database())
        )
        world.box.option_roms += EVENTS - len(world.box.boot_events())
        devices = enroll_devices(world, CLIENTS)
        world.store.close()
        set_limits(world.folder, requests_per_minute=MANY, connections_per_address=2 * CLIENTS)
        with running_service(world.folder, workers=workers) as server:
            clients = RenewalClients(server, devices)
            clients.renew(WARM_UP * CLIENTS, at_once=CLIENTS)
            service, postgres = server.process.pid, _postmaster(database)
            resident.append(process_costs(service).resident)
            for _ in range(rounds):
                before = process_costs(service).cpu_s, process_costs(postgres).cpu_s
                loads.append(clients.renew(renewals, at_once=CLIENTS))
                after = process_costs(service), process_costs(postgres)
                service_ms.append(1000 * (after[0].cpu_s - before[0]) / renewals)
                database_ms.append(1000 * (after[1].cpu_s - before[1]) / renewals)
                resident.append(after[0].resident)
            clients.close()
    about = f"{CLIENTS} clients, processes: {workers}"
    both = [a + b for a, b in zip(service_ms, database_ms, strict=True)]
    yield figure("renewals_per_s", [load.per_second for load in loads], "1/s", against=about)
    yield figure("renewal_cpu_ms", both, "ms", against=f"service and PostgreSQL; {about}")
    yield figure("renewal_cpu_ms_service", service_ms, "ms", against=about)
    yield figure("renewal_cpu_ms_postgresql", database_ms, "ms", against=about)
    yield figure("renewal_cpu_ms_clients", [1000 * load.client_cpu_s / renewals for load in loads], "ms", against=about)
    yield figure("renewal_p50_ms", [load.percentile(0.5) for load in loads], "ms", against=about)
    yield figure("renewal_p99_ms", [load.percentile(0.99) for load in loads], "ms", against=about)
    growth = resident[-1] / resident[0]
    yield figure("memory_growth", [growth], "ratio", against=f"{rounds * renewals} renewals; processes: {workers}")
    yield figure("memory_mib", [one / 2**20 for one in resident], "MiB", against=about)
    yield figure("load_average", [os.getloadavg()[0]], "", against=f"{os.cpu_count()} cores")


def _postmaster(database: PostgresServer) -> int:
    return int((database.folder / "data/postmaster.pid").read_text().split()[0])
