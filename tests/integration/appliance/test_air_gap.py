"""Activation and renewal without a network, as people do it: `sealwright-box`, the box's pages, the vendor's command.

The service that the box knows does not run: only files go between them.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sealwright_appliance.attempt_limiter import AttemptLimiter
from sealwright_appliance.boot import BoxState
from sealwright_testing.offline_box import answer, copied
from sealwright_testing.running_box import SECRETS, RunningBox, running_box, wait_until
from sealwright_testing.simulated_box import SimulatedVendor


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> SimulatedVendor:
    """Nobody listens at its address."""
    return SimulatedVendor(tmp_path_factory.mktemp("vendor"))


@pytest.fixture
def box(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    with running_box(vendor, tmp_path_factory.mktemp("box")) as made:
        yield made


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


def run(
    box: RunningBox, *arguments: str | Path, typed: str, group: str = "activation"
) -> subprocess.CompletedProcess[str]:
    verb, *rest = arguments
    known = ("--fingerprint", box.fingerprint, "--json")
    return box.command(group, verb, box.url, *rest, *known, typed=typed + "\n")


def activate(box: RunningBox, stick: Path) -> str:
    """Both round trips by the commands; returns the administrator's key."""
    vendor, code = box.simulated.vendor, box.claim_code
    first, second, secrets = stick / "box.request", stick / "box-proof.request", stick / "secrets.json"
    asked = run(box, "request", "--out", first, typed=f"{code}\n{vendor.issue().activation_code}")
    assert asked.returncode == 0, asked.stderr
    challenge = answer(vendor, stick, [first]).reply
    proved = run(box, "proof", challenge, "--out", second, typed=code)
    assert proved.returncode == 0, proved.stderr
    granted = answer(vendor, stick, [second]).reply
    done = run(box, "reply", granted, "--secrets", secrets, typed=code)
    assert done.returncode == 0, done.stderr
    saved = json.loads(secrets.read_text())
    assert saved["recovery_key"] == SECRETS.recovery_key
    key: str = saved["api_key"]
    assert key not in done.stdout
    return key


def restart_as(box: RunningBox, state: BoxState) -> None:
    """What the next boot comes to."""
    box.start_agent(state, "Unlocked.")


def test_a_box_is_activated_and_renewed_by_its_commands(box: RunningBox, stick: Path) -> None:
    """To the end: identity, lease, secrets saved and erased, restart; then a file and a code."""
    vendor = box.simulated.vendor
    key = activate(box, stick)
    assert box.simulated.store.load_identity() is not None
    assert box.claim.code() is None
    wait_until(lambda: len(box.restarts) == 1)
    assert not (box.simulated.paths.pending_requests / "activation.json").exists()

    restart_as(box, BoxState.LOCKED)
    for number, options in ((2, ()), (3, ("--qr",))):
        asked = run(box, "request", "--out", stick / "r.request", *options, typed=key, group="renewal")
        assert asked.returncode == 0, asked.stderr
        text = json.loads(asked.stdout)["qr_text"]
        if options:
            assert (stick / "r.request").read_text().startswith("<svg ")
            reply = answer(vendor, stick, texts=[text]).reply
        else:
            reply = answer(vendor, stick, [stick / "r.request"]).reply
        done = run(box, "reply", reply, typed=key, group="renewal")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["number"] == number
        again = run(box, "reply", reply, typed=key, group="renewal")
        assert json.loads(again.stdout)["taken_up"] is False
    assert "renewal: ok: Lease 3" in box.console.read_text()


