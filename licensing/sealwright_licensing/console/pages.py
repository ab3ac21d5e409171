"""Pages: rendered by Jinja2, everything escaped, every word from the catalogue."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from sealwright_licensing.console import marks
from sealwright_licensing.console.forms import EMPTY, Form
from sealwright_licensing.console.headers import HEADERS
from sealwright_licensing.console.languages import catalogue, cure, say, word
from sealwright_licensing.operators.api.desk import Desk
from sealwright_licensing.operators.browser import CSRF_FIELD
from sealwright_licensing.operators.roles import Permission
from sealwright_licensing.operators.sessions import Session
from sealwright_policies.errors import SealwrightError
from sealwright_policies.languages import LANGUAGE_COOKIE, Language, chosen_language
from sealwright_policies.wire.messages import Problem

_HERE = Path(__file__).parent
STATIC = _HERE / "static"
HTMX = "HX-Request"
DONE_COOKIE = "__Host-sealwright-done"
"""What was done last, to be said once on the page that comes next."""


def environment() -> Environment:
    """What templates are rendered in."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        time=marks.time_mark, short=marks.short_mark, whole=marks.whole_mark, number=marks.number, utc=marks.utc
    )
    made.globals.update(static=_addresses(), Permission=Permission, CSRF_FIELD=CSRF_FIELD, Language=Language)
    return made


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a browser: by whom, in which language, with which form."""

    request: Request
    language: Language
    now: int
    session: Session | None = None
    form: Form = EMPTY

    @property
    def known(self) -> Session:
        """The session of somebody who is logged in; the guard has seen to it."""
        assert self.session is not None  # noqa: S101
        return self.session

    def may(self, permission: Permission) -> bool:
        """Whether he may do something: what he may not is not offered."""
        return self.session is not None and self.session.principal.may(permission)

    @property
    def say(self) -> Callable[..., str]:
        """A text of the catalogue."""
        return partial(say, self.language)

    @property
    def done(self) -> str:
        """What was done on the page before, as a key of the catalogue; empty for nothing."""
        key = f"done.{self.request.cookies.get(DONE_COOKIE, '')}"
        return key if key in catalogue(self.language) else ""

    @property
    def place(self) -> str:
        """Where he is, to come back to."""
        query = self.request.url.query
        return self.request.url.path + (f"?{query}" if query else "")


@dataclass(frozen=True, slots=True)
class Console:
    """Renders pages over a desk."""

    desk: Desk
    problem_of: Callable[[SealwrightError], Problem]
    """The problem that an operator is told."""
    templates: Environment = field(default_factory=environment)

    def arrive(self, request: Request, *, session: Session | None = None, form: Form = EMPTY) -> Visit:
        """A visit of this request."""
        language = chosen_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language", ""))
        return Visit(request, language, self.desk.now(), session, form)

    def page(self, visit: Visit, template: str, *, status: int = 200, **values: object) -> Response:
        """A page."""
        rendered = self.templates.get_template(template).render(
            visit=visit,
            t=visit.say,
            word=partial(word, visit.language),
            cure=partial(cure, visit.language),
            duration=partial(marks.duration, visit.language),
            service_id=self.desk.config.service_id,
            done=visit.done,
            **values,
        )
        reply = HTMLResponse(rendered, status, HEADERS)  # also where the middleware does not reach: a failure
        if DONE_COOKIE in visit.request.cookies:
            reply.delete_cookie(DONE_COOKIE, secure=True, httponly=True, samesite="strict", path="/")
        return reply

    def problem(self, visit: Visit, problem: Problem) -> Response:
        """An error as a page."""
        if problem.status == 401 and visit.request.method == "GET":
            return to_login(visit)
        return self.page(visit, "problem.html", status=problem.status, problem=problem)


def is_page(request: Request) -> bool:
    """Whether a browser asks for a page, and not a program for a document."""
    wants = "text/html" in request.headers.get("Accept", "") or HTMX in request.headers
    return wants and not request.url.path.startswith("/api/")


def to_login(visit: Visit) -> Response:
    """Have somebody log in, and come back."""
    target = address("/login", {"next": visit.place if visit.place != "/" else ""})
    if HTMX in visit.request.headers:
        return Response(status_code=401, headers={"HX-Redirect": target})
    return RedirectResponse(target, 303)


def done(target: str, what: str) -> Response:
    """Go on to a page that says what was done."""
    reply = RedirectResponse(target, 303)
    reply.set_cookie(DONE_COOKIE, what, max_age=60, secure=True, httponly=True, samesite="strict", path="/")
    return reply


def address(path: str, query: Mapping[str, object]) -> str:
    """A path with a query; what is empty is left out."""
    given = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def own_path(given: str) -> str:
    """A path of ours to go back to; the first page if it leads elsewhere."""
    plain = given.isascii() and given.isprintable() and "\\" not in given
    return given if plain and given.startswith("/") and not given.startswith("//") else "/"


def _addresses() -> dict[str, str]:
    """Addresses of the static files, which change with their content, so that browsers may keep them."""
    return {
        path.name: f"/static/{path.name}?v={hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
        for path in STATIC.iterdir()
    }
