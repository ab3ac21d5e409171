"""A service whose keys are in a PKCS#11 token: made, used for everything, and stopped by a wrong PIN."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sealwright_custody.keeper import Keeper
from sealwright_custody.kinds import KeyKind
from sealwright_custody.locator import TokenLocator
from sealwright_custody.token_key import TokenEd25519Key, TokenP256Key
from sealwright_licensing import initialisation
from sealwright_licensing.cli import main
from sealwright_licensing.keyring import IN_TOKEN, KeyRole, load_keyring
from sealwright_licensing.keys import load_signing_keys
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.device_certificate import verify_device_certificate
from sealwright_policies.wire.lease import verify_lease
from sealwright_testing.license_world import SERVICE_ID, LicenseWorld
from sealwright_testing.softhsm import SoftToken, new_token


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> SoftToken:
    return new_token(tmp_path_factory.mktemp("pins"))


def objects(token: SoftToken) -> set[str]:
    """Labels of the private keys in the token."""
    keeper = Keeper(Path("/"))
    found = keeper.token(token.locator()).use(
        lambda session: {one.label for one in session.get_objects() if type(one).__name__ == "PrivateKey"}
    )
    keeper.close()
    return found


def destroy_all(token: SoftToken) -> None:
    keeper = Keeper(Path("/"))
    for label in objects(token):
        keeper.destroy(TokenLocator(token.locator().module, token.label, token.locator().pin, label))
    keeper.close()


def test_everything_that_boxes_get_is_signed_and_unwrapped_in_the_token(
    token: SoftToken, tmp_path: Path, database: str
) -> None:
    """Enrolment and renewal, with shares, leases and a device certificate; no private key of these is in a file."""
    world = LicenseWorld.create(tmp_path / "service", database=database, token=token.locator())
    assert objects(token) == {f"{SERVICE_ID}/{role}" for role in IN_TOKEN}
    files = {path.name for path in world.folder.keys.glob("*.pem")}
    assert files == {"tls-ca.pem", "tls-server.pem"}
    assert isinstance(world.keys.lease_policy, TokenP256Key)
    assert isinstance(world.keys.lease_document, TokenEd25519Key)
    _, (code,) = world.issue()
    device = world.device()
    granted = world.enroll(device, code)
    for lease in granted.leases:
        verify_lease(lease, world.service)
    verify_device_certificate(granted.device_certificate, world.service.device_ca, now=granted.service_time)
    (shares,) = granted.shares
    for sealed, clear in zip(
        (shares.lease_share, shares.release_share), world.shares[shares.partition_id], strict=True
    ):
        parts = (bytes(part) for part in (sealed.public, sealed.duplicate, sealed.encrypted_seed))
        assert device.import_share(*parts) == clear
    assert token.pin not in (world.folder.keys / "keyring.json").read_text()
    world.store.close()
    destroy_all(token)


def test_a_failed_init_leaves_no_key_in_the_token(
    token: SoftToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OperationError("No space left.")

    monkeypatch.setattr(initialisation, "save_keyring", fail)
    with pytest.raises(OperationError, match="No space"):
        initialisation.create_service(tmp_path / "s", url="https://a", service_id="a", now=0, token=token.locator())
    assert objects(token) == set()
    assert not (tmp_path / "s").exists()


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    assert main([*map(str, arguments), "--json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out or "null")


def test_a_service_moves_into_a_token_key_by_key(
    world: LicenseWorld, token: SoftToken, capsys: pytest.CaptureFixture[str]
) -> None:
    """One is moved, one is made anew inside; boxes on the old image see leases by the moved key as before."""
    directory, before = world.folder.path, world.service
    run(capsys, "keys", "move", directory, "lease-policy", token.locator("lease-policy"))
    made = run(
        capsys, "keys", "rotate", directory, "custodian-release-share", "--keeper", token.locator("release-share")
    )
    assert (made["rewrapped"], made["keeper"].startswith("pkcs11:")) == (1, True)
    (world.folder.keys / "lease-policy.pem").unlink()
    world.restart()
    assert isinstance(world.keys.lease_policy, TokenP256Key)
    _, (code,) = world.issue()
    granted = world.enroll(world.device(), code)
    for lease in granted.leases:
        verify_lease(lease, before)
    assert {one["problem"] for one in run(capsys, "keys", "list", directory, "--check")} == {""}
    destroy_all(token)


def test_a_wrong_pin_stops_the_service_once_and_again_without_a_try(
    world: LicenseWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process and its next start: a supervisor that restarts it does not lock the token."""
    token = new_token(tmp_path / "pins")
    run(capsys, "keys", "rotate", world.folder.path, "lease-policy", "--keeper", token.locator("lease-policy"))
    token.write_pin("47110815")
    serve = [str(Path(sys.executable).parent / "sealwright-license"), "serve", str(world.folder.path), "--port", "0"]
    said = []
    for _ in range(2):
        done = subprocess.run(serve, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert "47110815" not in done.stdout + done.stderr
        said.append(done.stderr)
    assert "does not take the PIN" in said[0]
    assert "was given a wrong PIN the last time, so none is tried" in said[1]
    token.write_pin(token.pin)
    capsys.readouterr()
    assert run(capsys, "keys", "list", world.folder.path, "--try-pin")[0]["problem"] == ""
    assert load_signing_keys(world.folder.keys)
    entry = load_keyring(world.folder.keys).current(KeyRole.LEASE_POLICY)
    assert Keeper(world.folder.keys).open(entry.locator, KeyKind.P256)
