"""A release opens the customer's data once the customer has approved it, however well the vendor has signed it."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.claim import Claim
from sealwright_appliance.customer_orders import EACH, OrderError, merged_approvals, withdrawn
from sealwright_client.box import Box, BoxRefusedError
from sealwright_client.cli_release import running_release
from sealwright_licensing.keys import load_log_keys
from sealwright_policies.appraisal.box_evidence import TrustAnchors
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, parse_checkpoint, sign_checkpoint
from sealwright_policies.transparency.entries import entry_bytes, release_entry
from sealwright_policies.transparency.merkle import leaf_hash
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.state_approval import (
    MOST_APPROVALS,
    StateApproval,
    StateApprovals,
    approve_release,
    sign_approvals,
)
from sealwright_policies.wire.wipe_order import volume_id
from sealwright_policies.wire.withdrawal import MOST_WITHDRAWALS, Withdrawal, sign_withdrawal
from sealwright_testing.running_box import RunningBox, unlocked_box, wait_until
from sealwright_testing.simulated_box import SimulatedVendor, license_command
from sealwright_testing.simulated_disk import Disk

pytestmark = pytest.mark.redteam


@pytest.fixture
def own_vendor(tmp_path: Path) -> SimulatedVendor:
    """Whose releases change; its service does not run."""
    return SimulatedVendor(tmp_path / "vendor")


@pytest.fixture
def own_disk(own_vendor: SimulatedVendor, tmp_path: Path) -> Iterator[Disk]:
    made = Disk.blank(own_vendor, tmp_path / "box")
    yield made
    made.box.tpm.kill()


def customer_key(disk: Disk, directory: Path) -> Path:
    """As the customer got it at the claim."""
    code = Claim(disk.box.paths.claim).code()
    assert code is not None
    file = directory / "secrets.json"
    file.write_text(json.dumps({"customer_key_pem": Claim(disk.box.paths.claim).opened_with(code).customer_key_pem}))
    return file


def proof_of(vendor: SimulatedVendor, directory: Path) -> Path:
    """The log's proof for the vendor's present release, by file."""
    file = directory / f"proof-{vendor.release.manifest.product_version}.json"
    printed = license_command("release", "proof", vendor.license_directory, vendor.release.release_id)
    file.write_text(printed)
    return file


def approve(
    running: RunningBox, key: Path, proof: Path, *more: str, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    words = ("--fingerprint", running.fingerprint, *of_release(running, key, proof))
    return running.command("release", "approve", running.url, *words, *more, typed=typed)


def sign(running: RunningBox, key: Path, proof: Path, out: Path, typed: str) -> subprocess.CompletedProcess[str]:
    return running.command("release", "sign", *of_release(running, key, proof), "--out", out, typed=typed)


def of_release(running: RunningBox, key: Path, proof: Path) -> list[str | Path]:
    """The vendor's present release, in arguments."""
    vendor = running.simulated.vendor
    arguments: dict[str, str | Path] = {
        "customer-key": key,
        "service": vendor.service_file,
        "manifest-key": vendor.image / "manifest-key.pem",
        "manifest": vendor.image / "manifest.json",
        "proof": proof,
    }
    return [word for name, value in arguments.items() for word in (f"--{name}", value)]


