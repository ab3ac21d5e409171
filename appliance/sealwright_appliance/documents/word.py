"""DOCX (ECMA-376): the paragraphs of ``word/document.xml``, and of the archive nothing else.

The archive is Python's to open, the XML expat's, with handlers for what is wanted. A document type is refused before an
entity could be declared in it. Left out: headers, footers, notes, comments, deleted text.
"""

from __future__ import annotations

import zipfile
import zlib
from io import BytesIO
from xml.parsers import expat

from sealwright_appliance.documents.blocks import Block, Blocks
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError

BODY = "word/document.xml"
XML_BYTES_MOST = 64 * 1024 * 1024
DEPTH_MOST = 256
PARTS_MOST = 4096
PIECE = 64 * 1024
NAMESPACES = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
"""Transitional and strict."""
FALLBACK = "http://schemas.openxmlformats.org/markup-compatibility/2006 Fallback"
"""Says once more what was said, for readers that do not know the first form."""
BREAKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def parse_docx(content: bytes) -> list[Block]:
    """Paragraphs in the order of the file, those in tables and text boxes included.

    Raises:
        DocumentError: it is damaged, encrypted or declares entities; or has no text or too much.
    """
    body = _Body()
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            if len(archive.infolist()) > PARTS_MOST:
                raise DocumentError(DocumentCode.TOO_COMPLEX)
            part = archive.getinfo(BODY)
            if part.flag_bits & 1:
                raise DocumentError(DocumentCode.ENCRYPTED)
            with archive.open(part) as file:
                left = XML_BYTES_MOST
                while piece := file.read(PIECE):
                    left -= len(piece)
                    if left < 0:
                        raise DocumentError(DocumentCode.TOO_COMPLEX)
                    body.feed(piece)
        body.feed(b"", last=True)
    except KeyError:
        raise DocumentError(DocumentCode.OTHER_CONTENT) from None
    # What a broken archive or stream raises, all of it from zipfile, zlib and expat.
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, OSError, ValueError, NotImplementedError,
            RuntimeError, OverflowError):  # fmt: skip
        raise DocumentError(DocumentCode.DAMAGED) from None
    return body.blocks.whole()


class _Body:
    """Reads ``word/document.xml`` as it comes."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self._open: list[list[str]] = []
        """Paragraphs that have begun; one in a text box stands in another one."""
        self._depth = 0
        self._in_text = 0
        self._in_fallback = 0
        self._parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._begin
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._say

    def feed(self, piece: bytes, *, last: bool = False) -> None:
        self._parser.Parse(piece, last)

    def _refuse(self, *_: object) -> None:
        raise DocumentError(DocumentCode.ENTITIES)

    def _begin(self, name: str, _: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEPTH_MOST:
            raise DocumentError(DocumentCode.TOO_COMPLEX)
        if name == FALLBACK or self._in_fallback:
            self._in_fallback += 1
            return
        local = _local(name)
        if local == "p":
            self._open.append([])
        elif local == "t":
            self._in_text += 1
        elif self._open and local in BREAKS:
            self._open[-1].append(BREAKS[local])

    def _end(self, name: str) -> None:
        self._depth -= 1
        if self._in_fallback:
            self._in_fallback -= 1
            return
        local = _local(name)
        if local == "t":
            self._in_text -= 1
        elif local == "p":
            self.blocks.add("".join(self._open.pop()))

    def _say(self, text: str) -> None:
        if self._in_text and self._open and not self._in_fallback:
            self._open[-1].append(text)


def _local(name: str) -> str:
    namespace, _, local = name.rpartition(" ")
    return local if namespace in NAMESPACES else ""