def test_the_pages_do_the_same(box: RunningBox, stick: Path) -> None:
    """Downloads, uploads and the code, without a script; errors in words."""
    vendor, claim = box.simulated.vendor, {"claim_code": box.claim_code}
    with box.http() as http:
        assert "Activate without a network" in http.get("/").text
        assert http.get("/activation/file").status_code == 200
        asked = http.post("/activation/file/request", data=claim | {"activation_code": vendor.issue().activation_code})
        first = downloaded(asked, stick)
        proof = http.post("/activation/file/proof", data=claim, files=upload(answer(vendor, stick, [first]).reply))
        second = downloaded(proof, stick)
        granted = http.post("/activation/file/reply", data=claim, files=upload(answer(vendor, stick, [second]).reply))
        (key,) = re.findall(r"sw-[A-Za-z0-9_-]{43}", granted.text)
        assert SECRETS.recovery_key in granted.text

        restart_as(box, BoxState.LOCKED)
        assert http.get("/renewal").status_code == 200
        shown = http.post("/renewal/request", data={"admin_key": key, "as": "code"})
        assert "<svg " in shown.text
        assert "default-src 'none'" in shown.headers["content-security-policy"]
        file = downloaded(http.post("/renewal/request", data={"admin_key": key, "as": "file"}), stick)
        reply = answer(vendor, stick, [file]).reply
        wrong = http.post("/renewal/reply", data={"admin_key": key + "x"}, files=upload(reply))
        assert (wrong.status_code, "ADMIN_KEY_REQUIRED" in wrong.text) == (403, True)
        assert "lease number 2" in http.post("/renewal/reply", data={"admin_key": key}, files=upload(reply)).text
        assert "Nothing to do" in http.post("/renewal/reply", data={"admin_key": key}, files=upload(reply)).text
        refused = http.post("/renewal/reply", data={"admin_key": key}, files=upload(file))
        assert (refused.status_code, "Refused" in refused.text) == (400, True)


def downloaded(reply: httpx.Response, stick: Path) -> Path:
    assert reply.status_code == 200, reply.text
    (name,) = re.findall(r'^attachment; filename="([a-z0-9-]+\.request)"$', reply.headers["content-disposition"])
    path = stick / str(name)
    path.write_bytes(reply.content)
    return path


def upload(path: Path) -> dict[str, tuple[str, bytes, str]]:
    return {"reply": (path.name, path.read_bytes(), "application/octet-stream")}


def test_every_step_of_an_activation_can_be_done_again(box: RunningBox, stick: Path) -> None:
    """With an agent that is killed between any two, and the same files."""
    vendor, code = box.simulated.vendor, box.claim_code
    activation_code = vendor.issue().activation_code

    def step(*arguments: str | Path, typed: str) -> None:
        for _ in range(2):
            box.start_agent(BoxState.WAITING_FOR_ACTIVATION)
            done = run(box, *arguments, typed=typed)
            assert done.returncode == 0, done.stderr

    first, second = stick / "box.request", stick / "proof.request"
    step("request", "--out", first, typed=f"{code}\n{activation_code}")
    challenge = answer(vendor, stick, [first]).reply
    same = answer(vendor, stick, [first]).reply.read_bytes()
    assert challenge.read_bytes() == same
    box.simulated.boot()
    box.simulated.go_up()
    step("proof", challenge, "--out", second, typed=code)
    box.simulated.boot()
    box.simulated.go_up()
    granted = answer(vendor, stick, [second]).reply
    assert answer(vendor, stick, [second]).reply.read_bytes() == granted.read_bytes()
    identity = box.simulated.paths.identity
    box.start_agent(BoxState.WAITING_FOR_ACTIVATION)
    with box.http() as http:
        for _ in range(2):  # the reply to the first is lost
            reply = http.post("/activation/file/reply", json={"claim_code": code, "reply": granted.read_text()})
            assert reply.json()["recovery_key"] == SECRETS.recovery_key
    assert (identity / "identity.json").exists()
    done = run(box, "reply", granted, "--secrets", stick / "secrets.json", typed=code)
    assert done.returncode == 0, done.stderr
    assert len(box.simulated.store.load_leases()) == 1


