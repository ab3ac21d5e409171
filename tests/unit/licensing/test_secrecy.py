"""What never stands in the log of decisions, in the journals, or in what the service logs of itself."""

from __future__ import annotations

import base64
import logging
import ssl
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from sealwright_custody.token_key import TokenEd25519Key
from sealwright_licensing import keys
from sealwright_licensing.logs import formatter
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.operators.browser import COOKIE
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.records import Decision, LogEntryRecord, LogQueueItem, Operation
from sealwright_policies.errors import VerificationError
from sealwright_policies.transparency.entries import parse_entry
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.console_desk import ConsoleVisitor
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld, grant
from sealwright_testing.openid_provider import (
    CLIENT_ID,
    CLIENT_SECRET,
    OpenidProvider,
    configure_provider,
    running_provider,
)
from sealwright_testing.operator_desk import ORIGIN, OperatorDesk
from sealwright_testing.softhsm import new_token

SESSION = "/api/v1/session"


@contextmanager
def logging_all(path: Path) -> Iterator[None]:
    """Everything that anybody logs, as the service writes it."""
    handler, root = logging.FileHandler(path), logging.getLogger()
    handler.setFormatter(formatter())
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


def spellings(secrets: Iterable[bytes]) -> list[bytes]:
    """As they are, in hex and in base64."""
    return [
        spelling
        for raw in secrets
        for spelling in (raw, raw.hex().encode(), base64.b64encode(raw), base64.urlsafe_b64encode(raw))
    ]


def journalled(world: LicenseWorld) -> list[bytes]:
    """Every entry, numbered or not, every decision and every operation."""
    with world.store.read() as transaction:
        leaves = [one.leaf for one in transaction.find(LogEntryRecord)]
        leaves += [one.leaf for one in transaction.find(LogQueueItem)]
        records = [*map(repr, transaction.find(Decision)), *map(repr, transaction.find(Operation))]
    return [*leaves, *(one.encode() for one in records)]


def test_no_secret_of_a_box_is_in_log_journal_or_service_log(world: LicenseWorld, tmp_path: Path) -> None:
    """Of a whole life: activation, renewals, denials."""
    lines = tmp_path / "service.log"
    with logging_all(lines):
        license_, (code,) = world.issue()
        device = world.device()
        challenge = world.enrollment.challenge(device.request(code), now=world.now)
        proof = device.proof(challenge)
        granted = grant(world.enrollment.prove(proof, now=world.now))
        box = EnrolledDevice(world, license_, device, verify_lease(granted.leases[0], world.service))
        box.pass_time(DAY)
        box.renew()
        with pytest.raises(VerificationError):
            world.enrollment.challenge(device.request("00000-00000-00000-00000"), now=world.now)
        suspend_license(world.store, OPERATOR, license_.license_id, now=world.now)
        with pytest.raises(VerificationError):
            box.ask()
        world.sequence()

    shares = [share for pair in world.shares.values() for share in pair]
    secrets = spellings((proof.secret, world.keys.nonce, box.lease.next_nonce, challenge.nonce, *shares))
    secrets += [code.encode(), code.replace("-", "").encode()]
    for private in (world.folder.keys).glob("*.pem"):
        secrets += [line for line in private.read_bytes().splitlines() if b"-----" not in line]
    with world.store.read() as transaction:
        entries = [entry.leaf for entry in transaction.find(LogEntryRecord)]
        assert transaction.count(Decision) == 4
    assert {parse_entry(leaf).kind for leaf in entries} >= {"release", "decision", "operation"}
    written = [*journalled(world), lines.read_bytes()]
    assert all(secret not in text for secret in secrets for text in written)
    assert any(device.device_id.encode() in text for text in entries), "the search finds what is there"


def login(desk: OperatorDesk) -> int:
    """Log in through the provider; the status that ends it."""
    sent = desk.client.get(f"{SESSION}/oidc", follow_redirects=False)
    trust = str(desk.world.folder.keys / keys.TLS_CA_CERTIFICATE)
    authorized = httpx.get(sent.headers["location"], verify=ssl.create_default_context(cafile=trust))
    back = urlsplit(authorized.headers["location"])
    return desk.client.get(f"{back.path}?{back.query}").status_code


def log_in_and_fail_to(desk: OperatorDesk, provider: OpenidProvider) -> str:
    """By OpenID, rightly and wrongly; the session that was had. A licence is suspended with it, one with a token."""
    issued = [desk.world.issue()[0].license_id for _ in range(2)]
    provider.claims = {"preferred_username": "ann", "roles": ["admins"]}
    assert login(desk) == 200
    session: str = desk.client.cookies[COOKIE]
    assert ConsoleVisitor(desk, desk.client).send(f"/licenses/{issued[0]}/suspend").status_code == 200
    assert desk.ask(f"/licenses/{issued[1]}/suspend", method="POST").status_code == 200
    provider.changes = {"nonce": "x"}
    assert login(desk) == 401
    provider.url = "https://127.0.0.1:1"  # says that it is another
    assert desk.client.get(f"{SESSION}/oidc").status_code == 503
    return session


def test_no_secret_of_operators_or_of_a_token_is_in_them(tmp_path: Path, database: str) -> None:
    """The client secret of the OpenID provider, the PIN of a PKCS#11 token, API tokens and sessions; all in use."""
    soft, lines = new_token(tmp_path / "pins"), tmp_path / "service.log"
    with logging_all(lines):
        world = LicenseWorld.create(tmp_path / "service", now=int(time.time()), database=database, token=soft.locator())
        assert isinstance(world.keys.lease_document, TokenEd25519Key)
        EnrolledDevice.enroll(world).renew()
        with running_provider(*keys.tls_server_files(world.folder.keys)) as provider:
            configure_provider(world.folder, provider, ORIGIN, {"admins": "operator"})
            desk = OperatorDesk.open(world)
            session = log_in_and_fail_to(desk, provider)
        world.sequence()

    basic = base64.b64encode(f"{CLIENT_ID}:{quote(CLIENT_SECRET)}".encode())
    api_tokens = [desk.tokens[role].encode() for role in Role]
    secrets = spellings((CLIENT_SECRET.encode(), soft.pin.encode(), soft.so_pin.encode()))
    secrets += [basic, session.encode(), *api_tokens]
    written = [*journalled(world), lines.read_bytes(), (world.folder.keys / "keyring.json").read_bytes()]
    world.store.close()
    assert all(secret not in text for secret in secrets for text in written)
    assert any(b'"actor":"ann"' in text for text in written), "the search finds what is there"
    assert any(soft.label.encode() in text for text in written)
