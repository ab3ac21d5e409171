"""A release key on a machine of its own: what is asked of it, what it signs, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sealwright_custody.keeper import Keeper, private_pem, public_pem
from sealwright_custody.locator import FileLocator, KeyLocator
from sealwright_custody.secret_file import write_secret
from sealwright_image.approval_files import load_request, write_request
from sealwright_image.cli import main
from sealwright_image.contents import load_approvals, load_folder
from sealwright_image.keys import load_keys
from sealwright_licensing.release_import import check_approvals
from sealwright_policies.appraisal.release import Release
from sealwright_policies.errors import VerificationError
from sealwright_policies.wire.approval_request import ApprovalReply, verify_reply
from sealwright_testing.evidence_factory import SyntheticBox, payload_fields
from sealwright_testing.softhsm import new_token

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True)
class Build:
    """An output folder without approvals, and where its release key is."""

    folder: Path
    box: SyntheticBox
    key: KeyLocator
    desk: Path
    """The other machine's folder."""

    @property
    def release(self) -> Release:
        return load_folder(self.folder).release

    @property
    def request(self) -> Path:
        return self.folder / "approval-request.json"

    def sign(self, *options: str, request: Path | None = None, code: int = 0) -> Path:
        """On the other machine."""
        reply = self.desk / "reply.json"
        arguments = ["sign-approvals", str(request or self.request), "--release-key", str(self.key)]
        arguments += ["--manifest-key", str(self.desk / "manifest.pem"), "--output", str(reply), *options]
        assert main(arguments) == code
        return reply


def build(tmp_path: Path, public: str, key: KeyLocator) -> Build:
    second = payload_fields("f1" * 32) | {"payload_id": "finance", "domain": "finance"}
    box = SyntheticBox(manifest_changes={"release_key": public, "payloads": [payload_fields(), second]})
    folder, desk = tmp_path / "image", tmp_path / "desk"
    for one in (folder, desk):
        one.mkdir()
    (folder / "manifest.json").write_bytes(box.release_envelope)
    (folder / "approvals.json").write_text("[]\n")
    for path in (folder / "manifest-key.pem", desk / "manifest.pem"):
        path.write_text(public_pem(box.manifest_key.public_key()))
    made = Build(folder, box, key, desk)
    write_request(folder, made.release, [])
    return made


@pytest.fixture
def offline(tmp_path: Path) -> Build:
    """The release key is in a file of another machine."""
    key = ec.generate_private_key(ec.SECP256R1())
    write_secret(tmp_path / "release.key", private_pem(key))
    return build(tmp_path, public_pem(key.public_key()), FileLocator(tmp_path / "release.key"))


def check(made: Build) -> None:
    """As the licence service does at import."""
    folder = load_folder(made.folder)
    check_approvals(folder.release, load_approvals(folder))


def test_the_way_of_a_request(offline: Build, capsys: Capture) -> None:
    with pytest.raises(VerificationError, match="has no approval"):
        check(offline)
    reply = offline.sign("--yes")
    shown = capsys.readouterr().out
    request = load_request(offline.request)
    assert len(request.approvals) == 3 * len(offline.release.measurements.boot_applications)
    for one in request.approvals:
        assert one.digest in shown
        assert one.pcrs["4"] in shown
    assert f"synthetic-box {offline.release.manifest.product_version}" in shown
    assert main(["add-approvals", str(offline.folder), str(reply)]) == 0
    assert "complete" in capsys.readouterr().out
    check(offline)
    assert not offline.request.exists()
    assert main(["add-approvals", str(offline.folder), str(reply)]) == 0
    check(offline)


