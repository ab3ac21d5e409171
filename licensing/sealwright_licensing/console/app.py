"""The console as routes of the operators' application."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from sealwright_licensing.console import (
    audit_pages,
    device_pages,
    entry_pages,
    fleet_pages,
    license_pages,
    log_pages,
    metering_pages,
    operation_forms,
    release_pages,
    token_pages,
)
from sealwright_licensing.console.device_operations import DEVICES, RELEASES, TOKENS
from sealwright_licensing.console.guard import Guard
from sealwright_licensing.console.license_operations import LICENSES
from sealwright_licensing.console.pages import STATIC, Console, is_page
from sealwright_licensing.limits import AddressBuckets
from sealwright_policies.wire.messages import Problem

_MODULES = (
    fleet_pages,
    license_pages,
    device_pages,
    release_pages,
    metering_pages,
    audit_pages,
    log_pages,
    token_pages,
)


class _KeptFiles(StaticFiles):
    """Files whose address changes with their content."""

    def file_response(self, *arguments: object, **named: object) -> Response:
        """A file, for the browser to keep."""
        reply = super().file_response(*arguments, **named)  # type: ignore[arg-type]
        reply.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return reply


def add_console(app: FastAPI, console: Console, failed: AddressBuckets) -> None:
    """Add its routes; ``failed`` bounds how many wrong tokens an address may try."""
    guarded = APIRouter(dependencies=[Depends(Guard(console))])
    for module in _MODULES:
        guarded.include_router(module.router(console))
    guarded.include_router(operation_forms.router(console, (LICENSES, DEVICES, RELEASES, TOKENS)))
    app.include_router(entry_pages.router(console, failed))
    app.include_router(guarded)
    app.mount("/static", _KeptFiles(directory=STATIC))


def problem_page(console: Console, request: Request, problem: Problem) -> Response | None:
    """An error as a page; None where no page was asked for."""
    if not is_page(request):
        return None
    return console.problem(console.arrive(request, session=getattr(request.state, "session", None)), problem)
