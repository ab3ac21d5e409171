"""Schema migrations (Alembic), shipped in the package. Up and down; run through :mod:`sealwright_licensing.schema`."""
