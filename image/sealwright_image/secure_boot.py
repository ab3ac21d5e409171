"""The vendor's Secure Boot keys as firmware holds them: signature lists (UEFI 2.10, 32.4.1).

Written beside the image for enrolment, and measured into PCR 7 by every boot.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sealwright_image.keys import BuildKeys
from sealwright_policies.appraisal.measurements import SecureBootKeys
from sealwright_policies.errors import FormatError

CERT_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
"""EFI_CERT_X509_GUID."""
CERT_SHA256 = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328")
"""EFI_CERT_SHA256_GUID."""
_LIST_HEADER = 28
DBX_OWNER = uuid.UUID("a0baa8a3-041d-48a8-bc87-c36d121b5e3d")
"""gOvmfEnrollDefaultKeys: the owner of the harmless dbx entry (the hash of nothing) that enrolment tools write so that
the variable exists. Releases expect exactly this dbx; ``secure-boot/dbx.esl`` holds it."""


def signature_list(kind: uuid.UUID, owner: uuid.UUID, data: bytes) -> bytes:
    """An EFI_SIGNATURE_LIST with one entry."""
    size = 16 + len(data)
    return kind.bytes_le + struct.pack("<III", _LIST_HEADER + size, 0, size) + owner.bytes_le + data


def firmware_keys(keys: BuildKeys) -> SecureBootKeys:
    """Contents of PK, KEK, db and dbx once the keys are enrolled."""
    return _firmware_keys((keys.pk.der, keys.kek.der, keys.db.der), keys.owner)


def _firmware_keys(certificates: tuple[bytes, bytes, bytes], owner: uuid.UUID) -> SecureBootKeys:
    pk, kek, db = (signature_list(CERT_X509, owner, der) for der in certificates)
    dbx = signature_list(CERT_SHA256, DBX_OWNER, hashlib.sha256(b"").digest())
    return SecureBootKeys(pk=pk, kek=kek, db=db, dbx=dbx, db_certificate=certificates[2], owner=owner)


def write_enrolment_files(keys: BuildKeys, folder: Path) -> None:
    """What an owner needs to enrol the keys: certificates, owner GUID, and the lists as the firmware will hold them.

    Certificates are PEM for tools and DER (``.cer``) for firmware's menus.
    """
    folder.mkdir()
    for name, key in (("PK", keys.pk), ("KEK", keys.kek), ("db", keys.db)):
        (folder / f"{name}.pem").write_bytes(key.certificate_file.read_bytes())
        (folder / f"{name}.cer").write_bytes(key.der)
    (folder / "owner.guid").write_text(f"{keys.owner}\n", "ascii")
    lists = firmware_keys(keys)
    for name, content in (("PK", lists.pk), ("KEK", lists.kek), ("db", lists.db), ("dbx", lists.dbx)):
        (folder / f"{name}.esl").write_bytes(content)


@dataclass(frozen=True, slots=True)
class SecureBootFiles:
    """The enrolment files of an output folder."""

    certificates: tuple[bytes, bytes, bytes]
    """PK, KEK and db, DER."""
    owner: uuid.UUID
    lists: Mapping[str, bytes]
    """Signature lists by variable."""

    @classmethod
    def load(cls, folder: Path) -> SecureBootFiles:
        """Read them.

        Raises:
            FormatError: a certificate or the GUID is malformed, or a ``.cer`` is not the certificate beside it.
            OSError: a file is missing.
        """
        try:
            pk, kek, db = (
                x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes()).public_bytes(Encoding.DER)
                for name in ("PK", "KEK", "db")
            )
            owner = uuid.UUID((folder / "owner.guid").read_text("ascii").strip())
        except ValueError as error:
            raise FormatError(f"{folder}: a certificate or owner.guid is malformed.") from error
        for name, certificate in (("PK", pk), ("KEK", kek), ("db", db)):
            if (folder / f"{name}.cer").read_bytes() != certificate:
                raise FormatError(f"{folder}: {name}.cer is not the certificate in {name}.pem.")
        lists = {name: (folder / f"{name}.esl").read_bytes() for name in ("PK", "KEK", "db", "dbx")}
        return cls((pk, kek, db), owner, lists)

    def firmware_keys(self) -> SecureBootKeys:
        """What the certificates and the GUID make."""
        return _firmware_keys(self.certificates, self.owner)
