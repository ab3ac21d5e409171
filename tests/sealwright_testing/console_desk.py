"""The console over a world, in this process: a browser without script."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

from starlette.testclient import TestClient

from sealwright_licensing.operators.roles import Role
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import ORIGIN, SAME_ORIGIN, OperatorDesk, Reply

PAGE = {"Accept": "text/html", "Accept-Language": "en"}
_CSRF = re.compile(r'name="csrf_token" value="([0-9a-f]{64})"')


@dataclass
class ConsoleVisitor:
    """Somebody with a role who is logged in."""

    desk: OperatorDesk
    client: TestClient

    @classmethod
    def log_in(cls, desk: OperatorDesk, role: Role = Role.OPERATOR, token: str = "") -> ConsoleVisitor:
        """Log in by the form."""
        client = TestClient(desk.app, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False)
        reply = client.post("/login", data={"token": token or desk.tokens[role]}, headers=SAME_ORIGIN | PAGE)
        assert reply.status_code == 303, reply.text
        return cls(desk, client)

    @classmethod
    def open(cls, world: LicenseWorld, role: Role = Role.OPERATOR) -> ConsoleVisitor:
        """The same, with a desk of its own."""
        return cls.log_in(OperatorDesk.open(world), role)

    def ask(self, path: str, **headers: str) -> Reply:
        """Ask for a page."""
        reply: Reply = self.client.get(path, headers=PAGE | headers)
        return reply

    def page(self, path: str, **headers: str) -> str:
        """A page that there is."""
        reply = self.ask(path, **headers)
        assert reply.status_code == 200, (reply.status_code, reply.text)
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        return reply.text

    @property
    def csrf(self) -> str:
        """The token of this session's forms."""
        found = _CSRF.search(self.page("/licenses"))
        assert found is not None
        return found.group(1)

    def send(self, path: str, headers: dict[str, str] = SAME_ORIGIN, /, **fields: Any) -> Reply:
        """Send a form with the session's token, unless the fields say otherwise."""
        given = {"csrf_token": self.csrf, "once": secrets.token_hex(16)} | fields
        reply: Reply = self.client.post(path, data=given, headers=PAGE | headers)
        return reply


class Elements(HTMLParser):
    """Elements of a page: name and attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of these kinds."""
        return [attributes for tag, attributes in self.found if tag in tags]