def test_files_that_do_not_belong_here_are_refused_in_words(
    box: RunningBox, stick: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Another box's, the reply to another request, the wrong one of two, and none at all."""
    vendor, code = box.simulated.vendor, box.claim_code
    licence = vendor.issue()

    def refused(code_: str, *arguments: str | Path, typed: str = code, group: str = "activation") -> None:
        box.agent.activation.limiter = AttemptLimiter()  # type: ignore[union-attr]
        done = run(box, *arguments, typed=typed, group=group)
        assert done.returncode == 10, done.stdout
        assert code_ in done.stderr
        box.agent.activation.limiter = AttemptLimiter()  # type: ignore[union-attr]

    def request(of: RunningBox, name: str) -> Path:
        typed = f"{of.claim_code}\n{licence.activation_code}"
        assert run(of, "request", "--out", stick / name, typed=typed).returncode == 0
        return stick / name

    with running_box(vendor, tmp_path_factory.mktemp("other")) as other:
        foreign = answer(vendor, stick, [request(other, "other.request")]).reply
        refused("OTHER_DEVICE", "proof", foreign, "--out", stick / "x")
        own = answer(vendor, stick, [request(box, "own.request")]).reply
        older, licence = copied(own, stick / "older"), vendor.issue()
        own = answer(vendor, stick, [request(box, "own.request")]).reply
        refused("REPLY_NOT_AWAITED", "proof", older, "--out", stick / "x")
        refused("OTHER_REPLY", "reply", own, "--secrets", stick / "s.json")
        refused("CLAIM_CODE_INVALID", "proof", own, "--out", stick / "x", typed="0000-0000-0000")
        proof = stick / "proof.request"
        assert run(box, "proof", own, "--out", proof, typed=code).returncode == 0
        granted = answer(vendor, stick, [proof]).reply
        refused("OTHER_REPLY", "proof", granted, "--out", stick / "x")
        taken = run(other, "reply", granted, "--secrets", stick / "s.json", typed=other.claim_code)
        assert (taken.returncode, "OTHER_DEVICE" in taken.stderr) == (10, True)
        assert other.simulated.store.load_identity() is None
    wrong = run(box, "request", "--out", stick / "x", typed=f"{code}\n12345")
    assert "four groups of five" in wrong.stderr
    missing = run(box, "proof", stick / "none", "--out", stick / "x", typed=code)
    assert missing.returncode == 2
    refused("ADMIN_KEY_REQUIRED", "request", "--out", stick / "x", typed="sw-" + "a" * 43, group="renewal")


def test_what_anybody_can_upload_breaks_nothing(box: RunningBox) -> None:
    """Without a code: always a 4xx with words."""
    head = {"content-type": "multipart/form-data; boundary=x"}
    bodies = [
        b"",
        b"--x--",
        b"--x\r\n\r\n\r\n--x--",
        b'--x\r\nContent-Disposition: form-data; name="reply"\r\n\r\nabc',
        b'--x\r\nContent-Disposition: form-data; name="reply"; filename="f"\r\n\r\n\xff\xfe\r\n--x--\r\n',
        b"--x\r\nContent-Disposition: attachment\r\n\r\nabc\r\n--x--\r\n",
        b"\xff" * 3000,
        b"--x\r\n" + b"A: b\r\n" * 500,
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n' * 40) + b"--x--\r\n",
    ]
    with box.http() as http:
        for path in ("/activation/file/proof", "/activation/file/reply", "/renewal/reply"):
            for body in bodies:
                reply = http.post(path, content=body, headers=head)
                assert 400 <= reply.status_code < 500, (path, body, reply.text)
            assert http.post(path, content=b"a", headers={"content-type": "multipart/form-data"}).status_code == 400
            assert http.post(path, content=b"a" * 3_000_000, headers=head).status_code == 413
        for body in (b"{", b"[]", b'{"reply": 1}', b'{"reply": "\xc3\xa4"}', b'{"reply": "\\ud800"}'):
            headers = {"content-type": "application/json"}
            assert http.post("/activation/file/proof", content=body, headers=headers).status_code == 400
        assert http.post("/admin/renewal/request").status_code == 401
        assert http.post("/admin/renewal/reply", json={"reply": "x"}).status_code == 401
