"""The operators' process: its own port, TLS 1.3, none of the keys that open models, no token in its log."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sealwright_licensing import keys
from sealwright_licensing.keyring import SERVICE_FILES
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_server import LicenseServer, running_service
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.operator_desk import OPERATOR


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LicenseWorld]:
    made = LicenseWorld.create(tmp_path_factory.mktemp("operators") / "service", now=int(time.time()))
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def server(world: LicenseWorld) -> Iterator[LicenseServer]:
    with running_service(world.folder, "serve-operators") as running:
        yield running


def token(world: LicenseWorld, name: str, role: Role) -> str:
    """Make a token."""
    return create_token(world.store, OPERATOR, name, role, now=int(time.time()))[1]


def test_an_operator_sees_a_box(world: LicenseWorld, server: LicenseServer) -> None:
    box = EnrolledDevice.enroll(world)
    headers = {"Authorization": f"Bearer {token(world, 'reader', Role.READ_ONLY)}"}
    with server.client() as client:
        shown = client.get(f"/api/v1/devices/{box.device.device_id}", headers=headers).json()
        assert (shown["status"], shown["last_code"]) == ("live", "ok")
        assert client.get("/api/v1/decisions", headers=headers).status_code == 403
        assert client.get("/api/v1/devices").status_code == 401
        assert client.post("/v1/nonces", headers=headers, content=b"{}").status_code == 404


def test_a_browser_keeps_a_session(world: LicenseWorld, server: LicenseServer) -> None:
    """With a real cookie jar, which takes a Secure cookie over TLS only."""
    with server.client() as client:
        origin = {"Origin": f"https://{httpx.URL(server.url).netloc.decode()}"}
        begun = client.post("/api/v1/session", json={"token": token(world, "ann", Role.OPERATOR)}, headers=origin)
        assert begun.status_code == 201
        assert client.get("/api/v1/session").json()["name"] == "ann"
        ended = client.delete("/api/v1/session", headers=origin | {"X-CSRF-Token": begun.json()["csrf_token"]})
        assert ended.status_code == 204
        assert client.get("/api/v1/session").status_code == 401


def test_it_needs_none_of_the_keys_that_open_models(tmp_path: Path) -> None:
    """Without lease keys, custodians, device CA and nonce key it runs; and its log holds no token."""
    world = LicenseWorld.create(tmp_path / "service", now=int(time.time()))
    secret = token(world, "reader", Role.READ_ONLY)
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("keyring.json", "tls-server.pem", keys.TLS_SERVER_CERTIFICATE, keys.TLS_CA_CERTIFICATE):
        shutil.copy(world.folder.keys / name, kept)
    shutil.copytree(world.folder.keys / SERVICE_FILES, kept / SERVICE_FILES)
    shutil.rmtree(world.folder.keys)
    kept.rename(world.folder.keys)
    with running_service(world.folder, "serve-operators") as server:
        with server.client() as client:
            for path in ("/api/v1/status", "/api/v1/tokens", "/metrics"):
                client.get(path, headers={"Authorization": f"Bearer {secret}"})
            client.post("/api/v1/session", json={"token": secret}, headers={"Origin": server.url})
        assert server.stop() == 0
        log = server.log.read_text()
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [200, 403, 200, 201]
    assert secret not in log
    assert secret[4:14] not in log
    world.store.close()
