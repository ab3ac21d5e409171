"""Who may see which page. A route that names no permission is open to nobody; a form is taken from our own pages."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import Depends, Request

from sealwright_licensing.console.forms import Form, read_form
from sealwright_licensing.console.pages import Console, Visit
from sealwright_licensing.operators.api.desk import PERMISSION
from sealwright_licensing.operators.browser import CSRF_FIELD, form_session, page_session
from sealwright_licensing.operators.errors import forbidden
from sealwright_licensing.operators.roles import Permission
from sealwright_policies.errors import RejectionCode, VerificationError


class Guard:
    """Stands before every page but the login."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, request: Request, form: Annotated[Form, Depends(read_form)]) -> None:
        """Let in whom the route's permission is granted.

        Raises:
            OperatorError: UNAUTHENTICATED, FORBIDDEN, CROSS_SITE.
            VerificationError: RATE_LIMITED.
        """
        desk, limits = self._console.desk, self._console.desk.config.operators.session_limits
        if request.method in ("GET", "HEAD"):
            session = page_session(request, desk.store, limits, now=desk.now())
        else:
            given = form.text(CSRF_FIELD)
            session = form_session(request, given, desk.store, limits, now=desk.now())
        if not desk.buckets.take(session.session_hash, now=time.monotonic()):
            raise VerificationError(RejectionCode.RATE_LIMITED, "too many requests in this session")
        request.state.session = session
        described = getattr(request.scope.get("route"), "openapi_extra", None) or {}
        if PERMISSION not in described:
            raise forbidden("This is not open to anybody.")
        session.principal.require(Permission(described[PERMISSION]))
        request.state.visit = self._console.arrive(request, session=session, form=form)


def opens(permission: Permission) -> dict[str, Any]:
    """What a page's route is declared with: the permission that it needs."""
    return {"openapi_extra": {PERMISSION: permission.value}, "include_in_schema": False}


def visit_of(request: Request) -> Visit:
    """The visit; the guard has put it there."""
    visit: Visit = request.state.visit
    return visit
