"""Signing keys and the licence service's file: made, loaded, and refused when they do not belong together."""

from __future__ import annotations

import datetime
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealwright_image.custodians import load_custodians
from sealwright_image.keys import generate_keys, load_keys
from sealwright_image.secure_boot import SecureBootFiles, firmware_keys, write_enrolment_files
from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.image_inputs import make_service, public_pem, write_service

NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    generate_keys(folder, organisation="Example", now=NOW)
    return folder


@pytest.fixture
def keys(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "keys"))


def private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_what_is_made_can_be_loaded(keys: Path) -> None:
    loaded = load_keys(keys)
    assert loaded.db.certificate.not_valid_after_utc - NOW > datetime.timedelta(days=3649)
    assert loaded.pk.certificate.subject.rfc4514_string() == "CN=Example Secure Boot PK"
    assert "PRIVATE" not in repr(loaded)


def test_nobody_else_can_read_them(keys: Path) -> None:
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700


def test_keys_are_never_overwritten(keys: Path) -> None:
    before = (keys / "db.key").read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        generate_keys(keys, organisation="Example", now=NOW)
    assert (keys / "db.key").read_bytes() == before


def test_without_a_folder_it_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sealwright-image keygen"):
        load_keys(tmp_path / "nowhere")


def swap_certificates(keys: Path) -> None:
    shutil.copy(keys / "KEK.pem", keys / "db.pem")


def same_key_twice(keys: Path) -> None:
    for kind in ("key", "pem"):
        shutil.copy(keys / f"KEK.{kind}", keys / f"db.{kind}")


def swap_public(keys: Path) -> None:
    shutil.copy(keys / "manifest.pem", keys / "release.pem")


def one_signer(keys: Path) -> None:
    for kind in ("key", "pem"):
        shutil.copy(keys / f"manifest.{kind}", keys / f"release.{kind}")


def other_curve(keys: Path) -> None:
    (keys / "release.key").write_bytes(private_pem(ec.generate_private_key(ec.SECP384R1())))


def other_kind(keys: Path) -> None:
    (keys / "db.key").write_bytes(private_pem(ed25519.Ed25519PrivateKey.generate()))


def long_rsa(keys: Path) -> None:
    (keys / "db.key").write_bytes(private_pem(rsa.generate_private_key(public_exponent=65537, key_size=3072)))


def open_to_others(keys: Path) -> None:
    (keys / "db.key").chmod(0o640)


def gone(keys: Path) -> None:
    (keys / "PK.key").unlink()


def no_pem(keys: Path) -> None:
    (keys / "manifest.key").write_text("hello")


def no_certificate(keys: Path) -> None:
    (keys / "PK.pem").write_text("hello")


def no_guid(keys: Path) -> None:
    (keys / "owner.guid").write_text("me")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (swap_certificates, "do not belong together"),
        (same_key_twice, "must be three keys"),
        (swap_public, "do not belong together"),
        (one_signer, "none may serve two purposes"),
        (other_curve, "expected a key on P-256"),
        (other_kind, "expected an RSA key"),
        (long_rsa, "expected an RSA key of 2048 bits"),
        (open_to_others, "chmod 600"),
        (gone, "cannot be read"),
        (no_pem, "not an unencrypted PEM private key"),
        (no_certificate, "not a PEM certificate"),
        (no_guid, "not a GUID"),
    ],
)
def test_a_set_that_does_not_belong_together_is_refused(keys: Path, damage: Callable[[Path], None], told: str) -> None:
    damage(keys)
    with pytest.raises(UsageError, match=told):
        load_keys(keys)


def test_a_license_service_file_is_taken_as_it_is(tmp_path: Path) -> None:
    written = write_service(tmp_path / "service.json")
    custodians = load_custodians(tmp_path / "service.json")
    assert custodians.service == written.service
    assert custodians.service_file == (tmp_path / "service.json").read_bytes()
    assert custodians.lease_share.public_numbers() == written.lease_custodian.public_key().public_numbers()


def with_custodian(service: LicenseService, pem: str) -> LicenseService:
    return service.model_copy(
        update={"custodian_keys": service.custodian_keys.model_copy(update={"release_share": pem})}
    )


def test_custodian_keys_of_another_curve_or_serving_twice_are_refused(tmp_path: Path) -> None:
    service = make_service().service
    target = tmp_path / "service.json"
    p384 = public_pem(ec.generate_private_key(ec.SECP384R1()).public_key())
    target.write_bytes(document_bytes(with_custodian(service, p384)))
    with pytest.raises(UsageError, match="P-256"):
        load_custodians(target)
    target.write_bytes(document_bytes(with_custodian(service, service.custodian_keys.lease_share)))
    with pytest.raises(UsageError, match="none may serve two purposes"):
        load_custodians(target)
    target.write_bytes(document_bytes(with_custodian(service, service.lease_policy_key)))
    with pytest.raises(UsageError, match="none may serve two purposes"):
        load_custodians(target)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"version": 1}'])
def test_a_file_that_is_no_license_service_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "service.json").write_bytes(content)
    with pytest.raises(UsageError, match="not a valid licence-service file"):
        load_custodians(tmp_path / "service.json")


def test_a_broken_ca_certificate_is_refused(tmp_path: Path) -> None:
    service = make_service().service
    broken = service.model_copy(update={"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"})
    (tmp_path / "service.json").write_bytes(document_bytes(broken))
    with pytest.raises(UsageError, match="not a valid licence-service file"):
        load_custodians(tmp_path / "service.json")


def test_a_missing_license_service_file_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sealwright-license init"):
        load_custodians(tmp_path / "service.json")


def test_enrolment_files_hold_each_certificate_in_both_forms(keys: Path, tmp_path: Path) -> None:
    """A menu that takes DER enrols what the release expects; another certificate there is noticed."""
    folder, loaded = tmp_path / "secure-boot", load_keys(keys)
    write_enrolment_files(loaded, folder)
    for name, key in (("PK", loaded.pk), ("KEK", loaded.kek), ("db", loaded.db)):
        assert x509.load_der_x509_certificate((folder / f"{name}.cer").read_bytes()) == key.certificate
    assert SecureBootFiles.load(folder).firmware_keys() == firmware_keys(loaded)
    (folder / "db.cer").write_bytes(loaded.kek.der)
    with pytest.raises(FormatError, match=r"db\.cer is not the certificate"):
        SecureBootFiles.load(folder)
