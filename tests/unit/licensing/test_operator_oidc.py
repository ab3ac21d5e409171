"""Login through an OpenID provider, a real one over TLS: who gets in as what, and what is refused."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from sealwright_licensing import keys
from sealwright_licensing.operators.browser import COOKIE
from sealwright_licensing.operators.oidc import LOGIN_COOKIE
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.openid_provider import (
    OpenidProvider,
    configure_provider,
    running_provider,
)
from sealwright_testing.operator_desk import ORIGIN, OperatorDesk, Reply, problem_code

PATH = "/api/v1/session"


@pytest.fixture(scope="module")
def setting(
    tmp_path_factory: pytest.TempPathFactory, module_database: str
) -> Iterator[tuple[OperatorDesk, OpenidProvider]]:
    folder = tmp_path_factory.mktemp("oidc") / "service"
    world = LicenseWorld.create(folder, now=int(time.time()), database=module_database)
    certificate, key = keys.tls_server_files(world.folder.keys)
    with running_provider(certificate, key) as provider:
        configure_provider(world.folder, provider, ORIGIN, {"admins": "operator", "auditors": "auditor"})
        yield OperatorDesk.open(world), provider
    world.store.close()


@pytest.fixture
def desk(setting: tuple[OperatorDesk, OpenidProvider]) -> OperatorDesk:
    setting[0].client.cookies.clear()
    return setting[0]


@pytest.fixture
def provider(setting: tuple[OperatorDesk, OpenidProvider]) -> OpenidProvider:
    provider = setting[1]
    provider.claims = {"preferred_username": "ann", "roles": ["admins"]}
    provider.changes, provider.signer = {}, None
    return provider


def begin(desk: OperatorDesk) -> str:
    """Begin a login, let the provider let one in; where it sends the browser."""
    sent = desk.client.get(f"{PATH}/oidc", follow_redirects=False)
    assert sent.status_code == 302, sent.text
    trust = str(desk.world.folder.keys / keys.TLS_CA_CERTIFICATE)
    authorized = httpx.get(sent.headers["location"], verify=ssl.create_default_context(cafile=trust))
    parts = urlsplit(authorized.headers["location"])
    return f"{parts.path}?{parts.query}"


def login(desk: OperatorDesk) -> Reply:
    """All of it."""
    return desk.client.get(begin(desk))


def test_a_person_logs_in(desk: OperatorDesk, provider: OpenidProvider) -> None:
    reply = login(desk)
    assert reply.status_code == 200
    assert 'url=/"' in reply.text
    session = desk.client.get(PATH).json()
    assert (session["name"], session["role"], session["kind"]) == ("ann", "operator", "oidc")
    cookies = [one.lower() for one in reply.headers.get_list("set-cookie")]
    (own,) = (one for one in cookies if one.startswith(COOKIE.lower()))
    assert all(word in own for word in ("secure", "httponly", "samesite=strict"))
    assert LOGIN_COOKIE not in desk.client.cookies


@pytest.mark.parametrize(
    ("roles", "role"), [(["auditors", "admins"], "operator"), ("auditors", "auditor"), (["x", "auditors"], "auditor")]
)
def test_the_claim_gives_the_role(desk: OperatorDesk, provider: OpenidProvider, roles: object, role: str) -> None:
    provider.claims["roles"] = roles
    login(desk)
    assert desk.client.get(PATH).json()["role"] == role


@pytest.mark.parametrize("roles", [None, [], ["operator"], "x", 5, {"admins": 1}])
def test_without_a_role_nobody_gets_in(desk: OperatorDesk, provider: OpenidProvider, roles: object) -> None:
    provider.claims["roles"] = roles
    assert problem_code(login(desk), 403) == "FORBIDDEN"
    assert COOKIE not in desk.client.cookies


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"}, {"iss": "https://evil.test"}, {"nonce": "x"}, {"nonce": None}, {"exp": 1}, {"exp": None},
        {"preferred_username": None}, {"preferred_username": 5}, {"preferred_username": "a\nb"}, {"azp": "another"},
    ],
)  # fmt: skip
def test_a_wrong_token_is_refused(desk: OperatorDesk, provider: OpenidProvider, changes: dict[str, Any]) -> None:
    provider.changes = changes
    assert problem_code(login(desk), 401) == "UNAUTHENTICATED"
    assert COOKIE not in desk.client.cookies


def test_a_token_of_another_signer_is_refused(desk: OperatorDesk, provider: OpenidProvider) -> None:
    provider.signer = type(provider.key).generate_key("P-256")
    assert problem_code(login(desk), 401) == "UNAUTHENTICATED"


def test_a_login_that_another_browser_began_is_refused(desk: OperatorDesk, provider: OpenidProvider) -> None:
    """Somebody hands over his own callback: with no login of one's own, and with another one."""
    foreign = begin(desk)
    desk.client.cookies.clear()
    assert problem_code(desk.client.get(foreign), 401) == "UNAUTHENTICATED"
    begin(desk)
    assert problem_code(desk.client.get(foreign), 401) == "UNAUTHENTICATED"
    assert COOKIE not in desk.client.cookies


def test_a_callback_with_another_state_is_refused(desk: OperatorDesk, provider: OpenidProvider) -> None:
    """Even with this browser's own code."""
    path = begin(desk).split("&state=")[0]
    for state in ("", "&state=", "&state=x", "&state=%C3%A9"):
        assert problem_code(desk.client.get(path + state), 401) == "UNAUTHENTICATED"
    assert COOKIE not in desk.client.cookies


def test_a_code_is_bound_to_the_browsers_verifier(desk: OperatorDesk, provider: OpenidProvider) -> None:
    """A code that was stolen on the way, put into a login of one's own: PKCE refuses it."""
    stolen = begin(desk).split("code=")[1].split("&")[0]
    desk.client.cookies.clear()
    state = begin(desk).split("state=")[1]
    assert problem_code(desk.client.get(f"{PATH}/oidc/callback?code={stolen}&state={state}"), 401) == "UNAUTHENTICATED"


def test_a_provider_that_says_no_or_nothing(desk: OperatorDesk, provider: OpenidProvider) -> None:
    state = begin(desk).split("state=")[1]
    refused = desk.client.get(f"{PATH}/oidc/callback?error=access_denied&state={state}")
    assert problem_code(refused, 401) == "UNAUTHENTICATED"
    url, provider.url = provider.url, "https://127.0.0.1:1"
    assert problem_code(desk.client.get(f"{PATH}/oidc", follow_redirects=False), 503) == "UNAVAILABLE"
    provider.url = url
