"""Files with certificates, as makers and systems hand them out: DER, PEM, PKCS #7 (RFC 2315 and CMS), folders of them.

Read tolerantly (der.py), so that what stricter readers refuse is not lost. One that cannot be read is named and does
not keep the others. What this does not do: unpack archives, or believe anything.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sealwright_licensing import der
from sealwright_licensing.certificates import MAX_CERTIFICATE, Certificate, parse_certificate
from sealwright_policies.errors import FormatError, OperationError

MOST_CERTIFICATES = 1000
"""Of all files together; makers' bundles have some hundred."""
MOST_FILES = 2000
LARGEST_FILE = MOST_CERTIFICATES * MAX_CERTIFICATE * 2
"""Bytes: PEM is a third longer than what it holds."""
SIGNED_DATA = "1.2.840.113549.1.7.2"
_PEM = re.compile(rb"-----BEGIN (CERTIFICATE|PKCS7|CMS)-----\s(.*?)-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FoundCertificates:
    """What files hold, and what in them could not be read: where, and why."""

    certificates: tuple[tuple[Path, Certificate], ...]
    unreadable: tuple[tuple[Path, str], ...]


def read_certificate_files(paths: Iterable[Path]) -> FoundCertificates:
    """Read files and folders, these with all that is in them.

    Raises:
        OperationError: a path is not there or cannot be read.
        FormatError: more files or certificates than anybody hands out.
    """
    found: list[tuple[Path, Certificate]] = []
    unreadable: list[tuple[Path, str]] = []
    for number, path in enumerate(_files(paths)):
        if number == MOST_FILES:
            raise FormatError(f"More than {MOST_FILES} files.")
        try:
            pieces = _certificates_in(_read(path))
        except FormatError as error:
            unreadable.append((path, str(error)))
            continue
        for piece in pieces:
            try:
                found.append((path, parse_certificate(piece)))
            except FormatError as error:
                unreadable.append((path, str(error)))
            if len(found) > MOST_CERTIFICATES:
                raise FormatError(f"More than {MOST_CERTIFICATES} certificates.")
    return FoundCertificates(tuple(found), tuple(unreadable))


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (inner for inner in sorted(path.rglob("*")) if inner.is_file())
        else:
            yield path


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror}.", cure="Give a file or folder.") from error
    if len(data) > LARGEST_FILE:
        raise FormatError("larger than any file of certificates")
    return data


def _certificates_in(data: bytes) -> list[bytes]:
    """DER of each certificate in a file.

    Raises:
        FormatError: nothing of the kind.
    """
    blocks = _PEM.findall(data)
    if blocks:
        return [one for label, body in blocks for one in _of_block(label, _decoded(body))]
    if data.startswith(b"MSCF"):
        raise FormatError("a cabinet; unpack it first, e.g. with cabextract, and give the folder")
    if data.startswith(b"PK\x03\x04"):
        raise FormatError("a ZIP archive; unpack it first and give the folder")
    if not data.startswith(b"\x30"):
        raise FormatError("neither DER nor PEM nor PKCS #7")
    return _bundle(data) if _is_bundle(data) else [data]


def _of_block(label: bytes, body: bytes) -> list[bytes]:
    return [body] if label == b"CERTIFICATE" else _bundle(body)


def _decoded(body: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error as error:
        raise FormatError("a certificate in the PEM file is not base64") from error


def _is_bundle(data: bytes) -> bool:
    """ContentInfo begins with an identifier, a certificate with a sequence."""
    children = der.read_element(data).children()
    return bool(children) and children[0].tag == der.OBJECT_IDENTIFIER


def _bundle(data: bytes) -> list[bytes]:
    """Certificates of a SignedData (RFC 5652, 5.1); signatures in it mean nothing here."""
    content = der.read_element(data).expect(der.SEQUENCE).children()
    if len(content) != 2 or der.decode_oid(content[0]) != SIGNED_DATA:
        raise FormatError("PKCS #7: not signed data")
    signed = der.read_element(content[1].expect(der.context(0)).content).expect(der.SEQUENCE).children()
    sets = [one for one in signed[3:] if one.tag == der.context(0)]
    if len(sets) != 1:
        raise FormatError("PKCS #7: no certificates in it")
    return [one.raw for one in sets[0].children() if one.tag == der.SEQUENCE]
