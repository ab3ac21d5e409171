"""/metrics: figures of the deployment and of this process, for Prometheus with a token that may read them."""

from __future__ import annotations

from fastapi import APIRouter, Response

from sealwright_licensing.metrics import MEDIA_TYPE, own_metrics
from sealwright_licensing.operators.api.desk import Desk, needs
from sealwright_licensing.operators.fleet_metrics import fleet_metrics
from sealwright_licensing.operators.roles import Permission


def router(desk: Desk) -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["status"])

    @routes.get("/metrics", summary="Figures for Prometheus", response_class=Response, **needs(Permission.METRICS_READ))
    def shown() -> Response:
        figures = fleet_metrics(desk.store, desk.folder, now=desk.now()) + own_metrics()
        return Response(figures, media_type=MEDIA_TYPE)

    return routes
