"""Rotation of the service's keys (docs/key-rotation.md): a new one becomes current, earlier ones serve what is out.

What each step leaves is whole: a key is made, then certificates, then the licence-service file, and at last the
keyring, which alone says what counts. What this does not do: take back what an earlier key has given.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from sealwright_custody.keeper import Keeper, PrivateKey, fingerprint, public_pem
from sealwright_custody.locator import CredentialLocator, FileLocator, KeyLocator, TokenLocator
from sealwright_custody.secret_file import write_secret
from sealwright_licensing import authorities, keys
from sealwright_licensing.config import ServiceFolder
from sealwright_licensing.keyring import (
    IN_SERVICE_FILE,
    IN_TOKEN,
    KeyEntry,
    Keyring,
    KeyRole,
    add_service_file,
    load_keyring,
    load_service_files,
    publish_service_file,
    replace_file,
    save_keyring,
)
from sealwright_policies.errors import OperationError, UsageError
from sealwright_policies.transparency.checkpoint import MOST_SIGNATURES
from sealwright_policies.wire.service import LicenseService

MOST_LOG_KEYS = MOST_SIGNATURES // 2
"""The other signatures of a note are for witnesses."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """Rotates keys of one service."""

    folder: ServiceFolder
    keeper: Keeper

    def rotate(self, role: KeyRole, locator: KeyLocator | None, *, now: int) -> KeyEntry:
        """Make a new key of a role and use it from the service's next start on.

        Args:
            role: of the key.
            locator: where to keep it; None: a new file.
            now: seconds since the epoch.

        Raises:
            UsageError: such a key cannot be kept there.
            OperationError: a key is there already, or the keeper or the disk fails.
        """
        keyring = load_keyring(self._keys)
        place = locator or FileLocator(Path(self._file_name(role, now)))
        _require_place(role, place)
        _require_one_predecessor(role, keyring)
        _require_room_for_signature(role, keyring)
        if role is KeyRole.NONCE:
            return self._rotate_nonce(keyring, place, now=now)
        key = self.keeper.generate(place, role.kind)
        try:
            return self._take_up(keyring, role, place, key, now=now)
        except BaseException:
            self.keeper.destroy(place)
            raise

    def move(self, role: KeyRole, locator: KeyLocator) -> KeyEntry:
        """Keep the current key of a role elsewhere: the same key, known by the same fingerprint. The old copy stays.

        Raises:
            UsageError, UnsupportedError: such a key cannot be kept there.
            OperationError: it cannot be copied.
        """
        keyring = load_keyring(self._keys)
        _require_place(role, locator)
        entry = keyring.current(role)
        if role is KeyRole.NONCE and isinstance(locator, FileLocator):
            write_secret(self._keys / locator.path, self.keeper.read_secret(entry.locator))
        elif not isinstance(locator, CredentialLocator):  # systemd's are made by systemd-creds and checked at the start
            self.keeper.put(locator, role.kind, self.keeper.open(entry.locator, role.kind))
        moved = entry.model_copy(update={"keeper": str(locator)})
        others = [one for one in keyring.keys if one != entry]
        save_keyring(self._keys, keyring.model_copy(update={"keys": [*others, moved]}))
        return moved

    def renew_server_certificate(self, *, now: int) -> Path:
        """Issue the TLS server's certificate anew for the key that it has."""
        keyring = load_keyring(self._keys)
        entry = keyring.current(KeyRole.TLS_SERVER)
        key = self.keeper.open_p256(entry.locator)
        return self._write_server_chain(keyring, _path(entry.locator), key.public_key(), now=now)

    @property
    def _keys(self) -> Path:
        return self.folder.keys

    def _file_name(self, role: KeyRole, now: int) -> str:
        """A name that no key of the role has, nor one that a rotation left which was cut off."""
        stem, suffix = role.file_name.rsplit(".", 1)
        names = (f"{stem}-{at}.{suffix}" for at in itertools.count(now))
        return next(name for name in names if not (self._keys / name).exists())

    def _rotate_nonce(self, keyring: Keyring, place: KeyLocator, *, now: int) -> KeyEntry:
        """The one before is removed: a nonce lives five minutes, and a box asks for another."""
        before = keyring.current(KeyRole.NONCE)
        write_secret(self._keys / _path(place), keys.new_nonce_key())
        entry = KeyEntry(role=KeyRole.NONCE, keeper=str(place), fingerprint="", created_at=now, current=True)
        others = [one for one in keyring.keys if one.role is not KeyRole.NONCE]
        save_keyring(self._keys, keyring.model_copy(update={"keys": [*others, entry]}))
        if isinstance(before.locator, FileLocator):
            self.keeper.destroy(before.locator)
        return entry

    def _take_up(self, keyring: Keyring, role: KeyRole, place: KeyLocator, key: PrivateKey, *, now: int) -> KeyEntry:
        named = fingerprint(key.public_key())
        entry = KeyEntry(role=role, keeper=str(place), fingerprint=named, created_at=now, current=True)
        changed = [one.model_copy(update={"current": False}) if one.role is role else one for one in keyring.keys]
        updated = keyring.model_copy(update={"keys": [*changed, entry]})
        files = list(keyring.service_files)
        if role in IN_SERVICE_FILE:
            before = load_service_files(self._keys, keyring)[keyring.service_files[-1]]
            after = self._service_file(before, role, place, key, now=now)
            files.append(add_service_file(self._keys, after))
        if role is KeyRole.TLS_CA:
            server = keyring.current(KeyRole.TLS_SERVER)
            server_key = self.keeper.open_p256(server.locator).public_key()
            self._write_server_chain(updated, _path(server.locator), server_key, now=now)
        if role is KeyRole.TLS_SERVER:
            assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - by its role
            self._write_server_chain(keyring, _path(place), key.public_key(), now=now)
        save_keyring(self._keys, updated.model_copy(update={"service_files": files}))
        publish_service_file(self._keys, self.folder.service_file)
        return entry

    def _service_file(
        self, before: LicenseService, role: KeyRole, place: KeyLocator, key: PrivateKey, *, now: int
    ) -> LicenseService:
        """The file with the new key in the old one's place."""
        pem = public_pem(key.public_key())
        match role:
            case KeyRole.LEASE_DOCUMENT:
                changed: dict[str, object] = {"lease_document_key": pem}
            case KeyRole.LEASE_POLICY:
                changed = {"lease_policy_key": pem}
            case KeyRole.LOG:
                changed = {"log_key": pem}
            case KeyRole.CUSTODIAN_LEASE_SHARE:
                changed = {"custodian_keys": before.custodian_keys.model_copy(update={"lease_share": pem})}
            case KeyRole.CUSTODIAN_RELEASE_SHARE:
                changed = {"custodian_keys": before.custodian_keys.model_copy(update={"release_share": pem})}
            case _:
                assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - by its role
                is_tls = role is KeyRole.TLS_CA
                made = self._new_authority(before, key, is_tls=is_tls, now=now)
                if is_tls:
                    self._certify_successor(before, _path(place), made, now=now)
                changed = {"ca" if is_tls else "device_ca": _pem(made)}
        return before.model_copy(update=changed)

    def _new_authority(
        self, before: LicenseService, key: ec.EllipticCurvePrivateKey, *, is_tls: bool, now: int
    ) -> x509.Certificate:
        """Its name differs from the last one's: TLS libraries look for an issuer by name."""
        what = "TLS" if is_tls else "device"
        name = f"Sealwright {what} authority {fingerprint(key.public_key())[:8]} {before.service_id}"[:64]
        return authorities.new_authority(key, name, now=now, succession=is_tls)

    def _certify_successor(self, before: LicenseService, place: Path, made: x509.Certificate, *, now: int) -> None:
        """Write the new authority's certificate, and the one by which boxes that know the last one follow it."""
        last = x509.load_pem_x509_certificate(before.ca.encode("ascii"))
        if last.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0:
            raise OperationError(
                "The present TLS authority may not certify its successor.",
                cure="Give builds a new service by `sealwright-license init`, and let both run until all boxes moved.",
            )
        last_key = self.keeper.open_p256(load_keyring(self._keys).current(KeyRole.TLS_CA).locator)
        cross = authorities.certify_successor(last, last_key, made, now=now)
        replace_file(self._keys / place.with_suffix(".crt"), _pem(made).encode("ascii"))
        replace_file(self._keys / place.with_suffix(".cross.crt"), _pem(cross).encode("ascii"))

    def _write_server_chain(self, keyring: Keyring, place: Path, key: ec.EllipticCurvePublicKey, *, now: int) -> Path:
        """The server's certificate and, if there is one, the authority's by its predecessor; beside the key."""
        entry = keyring.current(KeyRole.TLS_CA)
        authority_path = self._keys / _path(entry.locator)
        authority = x509.load_pem_x509_certificate(authority_path.with_suffix(".crt").read_bytes())
        authority_key = self.keeper.open_p256(entry.locator)
        service = load_service_files(self._keys, load_keyring(self._keys)).popitem()[1]
        made = authorities.new_server_certificate(authority, authority_key, key, service.url, now=now)
        cross = authority_path.with_suffix(".cross.crt")
        follows = len(keyring.all_of(KeyRole.TLS_CA)) > 1 and cross.exists()
        chain = _pem(made) + (cross.read_text("ascii") if follows else "")
        target = self._keys / place.with_suffix(".crt")
        replace_file(target, chain.encode("ascii"))
        return target


