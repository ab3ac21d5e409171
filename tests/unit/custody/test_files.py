"""Keys in files and systemd credentials."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealwright_custody.keeper import Keeper
from sealwright_custody.kinds import KeyKind
from sealwright_custody.locator import CredentialLocator, FileLocator
from sealwright_custody.secret_file import CREDENTIALS_VARIABLE, read_secret, write_secret
from sealwright_policies.errors import OperationError, UsageError

KEY = FileLocator(Path("k.pem"))
CREDENTIAL = CredentialLocator("k.pem")


def test_a_file_is_made_once(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    keeper.generate(KEY, KeyKind.P256)
    assert (tmp_path / "k.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(OperationError, match="no key is overwritten"):
        keeper.generate(KEY, KeyKind.P256)
    with pytest.raises(OperationError, match="not an Ed25519 key"):
        keeper.open_ed25519(KEY)
    keeper.destroy(KEY)
    with pytest.raises(OperationError, match=r"cannot be read.*backup"):
        keeper.open_p256(KEY)


def test_only_pem_keys_of_the_kind_are_taken(tmp_path: Path) -> None:
    write_secret(tmp_path / "k.pem", b"nothing")
    with pytest.raises(OperationError, match="not a private key"):
        Keeper(tmp_path).open_p256(KEY)
    (tmp_path / "k.pem").unlink()
    other = rsa.generate_private_key(65537, 2048)
    write_secret(tmp_path / "k.pem", other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(OperationError, match="not a P-256 signing key"):
        Keeper(tmp_path).open_p256(KEY)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o611])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    write_secret(tmp_path / "pin", b"1234")
    (tmp_path / "pin").chmod(mode)
    with pytest.raises(OperationError, match="can be read by others"):
        read_secret(tmp_path / "pin")


def test_what_is_no_file_or_too_long_is_refused(tmp_path: Path) -> None:
    write_secret(tmp_path / "long", b"x" * 70_000)
    with pytest.raises(OperationError, match="no secret"):
        read_secret(tmp_path / "long")
    with pytest.raises(OperationError):
        read_secret(tmp_path)


def test_a_credential_is_read_from_the_folder_that_systemd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(tmp_path)
    monkeypatch.delenv(CREDENTIALS_VARIABLE, raising=False)
    with pytest.raises(OperationError, match=r"was not handed over.*LoadCredentialEncrypted"):
        keeper.open_p256(CREDENTIAL)
    keeper.generate(KEY, KeyKind.P256)
    monkeypatch.setenv(CREDENTIALS_VARIABLE, str(tmp_path))
    (tmp_path / "k.pem").chmod(0o440)  # as systemd leaves it where it gives its user access by an ACL
    assert keeper.open_p256(CREDENTIAL).public_key()
    (tmp_path / "k.pem").chmod(0o444)
    with pytest.raises(OperationError, match="can be read by others"):
        keeper.open_p256(CREDENTIAL)
    with pytest.raises(UsageError, match="systemd-creds"):
        keeper.generate(CredentialLocator("new"), KeyKind.P256)
