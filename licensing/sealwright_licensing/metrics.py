"""Figures of one process for Prometheus: what was decided, how long requests took, what the database refused.

Each process counts for itself; Prometheus adds up its instances. What is of the whole fleet is read from the database
by the operators' process alone (operators/fleet_metrics.py), so that nothing is counted twice. No label holds an id.
"""

from __future__ import annotations

import errno

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, start_http_server

from sealwright_policies.errors import OperationError

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REGISTRY = CollectorRegistry()
MOST_WORKERS = 64
OTHER = "other"
"""Route of a request that belongs to none."""

DECISIONS = Counter(
    "sealwright_license_decisions", "Decisions about boxes, by what was asked and by code", ("purpose", "code"),
    registry=REGISTRY,
)  # fmt: skip
REQUESTS = Histogram(
    "sealwright_license_request_seconds", "Time from a request's headers to the end of its answer",
    ("method", "route", "status"), registry=REGISTRY,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)  # fmt: skip
RUNNING = Gauge("sealwright_license_requests_running", "Requests that are being answered", registry=REGISTRY)
DATABASE_ERRORS = Counter(
    "sealwright_license_database_errors", "Transactions that the database refused", registry=REGISTRY
)


def own_metrics() -> bytes:
    """This process's figures in Prometheus' text format."""
    return generate_latest(REGISTRY)


def listen(host: str, port: int) -> int:
    """Serve them over plain HTTP, for an exporter's port that only the own machine or network reaches.

    Workers of one service take the ports from this one on, each the first that is free.

    Returns:
        The port.

    Raises:
        OperationError: none can be listened on.
    """
    for candidate in range(port, port + MOST_WORKERS):
        try:
            start_http_server(candidate, host, REGISTRY)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OperationError(
                    f"{host}:{candidate} cannot be listened on: {error.strerror}.", cure="Change [metrics]."
                ) from error
        else:
            return candidate
    raise OperationError(f"{host}:{port} and the ports behind it are taken.", cure="Change [metrics].")
