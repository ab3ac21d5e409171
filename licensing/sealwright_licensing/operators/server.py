"""The operators' process: a listener of its own, and of the service's keys only those of TLS.

Apart from the boxes' process so that neither a flood of boxes nor a hole in what serves people reaches the other: here
are sessions, pages and OIDC, there are the lease keys and the custodians.
"""

from __future__ import annotations

from sealwright_licensing import schema
from sealwright_licensing.config import ServiceConfig, ServiceFolder
from sealwright_licensing.database import service_engine
from sealwright_licensing.operators.app import create_operator_app
from sealwright_licensing.server import run_application
from sealwright_licensing.service_time import ServiceClock
from sealwright_licensing.store_sql import SqlStore
from sealwright_licensing.tables_as_made import require_as_made


def serve_operators(folder: ServiceFolder, config: ServiceConfig, *, host: str, port: int) -> None:
    """Run it until it is told to stop.

    Raises:
        OperationError: schema not current, TLS key missing, port taken.
        VerificationError: AUDIT_MISMATCH: the tables are not what the migrations make.
    """
    engine = service_engine(folder, config)
    schema.require_newest(engine)
    require_as_made(engine)
    store = SqlStore(engine)
    app = create_operator_app(store, folder, config, ServiceClock(store).now)
    run_application(app, folder, config.limits, host=host, port=port)
