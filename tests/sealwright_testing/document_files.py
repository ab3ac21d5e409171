"""Files of customers as tests make them: honest ones, and those of an attacker."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO

from pypdf import PdfWriter

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def docx(paragraphs: Sequence[str], *, before: str = "") -> bytes:
    """A Word file as small as one may be.

    Args:
        before: what stands between the XML declaration and the body.
    """
    said = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    return docx_of(f'<?xml version="1.0"?>{before}<w:document xmlns:w="{WORD}"><w:body>{said}</w:body></w:document>')


def docx_of(body: str | bytes) -> bytes:
    """One with this as ``word/document.xml``."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", body)
    return content.getvalue()


def pdf(pages: Sequence[str]) -> bytes:
    """Pages of lines in Helvetica."""
    streams = []
    for page in pages:
        lines = page.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)").split("\n")
        shown = "".join(f"({line}) Tj T*\n" for line in lines)
        streams.append(f"BT /F1 12 Tf 14 TL 50 750 Td\n{shown}ET".encode("latin-1"))
    return pdf_of(streams)


def pdf_of(streams: Sequence[bytes], filters: bytes = b"") -> bytes:
    """Pages with these content streams, as they are.

    Args:
        filters: entries of each stream's dictionary.
    """
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    kids = b" ".join(b"%d 0 R" % (4 + 2 * at) for at in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(streams)),
        font,
    ]
    for at, stream in enumerate(streams):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * at)
        )
        objects.append(b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(stream), filters, stream))
    return pdf_objects(objects)


def pdf_objects(objects: Sequence[bytes], trailer: bytes = b"/Root 1 0 R") -> bytes:
    """These objects, numbered from 1, with their table."""
    content, places = BytesIO(b"%PDF-1.7\n"), []
    content.seek(0, 2)
    for number, one in enumerate(objects, start=1):
        places.append(content.tell())
        content.write(b"%d 0 obj\n%s\nendobj\n" % (number, one))
    start = content.tell()
    content.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    content.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    content.write(b"trailer << /Size %d %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start))
    return content.getvalue()


def encrypted_pdf() -> bytes:
    """One that wants a password."""
    writer = PdfWriter(BytesIO(pdf(["secret"])))
    writer.encrypt("password", algorithm="RC4-128")
    content = BytesIO()
    writer.write(content)
    return content.getvalue()


def pdf_bomb(mebibytes: int) -> bytes:
    """A page whose content unpacks to so much."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"BT (x) Tj ET\n".ljust(1024) * 1024) for _ in range(mebibytes)) + packer.flush()
    return pdf_of([packed], b"/Filter /FlateDecode")


def docx_bomb(mebibytes: int) -> bytes:
    """A Word file that unpacks to so much XML."""
    head = f'<w:document xmlns:w="{WORD}"><w:body>'.encode()
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as part:
        part.write(head)
        for _ in range(mebibytes):
            part.write(b" " * 1024 * 1024)
    return content.getvalue()


LAUGHS = (
    '<!DOCTYPE lol [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {chr(98 + at)} "{f"&{chr(97 + at)};" * 10}">' for at in range(9))
    + "]>"
)
"""The billion laughs: ``&j;`` is a thousand million times ``ha``."""
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
LOOPING_PDF = pdf_objects(
    [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 2 0 R] /Count 2 /Parent 3 0 R >>",
        b"<< /Type /Pages /Kids [2 0 R 3 0 R] /Count 2 /Parent 2 0 R >>",
    ]
)
"""Its tree of pages has itself for a branch."""