def test_the_key_may_be_in_a_token(tmp_path: Path, capsys: Capture) -> None:
    token = new_token(tmp_path / "pins")
    public = tmp_path / "release.pem"
    key = token.locator("release")
    assert main(["keygen-release", str(key), "--public", str(public), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["fingerprint"]) == 64
    assert main(["keygen-release", str(key), "--public", str(public)]) == 2
    made = build(tmp_path, public.read_text(), key)
    signed = made.sign("--yes", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["signed"]) == len(load_request(made.request).approvals)
    assert main(["add-approvals", str(made.folder), str(signed), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == 0
    check(made)


def test_nothing_is_signed_unasked(offline: Build, capsys: Capture) -> None:
    assert not offline.sign(code=2).exists()
    assert "--yes" in capsys.readouterr().err


def other_pcr(request: dict[str, Any]) -> None:
    request["approvals"][0]["pcrs"]["11"] = "66" * 32


def other_digest(request: dict[str, Any]) -> None:
    request["approvals"][0]["digest"] = "66" * 32


def other_partition(request: dict[str, Any]) -> None:
    request["approvals"][0]["partition_id"] = "66" * 32


def other_name(request: dict[str, Any]) -> None:
    request["approvals"][0]["payload_id"] = "harmless"


def other_release(request: dict[str, Any]) -> None:
    request["release_id"] = "66" * 32


def other_version(request: dict[str, Any]) -> None:
    request["product_version"] = "9.9"


@pytest.mark.parametrize("change", [other_pcr, other_digest, other_partition, other_name, other_release, other_version])
def test_a_request_that_shows_anything_but_the_manifest_is_refused(
    offline: Build, capsys: Capture, change: Callable[[dict[str, Any]], None]
) -> None:
    document = json.loads(offline.request.read_text())
    change(document)
    offline.request.write_text(json.dumps(document))
    assert not offline.sign("--yes", code=10).exists()
    assert "MANIFEST_MISMATCH" in capsys.readouterr().err


def test_a_release_that_the_manifest_key_has_not_signed_is_refused(offline: Build, capsys: Capture) -> None:
    """Whoever controls the build host alone gets no signature: the desk has its own copy of the manifest key."""
    (offline.desk / "manifest.pem").write_text(public_pem(ec.generate_private_key(ec.SECP256R1()).public_key()))
    assert not offline.sign("--yes", code=10).exists()
    assert "DOCUMENT_SIGNATURE" in capsys.readouterr().err


def test_another_release_key_does_not_sign(offline: Build, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "release.key").unlink()
    write_secret(tmp_path / "release.key", private_pem(ec.generate_private_key(ec.SECP256R1())))
    assert not offline.sign("--yes", code=10).exists()
    assert "another release key" in capsys.readouterr().err


def test_a_reply_for_something_else_is_not_merged(offline: Build, capsys: Capture) -> None:
    reply = offline.sign("--yes")
    good = ApprovalReply.model_validate_json(reply.read_bytes())
    first = good.approvals[0]
    for changed in (
        first.model_copy(update={"pcrs": first.pcrs | {"4": "66" * 32}}),
        first.model_copy(update={"release_id": "66" * 32}),
        first.model_copy(update={"signature": good.approvals[-1].signature}),
    ):
        forged = good.model_copy(update={"approvals": [changed]})
        with pytest.raises(VerificationError):
            verify_reply(forged, offline.release)
        reply.write_text(forged.model_dump_json())
        assert main(["add-approvals", str(offline.folder), str(reply)]) == 10
    capsys.readouterr()
    partial = good.model_copy(update={"approvals": good.approvals[:3]})
    reply.write_text(partial.model_dump_json())
    assert main(["add-approvals", str(offline.folder), str(reply)]) == 0
    assert "are missing" in capsys.readouterr().out
    left = load_request(offline.request)
    assert len(left.approvals) == len(good.approvals) - 3


def test_ways_signed_later_are_asked_for_too(offline: Build) -> None:
    assert main(["add-approvals", str(offline.folder), str(offline.sign("--yes"))]) == 0
    way = offline.box.way(b"Entering ROM Based Setup")
    (offline.folder / "variants.json").write_bytes(offline.box.variants(way))
    folder = load_folder(offline.folder)
    request = write_request(offline.folder, folder.release, load_approvals(folder))
    assert request is not None
    assert {one.pcrs["4"] for one in request.approvals} == {way.pcr4}
    assert main(["add-approvals", str(offline.folder), str(offline.sign("--yes"))]) == 0
    check(offline)


def test_a_key_folder_without_the_release_key(tmp_path: Path, capsys: Capture) -> None:
    assert main(["keygen-release", str(tmp_path / "release.key"), "--public", str(tmp_path / "release.pem")]) == 0
    assert (tmp_path / "release.key").stat().st_mode & 0o777 == 0o600
    keys = tmp_path / "keys"
    assert main(["keygen", str(keys), "--release-public", str(tmp_path / "release.pem")]) == 0
    capsys.readouterr()
    assert not (keys / "release.key").exists()
    loaded = load_keys(keys)
    assert loaded.release is None
    assert loaded.release_pem == (tmp_path / "release.pem").read_text()
    assert Keeper(tmp_path).open_p256(FileLocator(Path("release.key"))).public_key() == loaded.release_public
    (keys / "release.pem").unlink()
    assert main(["build", str(tmp_path / "none.toml"), "--output", str(tmp_path / "out")]) == 2
