"""The support bundle of a gateway and an agent that run: no prompt, document, key or name is in it; who gets it."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from sealwright_appliance.outflow.key_states import KeyState
from sealwright_appliance.serve.pages import catalogue
from sealwright_client import cli
from sealwright_client.pinning import fingerprint_of, shown_certificate
from sealwright_policies.cli import main as policy
from sealwright_policies.languages import Language
from sealwright_policies.support import parse_support_bundle
from sealwright_testing.browser import PATIENCE_MS, look
from sealwright_testing.redteam.canaries import forms
from sealwright_testing.serving import ServingBox, serving_box

CANARY = "canary-of-a-patient-7f3a"
ASKED = {"model": "random", "messages": [{"role": "user", "content": CANARY}], "max_tokens": 4}
DOCUMENT = [{"role": "system", "content": f"Document: {CANARY}. " * 20}, {"role": "user", "content": "Sum it up."}]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def box(random_model: Path) -> Iterator[ServingBox]:
    """After questions that were answered, refused and broken, with a key whose name is the customer's."""
    with serving_box({"random": random_model, "elsewhere": None}) as running, running.http() as client:
        administrator = {"Authorization": f"Bearer {running.admin_key}"}
        made = client.post("/admin/api-keys", json={"name": CANARY}, headers=administrator).json()
        named = {"Authorization": f"Bearer {made['api_key']}"}
        for body in (ASKED, ASKED | {"messages": DOCUMENT}, ASKED | {"stream": True}):
            assert client.post("/v1/chat/completions", json=body, headers=named).status_code == httpx.codes.OK
        for body in (ASKED | {"model": CANARY}, ASKED | {CANARY: 1}, ASKED | {"model": "elsewhere"}):
            assert client.post("/v1/chat/completions", json=body).status_code >= httpx.codes.BAD_REQUEST
        client.get(f"/{CANARY}?{CANARY}={CANARY}", headers={"X-Patient": CANARY})
        running.outflow.count([KeyState(model="random", key=CANARY, harvest=9.0, level=1)])
        yield running


def bundle_of(box: ServingBox, key: str) -> httpx.Response:
    with box.http() as client:
        return client.post("/admin/support", headers={"Authorization": f"Bearer {key}"})


def test_nothing_of_a_customer_is_in_it(box: ServingBox) -> None:
    """While what it counts is there, so it was made after all this."""
    content = bundle_of(box, box.admin_key).content
    bundle = parse_support_bundle(content)
    for form in (*forms(CANARY.encode()), box.api_key.encode(), box.admin_key.encode(), b"127.0.0.1", b"ward"):
        assert form not in content
    assert [(one.model, one.ready) for one in bundle.gateway.load] == [("elsewhere", False), ("random", True)]
    assert bundle.box.keys is not None
    assert (bundle.box.keys.administrators, bundle.box.keys.others) == (1, 2)
    assert [(one.model, one.level) for one in bundle.box.alarms or []] == [("random", 1)]
    assert bundle.box.machine is not None
    assert bundle.box.machine.memory_bytes > bundle.box.machine.memory_free_bytes > 0
    assert bundle.box.machine.state_free_bytes


def test_what_cannot_be_read_is_named(box: ServingBox) -> None:
    """There is no TPM here, no release and no log; the rest is there all the same."""
    part = parse_support_bundle(bundle_of(box, box.admin_key).content).box
    assert part.missing == ["tpm", "appraisal", "domains"]
    assert (part.tpm, part.appraisal, part.domains) == (None, None, None)
    assert {one.id: one.state for one in part.payloads} == {"random": "open", "elsewhere": "open"}


def test_a_line_of_the_gateway_is_in_it_without_what_was_said(box: ServingBox) -> None:
    """Bytes that are no HTTP make one, and hold a canary."""
    plain = socket.create_connection(("127.0.0.1", box.port))
    with box.trust.wrap_socket(plain, server_hostname="127.0.0.1") as client:
        client.sendall(f"{CANARY} {CANARY}\r\n\r\n".encode())
        client.recv(4096)
    content = bundle_of(box, box.admin_key).content
    lines = parse_support_bundle(content).gateway.lines
    assert any(line.source == "uvicorn.error" and line.place for line in lines)
    assert CANARY.encode() not in content


@pytest.mark.parametrize("whose", ["colleague", "stranger", "nobody"])
def test_only_an_administrator_gets_it(box: ServingBox, whose: str) -> None:
    key = {"colleague": box.api_key, "stranger": "sw-" + "A" * 43, "nobody": "x"}[whose]
    reply = bundle_of(box, key)
    assert (reply.status_code, reply.json()["code"]) == (403, "ADMIN_KEY_REQUIRED")


def texts(page: Page) -> dict[str, str]:
    return dict(catalogue(Language(page.locator("html").get_attribute("lang") or "")))


def test_the_page_saves_what_it_shows(page: Page, box: ServingBox, tmp_path: Path, screenshots: Path) -> None:
    """Byte by byte, by keyboard, in both languages; and the vendor's command reads it."""
    page.goto("/administration")
    page.locator("#key").fill(box.admin_key)
    page.keyboard.press("Enter")
    said = texts(page)
    show = page.get_by_role("button", name=said["administration.support.make"])
    show.press("Enter")
    save = page.get_by_role("button", name=said["administration.support.save"], exact=True)
    expect(save).to_be_focused(timeout=PATIENCE_MS)
    shown = page.locator("#support-text").evaluate("one => one.textContent")
    page.locator("#support-preview").scroll_into_view_if_needed()
    look(page, screenshots / f"support-{page.locator('html').get_attribute('lang')}.png")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    file = tmp_path / "bundle.json"
    download.value.save_as(file)
    assert download.value.suggested_filename == "sealwright-support.json"
    assert file.read_bytes() == shown.encode()
    assert policy(["support", "show", str(file)]) == 0


@pytest.fixture
def run(box: ServingBox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Gives a command with lines on standard input; its exit code, output and errors."""
    fingerprint = fingerprint_of(shown_certificate("127.0.0.1", box.port))

    def give(verb: str, *more: str, typed: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed.encode())))
        code = cli.main(["support", verb, box.url, *more, "--fingerprint", fingerprint])
        said = capsys.readouterr()
        return code, said.out, said.err

    return give


def test_the_command_previews(box: ServingBox, run: Run) -> None:
    code, said, _ = run("preview", typed=f"{box.admin_key}\n")
    assert code == 0
    assert parse_support_bundle(said.encode()).box.keys is not None
    assert run("preview", typed=f"{box.api_key}\n")[0] == 10


def test_the_command_saves_what_it_has_shown(box: ServingBox, run: Run, tmp_path: Path) -> None:
    """Once somebody has said so, and never over a file that is there."""
    file = tmp_path / "box-support.json"
    assert run("save", "--out", str(file), typed=f"{box.admin_key}\nno\n")[0] == 2
    assert not file.exists()
    code, said, shown = run("save", "--out", str(file), "--json", typed=f"{box.admin_key}\nsave\n")
    assert code == 0
    assert json.loads(said)["bytes"] == file.stat().st_size
    assert shown.encode().startswith(file.read_bytes())
    before = file.read_bytes()
    assert run("save", "--out", str(file), "--yes", typed=f"{box.admin_key}\n")[0] == 1
    assert file.read_bytes() == before
