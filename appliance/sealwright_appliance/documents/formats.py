"""What a file is: by the ending of its name, which its first bytes must bear out."""

from __future__ import annotations

import unicodedata
from enum import StrEnum

from sealwright_appliance.documents.refusals import DocumentCode, DocumentError

FILE_BYTES_MOST = 32 * 1024 * 1024
NAME_BYTES_MOST = 255
OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""A container of Microsoft's, in which Word puts what has a password ([MS-OFFCRYPTO], 2.3)."""


class DocumentFormat(StrEnum):
    """What can be read."""

    PDF = "pdf"
    DOCX = "docx"
    TEXT = "text"


ENDINGS = {
    ".pdf": DocumentFormat.PDF,
    ".docx": DocumentFormat.DOCX,
    ".txt": DocumentFormat.TEXT,
    ".md": DocumentFormat.TEXT,
    ".markdown": DocumentFormat.TEXT,
}
PDF_HEADER_WITHIN = 1024
"""Bytes in which readers look for it (ISO 32000-1, Annex H, 3.4.1)."""


def parse_name(name: str) -> str:
    """A file's name without folders, as it is kept and shown.

    Raises:
        DocumentError: it cannot be shown, or is too long.
    """
    base = unicodedata.normalize("NFC", name).replace("\\", "/").rpartition("/")[2].strip()
    if not base.isprintable() or not base.strip(". ") or len(base.encode()) > NAME_BYTES_MOST:
        raise DocumentError(DocumentCode.NAME)
    return base


def format_of(name: str, content: bytes) -> DocumentFormat:
    """The format of a file.

    Raises:
        DocumentError: it is none of ours, or its content is of another.
    """
    dot, ending = name.rpartition(".")[1:]
    found = ENDINGS.get(dot + ending.lower())
    if found is None:
        raise DocumentError(DocumentCode.TYPE)
    if not content:
        raise DocumentError(DocumentCode.EMPTY)
    if found is DocumentFormat.DOCX and content.startswith(OLE):
        raise DocumentError(DocumentCode.ENCRYPTED)
    borne_out = {
        DocumentFormat.PDF: b"%PDF-" in content[:PDF_HEADER_WITHIN],
        DocumentFormat.DOCX: content.startswith(b"PK"),
        DocumentFormat.TEXT: not content.startswith((b"%PDF-", b"PK\3\4", OLE)),
    }
    if not borne_out[found]:
        raise DocumentError(DocumentCode.OTHER_CONTENT)
    return found