def test_an_update_opens_the_state_volume_once_the_customer_has_approved_it(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed, logged, booted with Secure Boot: locked all the same, until the customer's own key has signed."""
    disk, first = own_disk, own_disk.boot(monkeypatch)
    key, before = customer_key(disk, tmp_path), own_vendor.release.release_id
    own_vendor.update("1.3.0")
    disk.box.install()
    locked = disk.boot(monkeypatch)
    assert (locked.state, locked.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
    assert "has not approved" in locked.sentence
    assert disk.passphrases == []

    assert locked.tls_fingerprint is not None
    with unlocked_box(disk.box, locked.tls_fingerprint, disk.console) as running:
        done = approve(running, key, proof_of(own_vendor, tmp_path), "--json", typed="1.3.0\n")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert said["releases"] == [before, own_vendor.release.release_id]
        assert said["restarts"] is True
        assert "new       payload finance: model in domain finance" in done.stderr  # nothing of it is known as running
        assert "kernel    with lockdown=confidentiality" in done.stderr
        wait_until(lambda: len(running.restarts) == 1)
        again = approve(running, key, proof_of(own_vendor, tmp_path), "--yes", "--json")
        assert (json.loads(again.stdout)["added"], json.loads(again.stdout)["restarts"]) == (0, True)
        listed = running.command("release", "list", running.url, "--fingerprint", running.fingerprint)
        assert f"{own_vendor.release.release_id}  (running)" in listed.stdout

    opened = disk.boot(monkeypatch)
    assert opened.state is BoxState.WAITING_FOR_ACTIVATION, opened
    assert opened.tls_fingerprint == first.tls_fingerprint
    assert len(disk.passphrases) == 1


def test_the_page_of_a_locked_box_takes_an_approval_file(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made where the key is. The page is in both languages; a stranger's file opens nothing, and has few attempts."""
    own_disk.boot(monkeypatch)
    key, file = customer_key(own_disk, tmp_path), tmp_path / "approval.json"
    own_vendor.update("1.3.0")
    own_disk.box.install()
    locked = own_disk.boot(monkeypatch)
    assert locked.code == BoxCode.STATE_VOLUME
    assert locked.tls_fingerprint is not None
    with unlocked_box(own_disk.box, locked.tls_fingerprint, own_disk.console) as running:
        done = sign(running, key, proof_of(own_vendor, tmp_path), file, typed="1.3.0\n")
        assert done.returncode == 0, done.stderr
        assert "new       payload finance: model in domain finance" in done.stderr
        stranger = ec.generate_private_key(ec.SECP256R1())
        foreign = document_bytes(sign_approvals(approve_release(own_vendor.release, stranger), stranger))
        with running.http("127.0.4.1") as browser:
            for language, title in (("en", "Your data stays closed"), ("zh-CN", "您的数据仍处于关闭状态")):
                page = browser.get("/", headers={"Accept-Language": language}).text
                assert title in page
                assert '<form method="post" action="/approvals/file" enctype="multipart/form-data">' in page
            refused = browser.post("/approvals/file", files={"approval": foreign})
            assert (refused.status_code, "DOCUMENT_SIGNATURE" in refused.text) == (403, True)
            assert browser.post("/approvals/file", files={"approval": b"no JSON"}).status_code == 400
            assert browser.post("/approvals/file", files={"approval": bytes(1 << 17)}).status_code == 413
            assert running.restarts == []
            taken = browser.post("/approvals/file", files={"approval": file.read_bytes()})
            assert (taken.status_code, "The box restarts now." in taken.text) == (200, True)
            wait_until(lambda: len(running.restarts) == 1)
        with running.http("127.0.4.2") as browser:
            answers = [browser.post("/approvals/file", files={"approval": foreign}) for _ in range(EACH.at_once + 1)]
            assert [one.status_code for one in answers] == [403] * EACH.at_once + [429]
            assert "RATE_LIMITED" in answers[-1].text
    assert own_disk.boot(monkeypatch).state is BoxState.WAITING_FOR_ACTIVATION


def test_an_approval_that_is_not_meant_makes_no_file(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another word than the version, or a release that the log does not have."""
    result = own_disk.boot(monkeypatch)
    key, file, old_proof = customer_key(own_disk, tmp_path), tmp_path / "approval.json", proof_of(own_vendor, tmp_path)
    own_vendor.update("1.3.0")
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running:
        refused = sign(running, key, proof_of(own_vendor, tmp_path), file, typed="1.2.0\n")
        not_logged = sign(running, key, old_proof, file, typed="1.3.0\n")
        with running.http() as browser:
            assert "/approvals/file" not in browser.get("/").text
    assert (refused.returncode, not_logged.returncode) == (2, 10)
    assert not file.exists()


def test_nobody_else_approves(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key, another word than the version, a release that the log does not have: nothing is written."""
    result = own_disk.boot(monkeypatch)
    key = customer_key(own_disk, tmp_path)
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    old_proof = proof_of(own_vendor, tmp_path)
    own_vendor.update("1.3.0")
    record = own_disk.binding_device.read_bytes()
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running:
        proof = proof_of(own_vendor, tmp_path)
        by_stranger = approve(running, stranger, proof, "--yes")
        refused = approve(running, key, proof, typed="1.2.0\n")
        not_logged = approve(running, key, old_proof, "--yes")
        several = [
            *approve_release(own_vendor.release, _private(key)),
            approve_release(own_vendor.release, _private(key))[0].model_copy(update={"release_id": "0" * 64}),
        ]
        with running.http() as client:
            body = sign_approvals(several, _private(key)).model_dump(mode="json")
            assert client.post("/approvals", json=body).status_code == 400
            assert client.post("/approvals", json={"approvals": []}).status_code == 400
            assert client.post("/approvals", content=b"x" * (1 << 17)).status_code == 413
    assert (by_stranger.returncode, refused.returncode, not_logged.returncode) == (10, 2, 10)
    assert "DOCUMENT_SIGNATURE" in by_stranger.stderr
    assert "nothing was sent" in refused.stderr
    assert "LOG_PROOF_INVALID" in not_logged.stderr
    assert own_disk.binding_device.read_bytes() == record


def test_strangers_cannot_keep_the_agent_busy(own_disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Approvals and wipes want no key, read the disk and verify signatures: each address has so many of them."""
    result = own_disk.boot(monkeypatch)
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running:
        for number, (method, path, body) in enumerate((
            ("GET", "/approvals", None),
            ("POST", "/approvals", _nobodys("0" * 64)),
            ("POST", "/wipe", {"volume_id": "0" * 64, "signature": ""}),
            ("POST", "/withdrawals", {"volume_id": "0" * 64, "release_id": "0" * 64, "signature": ""}),
        )):  # fmt: skip
            with running.http(f"127.0.3.{number}") as stranger:
                codes = [stranger.request(method, path, json=body).status_code for _ in range(EACH.at_once + 1)]
            assert 429 not in codes[:-1]
            assert codes[-1] == 429, (path, codes)
        with running.http("127.0.3.9") as customer:
            assert customer.get("/approvals").status_code == 200


def test_a_box_that_is_asked_too_often_is_not_taken_for_one_with_nothing_to_show() -> None:
    """Whoever keeps it from answering would have the customer approve without the comparison."""

    class Busy:
        def __init__(self, code: str) -> None:
            self.code = code

        def evidence(self, _: bytes) -> object:
            raise BoxRefusedError(429, self.code, "no")

    anchors = TrustAnchors.__new__(TrustAnchors)
    assert running_release(cast(Box, Busy("NO_EVIDENCE")), anchors, bytes(32)) is None
    for code in ("RATE_LIMITED", "agent_unavailable", "404"):
        with pytest.raises(BoxRefusedError):
            running_release(cast(Box, Busy(code)), anchors, bytes(32))


def test_a_test_image_is_not_approved(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logged and signed by the vendor, with a planted payload in it."""
    result = own_disk.boot(monkeypatch)
    key = customer_key(own_disk, tmp_path)
    own_vendor.synthetic = replace(
        own_vendor.synthetic, manifest_changes=dict(own_vendor.synthetic.manifest_changes) | {"flavour": "test"}
    )
    own_vendor.update("1.4.0")
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running:
        refused = approve(running, key, proof_of(own_vendor, tmp_path), "--yes")
    assert refused.returncode == 10
    assert "RELEASE_NOT_ALLOWED" in refused.stderr


def test_an_approval_that_was_altered_is_not_taken(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature is over the boot state, whatever release it is said to be for."""
    result = own_disk.boot(monkeypatch)
    key = _private(customer_key(own_disk, tmp_path))
    approval = approve_release(own_vendor.release, key)[0]
    pcrs = dict(approval.pcrs) | {"11": "00" * 32}
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running, running.http() as client:
        for change in ({"pcrs": pcrs}, {"pcrs": {"11": pcrs["11"]}}, {"signature": b"\0" * 72}):
            altered = approval.model_copy(update={"release_id": "1" * 64} | change)
            body = StateApprovals(approvals=[altered], signature=sign_approvals([approval], key).signature)
            reply = client.post("/approvals", json=body.model_dump(mode="json"))
            assert 400 <= reply.status_code < 503, reply.text
            assert reply.status_code != 200
    assert {one.release_id for one in own_disk.binding.approvals} == {own_vendor.release.release_id}


def test_a_release_in_another_log_than_the_one_seen_before_is_not_approved(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed with the true log key, and whole: a log that nobody else is shown. Then the true one, once proven."""
    result = own_disk.boot(monkeypatch)
    key, before = customer_key(own_disk, tmp_path), own_vendor.release
    first = proof_of(own_vendor, tmp_path)
    own_vendor.update("1.3.0")
    true = proof_of(own_vendor, tmp_path)
    false = false_proof(own_vendor, tmp_path)
    sizes = [size_of(own_vendor, proof) for proof in (first, true)]
    grown, wrong = tmp_path / "grown.json", tmp_path / "wrong.json"
    grown.write_text(license_command("audit", "consistency", own_vendor.license_directory, *map(str, sizes)))
    wrong.write_text(json.dumps({"path": ["0" * 64]}))
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running:
        note = json.loads(first.read_text())["checkpoint"]
        service = own_vendor.release.manifest.service_id
        kept = running.seen / "sealwright/logs" / service
        kept.parent.mkdir(parents=True)
        kept.write_text(note)
        nobody_answers = approve(running, key, true, "--yes")
        assert (nobody_answers.returncode, kept.read_text()) == (1, note)
        assert "--consistency" in nobody_answers.stderr
        for proof, consistency in ((false, grown), (false, wrong), (true, wrong)):
            refused = approve(running, key, proof, "--yes", "--consistency", str(consistency))
            assert (refused.returncode, kept.read_text()) == (10, note), refused.stderr
            assert "LOG_PROOF_INVALID" in refused.stderr
            shown = json.loads(proof.read_text())["checkpoint"]
            assert kept.with_name(f"{service}.other").read_text() == shown  # the evidence
        assert [one.release_id for one in own_disk.binding.approvals] == [before.release_id] * len(
            own_disk.binding.approvals
        )
        done = approve(running, key, true, "--yes", "--consistency", str(grown))
        assert done.returncode == 0, done.stderr
        assert "of one history" in done.stdout
        assert kept.read_text() == json.loads(true.read_text())["checkpoint"]


def size_of(vendor: SimulatedVendor, proof: Path) -> int:
    return parse_checkpoint(json.loads(proof.read_text())["checkpoint"]).size


def false_proof(vendor: SimulatedVendor, directory: Path) -> Path:
    """A log of the present release alone, signed with the service's own key."""
    manifest = vendor.release.manifest
    entry = release_entry(vendor.release.release_id, manifest.product, manifest.product_version)
    leaf = leaf_hash(entry_bytes(entry))
    checkpoint = Checkpoint(log_origin(manifest.service_id), 1, leaf)
    note = sign_checkpoint(checkpoint, *load_log_keys(vendor.license_directory / "keys"))
    named = {"product": manifest.product, "product_version": manifest.product_version}
    file = directory / "false.json"
    file.write_text(json.dumps(named | {"index": 0, "path": [], "checkpoint": note}))
    return file


def withdraw(running: RunningBox, key: Path, release: str, typed: str = "withdraw\n") -> tuple[int, str]:
    known = ("--fingerprint", running.fingerprint, "--customer-key", str(key), "--release", release)
    done = running.command("release", "withdraw", running.url, *known, "--json", typed=typed)
    return done.returncode, done.stdout or done.stderr


def test_a_withdrawn_release_does_not_open_the_state_volume_again(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Approved before it was installed, withdrawn, brought again by somebody who had kept it, started all the same."""
    disk, first = own_disk, own_disk.boot(monkeypatch)
    key, runs = customer_key(disk, tmp_path), own_vendor.release.release_id
    own_vendor.update("1.3.0")
    later = own_vendor.release
    assert first.tls_fingerprint is not None
    with unlocked_box(disk.box, first.tls_fingerprint, disk.console) as running:
        assert approve(running, key, proof_of(own_vendor, tmp_path), "--yes").returncode == 0
        kept = [one for one in disk.binding.approvals if one.release_id == later.release_id]
        assert kept
        assert withdraw(running, key, later.release_id, typed="no\n")[0] == 2
        assert disk.binding.withdrawals == []
        status, said = withdraw(running, key, later.release_id)
        assert (status, json.loads(said)["releases"]) == (0, [runs]), said
        whole_disk = disk.binding_device.read_bytes()  # the other slot, too, and what lies behind
        assert not [one for one in kept if base64.b64encode(one.signature) in whole_disk]
        brought = sign_approvals(kept, _private(key))
        labelled = [one.model_copy(update={"release_id": "f" * 64}) for one in kept]
        with running.http() as client:
            again = client.post("/approvals", json=brought.model_dump(mode="json"))
            other = client.post(
                "/approvals", json=brought.model_copy(update={"approvals": labelled}).model_dump(mode="json")
            )
        assert (again.status_code, again.json()["code"]) == (409, "APPROVAL_WITHDRAWN")
        assert (other.status_code, other.json()["code"]) == (403, "DOCUMENT_SIGNATURE")
        status, said = withdraw(running, key, runs)
        assert (status, "RELEASE_RUNS" in said) == (10, True), said
        assert withdraw(running, key, later.release_id)[0] == 2  # not approved any more
    assert [one.release_id for one in disk.binding.withdrawals] == [later.release_id]
    disk.box.install()
    locked = disk.boot(monkeypatch)
    assert (locked.state, locked.code) == (BoxState.LOCKED, BoxCode.STATE_VOLUME)
    assert "has not approved" in locked.sentence
    assert locked.tls_fingerprint is not None
    with unlocked_box(disk.box, locked.tls_fingerprint, disk.console) as running:
        status, said = withdraw(running, key, runs)  # the last one, by which alone the volume opens
        assert (status, "RUNNING_NOT_APPROVED" in said) == (10, True), said
    assert {one.release_id for one in disk.binding.approvals} == {runs}


def test_a_withdrawal_wants_a_release_that_is_approved_and_a_word(
    own_disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A digit that was mistyped would take an approval that is yet to come, for good."""
    result = own_disk.boot(monkeypatch)
    key, other = customer_key(own_disk, tmp_path), "e" * 64
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running:
        status, said = withdraw(running, key, other)
        assert (status, "--unapproved" in said) == (2, True), said
        assert own_disk.binding.withdrawals == []
        known = ("--fingerprint", running.fingerprint, "--customer-key", str(key), "--release", other, "--unapproved")
        done = running.command("release", "withdraw", running.url, *known, typed="withdraw\n")
        assert done.returncode == 0, done.stderr
        assert f"Release {other} opens your data no more, and this cannot be undone" in done.stderr
    assert [one.release_id for one in own_disk.binding.withdrawals] == [other]


def test_strangers_cannot_take_the_place_of_approvals(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the customer's own signatures under invented ids, which the TPM would take, each for a release of its own."""
    result = own_disk.boot(monkeypatch)
    key = _private(customer_key(own_disk, tmp_path))
    record, good = own_disk.binding_device.read_bytes(), sign_approvals(own_disk.binding.approvals[:1], key)
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running, running.http() as client:
        for invented in ("1" * 64, "2" * 64):
            named = [one.model_copy(update={"release_id": invented}) for one in good.approvals]
            body = StateApprovals(approvals=named, signature=good.signature).model_dump(mode="json")
            reply = client.post("/approvals", json=body)
            assert (reply.status_code, reply.json()["code"]) == (403, "DOCUMENT_SIGNATURE")
        assert client.post("/approvals", json=good.model_dump(mode="json")).json()["added"] == 0
        more = sign_approvals(own_disk.binding.approvals[:2], key)
        mixed = StateApprovals(approvals=more.approvals[:1], signature=more.signature)
        assert client.post("/approvals", json=mixed.model_dump(mode="json")).status_code == 403
    assert own_disk.binding_device.read_bytes() == record


def test_nobody_else_withdraws(
    own_disk: Disk, own_vendor: SimulatedVendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key, another volume, another release than was signed for: nothing is written."""
    result = own_disk.boot(monkeypatch)
    key, record = _private(customer_key(own_disk, tmp_path)), own_disk.binding_device.read_bytes()
    volume = volume_id(own_disk.binding.public, own_disk.binding.private)
    orders = [
        sign_withdrawal(volume, "1" * 64, ec.generate_private_key(ec.SECP256R1())),
        sign_withdrawal("2" * 64, "1" * 64, key),
        sign_withdrawal("2" * 64, "1" * 64, key).model_copy(update={"volume_id": volume}),
        sign_withdrawal(volume, "1" * 64, key).model_copy(update={"release_id": "3" * 64}),
    ]
    assert result.tls_fingerprint is not None
    with unlocked_box(own_disk.box, result.tls_fingerprint, own_disk.console) as running, running.http() as client:
        for order in orders:
            reply = client.post("/withdrawals", json=order.model_dump(mode="json"))
            assert (reply.status_code, reply.json()["code"]) == (403, "DOCUMENT_SIGNATURE")
    assert own_disk.binding_device.read_bytes() == record


def test_a_record_remembers_so_many_withdrawals(own_disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    own_disk.boot(monkeypatch)
    orders = [Withdrawal(volume_id="0" * 64, release_id=f"{one:064x}", signature=b"") for one in range(65)]
    full = own_disk.binding.model_copy(update={"withdrawals": orders[:MOST_WITHDRAWALS]})
    assert withdrawn(full, orders[0]).withdrawals == [*orders[1:MOST_WITHDRAWALS], orders[0]]
    with pytest.raises(OrderError, match="at most"):
        withdrawn(full, orders[64])


def _private(file: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(json.loads(file.read_text())["customer_key_pem"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _nobodys(release: str) -> dict[str, Any]:
    approval = {"release_id": release, "pcrs": {"4": "0" * 64}, "signature": ""}
    return {"approvals": [approval], "signature": ""}


def _approvals(release: str, states: int) -> list[StateApproval]:
    return [StateApproval(release_id=release, pcrs={"4": f"{state:064x}"}, signature=b"") for state in range(states)]


def test_what_was_approved_longest_ago_makes_room() -> None:
    """Never the running release, nor the one that is approved now."""
    releases = [f"{number:064x}" for number in range(8)]
    held = [one for release in releases for one in _approvals(release, 8)]
    assert len(held) == MOST_APPROVALS
    merged = merged_approvals(held, _approvals("f" * 64, 8), keep=releases[0])
    kept = list(dict.fromkeys(one.release_id for one in merged))
    assert kept == [releases[0], *releases[2:], "f" * 64]
    assert merged_approvals(held, _approvals(releases[3], 8), keep=None) == held
    of_one = _approvals(releases[0], 60)
    with pytest.raises(OrderError, match="at most"):
        merged_approvals(of_one, [one for one in _approvals(releases[0], 68) if one not in of_one], keep=releases[0])
