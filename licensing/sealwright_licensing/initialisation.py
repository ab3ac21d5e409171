"""Making a new licence service: keys, authorities, configuration, database, and the file that builds are given."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from sealwright_licensing import authorities, keys, schema
from sealwright_licensing.config import ServiceFolder, config_text, load_config
from sealwright_licensing.database import open_engine
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.service import CustodianKeys, LicenseService

DEFAULT_PORT = 8444


def create_service(path: Path, *, url: str, service_id: str, now: int) -> ServiceFolder:
    """Make the folder of a new service; it stands there whole or not at all.

    Raises:
        UsageError: the URL is no https://HOST[:PORT].
        OperationError: something is there already, or the disk refuses.
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
            _fill(ServiceFolder(partial), url=url, service_id=service_id, port=address, now=now)
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


def _fill(folder: ServiceFolder, *, url: str, service_id: str, port: int, now: int) -> None:
    folder.keys.mkdir(mode=0o700)
    document_key, log_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    policy_key, device_ca_key, tls_ca_key, tls_key, custodian_lease, custodian_release = (
        keys.new_p256_key() for _ in range(6)
    )
    tls_ca = authorities.new_authority(tls_ca_key, f"Sealwright TLS authority {service_id}"[:64], now=now)
    device_ca = authorities.new_authority(device_ca_key, f"Sealwright device authority {service_id}"[:64], now=now)
    server = authorities.new_server_certificate(tls_ca, tls_ca_key, tls_key.public_key(), url, now=now)
    for name, key in (
        (keys.LEASE_DOCUMENT_KEY, document_key),
        (keys.LEASE_POLICY_KEY, policy_key),
        (keys.LOG_KEY, log_key),
        (keys.DEVICE_CA_KEY, device_ca_key),
        (keys.TLS_CA_KEY, tls_ca_key),
        (keys.TLS_SERVER_KEY, tls_key),
        (keys.CUSTODIAN_LEASE_KEY, custodian_lease),
        (keys.CUSTODIAN_RELEASE_KEY, custodian_release),
    ):
        keys.write_secret(folder.keys / name, keys.private_pem(key))
    keys.write_secret(folder.keys / keys.NONCE_KEY, keys.new_nonce_key())
    for name, certificate in (
        (keys.DEVICE_CA_CERTIFICATE, device_ca),
        (keys.TLS_CA_CERTIFICATE, tls_ca),
        (keys.TLS_SERVER_CERTIFICATE, server),
    ):
        (folder.keys / name).write_text(_pem(certificate))
    public = LicenseService(
        version=1,
        service_id=service_id,
        url=url,
        ca=_pem(tls_ca),
        lease_document_key=keys.public_pem(document_key),
        lease_policy_key=keys.public_pem(policy_key),
        device_ca=_pem(device_ca),
        log_key=keys.public_pem(log_key),
        custodian_keys=CustodianKeys(
            lease_share=keys.public_pem(custodian_lease), release_share=keys.public_pem(custodian_release)
        ),
    )
    folder.service_file.write_bytes(document_bytes(public) + b"\n")
    folder.config_file.write_text(config_text(service_id, url, "127.0.0.1", port))
    engine = open_engine(folder.database_url(load_config(folder)))
    try:
        schema.upgrade(engine)
    finally:
        engine.dispose()


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
