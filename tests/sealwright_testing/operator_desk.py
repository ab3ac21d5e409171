"""The operators' application of a licence service, in this process, with tokens of every role."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.testclient import TestClient

from sealwright_licensing.actors import Actor, ActorKind
from sealwright_licensing.config import load_config
from sealwright_licensing.operators.app import create_operator_app
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_licensing.store_sql import SqlStore
from sealwright_testing.license_world import LicenseWorld

OPERATOR = Actor(ActorKind.CLI, "test")
ORIGIN = "https://operators.test"
SAME_ORIGIN = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}


class Reply(Protocol):
    """What is looked at in an HTTP response."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Any: ...
    @property
    def text(self) -> str: ...
    def json(self) -> Any: ...


@dataclass
class OperatorDesk:
    """The application over the store of a world, whose time it has."""

    world: LicenseWorld
    app: FastAPI
    client: TestClient
    tokens: dict[Role, str] = field(default_factory=dict)

    @classmethod
    def open(cls, world: LicenseWorld) -> OperatorDesk:
        """Build it, and make a token for each role."""
        store = SqlStore(world.store.engine)  # as in the operators' process
        app = create_operator_app(store, world.folder, load_config(world.folder), now=lambda: world.now)
        desk = cls(world, app, TestClient(app, base_url=ORIGIN, raise_server_exceptions=False))
        desk.tokens = {role: desk.token(role.value, role) for role in Role}
        return desk

    def token(self, name: str, role: Role, **more: Any) -> str:
        """Make another token."""
        return create_token(self.world.store, OPERATOR, name, role, now=self.world.now, **more)[1]

    def ask(self, path: str, *, role: Role = Role.OPERATOR, token: str = "", method: str = "GET", **more: Any) -> Reply:
        """A request with a role's token, or with another."""
        headers = {"Authorization": f"Bearer {token or self.tokens[role]}", **more.pop("headers", {})}
        reply: Reply = self.client.request(method, f"/api/v1{path}", headers=headers, **more)
        return reply

    def get(self, path: str, **more: Any) -> Any:
        """What a good request gets."""
        reply = self.ask(path, **more)
        assert reply.status_code == 200, reply.text
        return reply.json()


def problem_code(reply: Reply, status: int) -> str:
    """The code of a problem, after its form has been looked at."""
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    shown = reply.json()
    assert (reply.status_code, shown["status"]) == (status, status), shown
    assert shown["detail"]
    code: str = shown["code"]
    return code