def _require_place(role: KeyRole, locator: KeyLocator) -> None:
    if isinstance(locator, TokenLocator) and role not in IN_TOKEN:
        raise UsageError(f"The {role} key cannot be kept in a token; keep it in a file.")
    if isinstance(locator, CredentialLocator) and role in (KeyRole.TLS_CA, KeyRole.TLS_SERVER):
        raise UsageError(f"The {role} key lies beside its certificate; keep it in a file.")


def _require_one_predecessor(role: KeyRole, keyring: Keyring) -> None:
    """TLS libraries follow one chain only, so boxes of two earlier authorities cannot both be served."""
    if role is KeyRole.TLS_CA and len(keyring.all_of(role)) > 1:
        raise OperationError(
            "An earlier TLS authority is still in use.", cure="Forget it with `keys forget` when no box needs it."
        )


def _require_room_for_signature(role: KeyRole, keyring: Keyring) -> None:
    """Every key of the log signs each checkpoint, and a note has room for so many (transparency.md, 2)."""
    if role is KeyRole.LOG and len(keyring.all_of(role)) >= MOST_LOG_KEYS:
        raise OperationError(
            f"The log has {MOST_LOG_KEYS} keys, which all sign each checkpoint.",
            cure="Forget those that no image needs with `keys forget`.",
        )


def _path(locator: KeyLocator) -> Path:
    if not isinstance(locator, FileLocator):
        raise OperationError(f"{locator} is no file.", cure="Move the key to a file with `keys move`.")
    return locator.path


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode("ascii")
