"""Making a new licence service: keys, authorities, configuration, database, and the file that builds are given."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from sealwright_custody.keeper import Keeper, PrivateKey, fingerprint, public_pem
from sealwright_custody.locator import FileLocator, KeyLocator, TokenLocator
from sealwright_custody.secret_file import write_secret
from sealwright_licensing import authorities, keys, schema
from sealwright_licensing.config import DEFAULT_DATABASE, ServiceFolder, config_text, load_config
from sealwright_licensing.database import opened_database
from sealwright_licensing.keyring import (
    IN_TOKEN,
    KeyEntry,
    Keyring,
    KeyRole,
    add_service_file,
    publish_service_file,
    save_keyring,
)
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.wire.service import CustodianKeys, LicenseService

DEFAULT_PORT = 8444


def create_service(
    path: Path,
    *,
    url: str,
    service_id: str,
    now: int,
    token: TokenLocator | None = None,
    database: str = DEFAULT_DATABASE,
    password_file: Path | None = None,
) -> ServiceFolder:
    """Make the folder of a new service; it stands there whole or not at all.

    Args:
        path: the folder.
        url: where boxes reach the service.
        service_id: by what builds know it.
        now: seconds since the epoch.
        token: makes the keys that it can hold inside this PKCS#11 token; None: all in files.
        database: as ``config.toml`` has it; a PostgreSQL database exists and is empty.
        password_file: of PostgreSQL.

    Raises:
        UsageError: the URL is no https://HOST[:PORT], or the database is of another kind.
        OperationError: something is there already, in the folder or in the database, or one of them refuses.
    """
    address = _parse_url(url)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OperationError(
            f"{path} exists and is not empty; its keys are not overwritten.", cure="Give another folder."
        )
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True, mode=0o700)
        try:
            text = config_text(
                service_id, url, "127.0.0.1", address, database=database,
                password_file=str(password_file.resolve()) if password_file else None,
            )  # fmt: skip
            _fill(ServiceFolder(partial), text, url=url, service_id=service_id, token=token, now=now)
            if path.exists():
                path.rmdir()
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise OperationError(
            f"{path} cannot be made: {error.strerror}.", cure="Check the disk's space and the folder's rights."
        ) from error
    return ServiceFolder(path)


def _parse_url(url: str) -> int:
    """The port of an https URL without path."""
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError as error:
        raise UsageError(f"--url {url}: the port is not a number up to 65535.") from error
    if parts.scheme != "https" or not parts.hostname or url != f"https://{parts.netloc}" or "@" in parts.netloc:
        raise UsageError(f"--url {url}: expected https://HOST or https://HOST:PORT, nothing behind it.")
    return port


def _fill(
    folder: ServiceFolder, configuration: str, *, url: str, service_id: str, token: TokenLocator | None, now: int
) -> None:
    folder.keys.mkdir(mode=0o700)
    folder.manifest_keys.mkdir(mode=0o700)
    keeper = Keeper(folder.keys)
    made: list[KeyLocator] = []
    try:
        _make_keys(folder, keeper, made, url=url, service_id=service_id, token=token, now=now)
        folder.config_file.write_text(configuration)
        with opened_database(folder, load_config(folder)) as engine:
            schema.create(engine)
    except BaseException:
        for locator in made:
            keeper.destroy(locator)
        raise
    finally:
        keeper.close()


def _make_keys(
    folder: ServiceFolder,
    keeper: Keeper,
    made: list[KeyLocator],
    *,
    url: str,
    service_id: str,
    token: TokenLocator | None,
    now: int,
) -> None:
    """Make every key and certificate, the keyring, and the file for builds; ``made`` gets what is in the token."""
    pairs: dict[KeyRole, PrivateKey] = {}
    entries = [KeyEntry(role=KeyRole.NONCE, keeper=_file(KeyRole.NONCE), fingerprint="", created_at=now, current=True)]
    for role in (one for one in KeyRole if one is not KeyRole.NONCE):
        locator = _place(keeper, role, service_id, token)
        pairs[role] = keeper.generate(locator, role.kind)
        if isinstance(locator, TokenLocator):
            made.append(locator)
        named = fingerprint(pairs[role].public_key())
        entries.append(KeyEntry(role=role, keeper=str(locator), fingerprint=named, created_at=now, current=True))
    write_secret(folder.keys / KeyRole.NONCE.file_name, keys.new_nonce_key())
    tls_ca_key, device_ca_key = (_p256(pairs[role]) for role in (KeyRole.TLS_CA, KeyRole.DEVICE_CA))
    tls_ca = authorities.new_authority(
        tls_ca_key, f"Sealwright TLS authority {service_id}"[:64], now=now, succession=True
    )
    device_ca = authorities.new_authority(device_ca_key, f"Sealwright device authority {service_id}"[:64], now=now)
    tls_key = _p256(pairs[KeyRole.TLS_SERVER])
    server = authorities.new_server_certificate(tls_ca, tls_ca_key, tls_key.public_key(), url, now=now)
    for name, certificate in (
        (keys.DEVICE_CA_CERTIFICATE, device_ca),
        (keys.TLS_CA_CERTIFICATE, tls_ca),
        (keys.TLS_SERVER_CERTIFICATE, server),
    ):
        (folder.keys / name).write_text(_pem(certificate))
    public = {role: public_pem(key.public_key()) for role, key in pairs.items()}
    service = LicenseService(
        version=1,
        service_id=service_id,
        url=url,
        ca=_pem(tls_ca),
        lease_document_key=public[KeyRole.LEASE_DOCUMENT],
        lease_policy_key=public[KeyRole.LEASE_POLICY],
        device_ca=_pem(device_ca),
        log_key=public[KeyRole.LOG],
        custodian_keys=CustodianKeys(
            lease_share=public[KeyRole.CUSTODIAN_LEASE_SHARE], release_share=public[KeyRole.CUSTODIAN_RELEASE_SHARE]
        ),
    )
    name = add_service_file(folder.keys, service)
    save_keyring(folder.keys, Keyring(version=1, keys=entries, service_files=[name], records_signed=True))
    publish_service_file(folder.keys, folder.service_file)


def _place(keeper: Keeper, role: KeyRole, service_id: str, token: TokenLocator | None) -> KeyLocator:
    """In the token, if there is one and it can hold such a key; else in a file."""
    if token is not None and role in IN_TOKEN:
        locator = replace(token, label=f"{service_id}/{role}")
        if keeper.can_hold(locator, role.kind):
            return locator
    return FileLocator(Path(role.file_name))


def _file(role: KeyRole) -> str:
    return str(FileLocator(Path(role.file_name)))


def _p256(key: PrivateKey) -> ec.EllipticCurvePrivateKey:
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - by its role
    return key


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
