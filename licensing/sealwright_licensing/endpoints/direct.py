"""What boxes post goes to its endpoint directly.

FastAPI describes these routes and would answer them as well; but matching, resolving dependencies and three layers of
error handling cost as much processor time as reading a renewal does, and an endpoint that reads its own body needs none
of it. Everything else is FastAPI's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Refuse = Callable[[Request, Exception], Awaitable[Response]]


class DirectRoutes:
    """Calls endpoints that take a request alone; ``refuse`` answers for what one raises."""

    def __init__(self, app: ASGIApp, routers: Iterable[APIRouter], refuse: Refuse) -> None:
        self._app = app
        self._routes = {
            (method, route.path): route
            for router in routers
            for route in router.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except Exception as error:
            response = await self._refuse(request, error)
        await response(scope, receive, send)
