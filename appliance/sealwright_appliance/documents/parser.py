"""The parser's process: reads one file from its standard input, says what text is in it, and ends.

systemd starts one for each file (sealwright-parser@.service): a user of its own, no network, no file that it could
write or that somebody has written. Whatever a hostile file makes of it, all it can say is wrong text of that file.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
from typing import BinaryIO

from sealwright_appliance.documents.blocks import Block
from sealwright_appliance.documents.formats import FILE_BYTES_MOST, DocumentFormat
from sealwright_appliance.documents.parsed import parsed_bytes
from sealwright_appliance.documents.pdf import parse_pdf
from sealwright_appliance.documents.plain_text import parse_plain_text
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError
from sealwright_appliance.documents.word import parse_docx

MEMORY_BYTES = 576 * 1024 * 1024
"""Of addresses, of which Python never touches some 105 MiB. So it is below MemoryMax= of the unit, beyond which the
kernel would end the parser, with words on the console."""
PROCESSOR_S = 120
HEAD_LIMIT = 256
READERS = {
    DocumentFormat.PDF: parse_pdf,
    DocumentFormat.DOCX: parse_docx,
    DocumentFormat.TEXT: parse_plain_text,
}


def run_parser() -> None:
    """Answer what stands on standard input."""
    # What pypdf says of a file has words of it.
    logging.disable(logging.CRITICAL)
    for limit, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, PROCESSOR_S),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    sys.stdout.buffer.write(answer(sys.stdin.buffer))
    sys.stdout.buffer.flush()


def answer(stream: BinaryIO) -> bytes:
    """The text of the file in a request, or the code for which it is refused, as JSON."""
    try:
        return parsed_bytes(_read(stream))
    except DocumentError as error:
        return json.dumps(error.code).encode()
    except (MemoryError, RecursionError):
        return json.dumps(DocumentCode.TOO_COMPLEX).encode()


def _read(stream: BinaryIO) -> list[Block]:
    try:
        asked = json.loads(stream.readline(HEAD_LIMIT))
        kind, size = DocumentFormat(asked["format"]), int(asked["size"])
    except (ValueError, KeyError, TypeError):
        raise DocumentError(DocumentCode.DAMAGED) from None
    content = stream.read(min(size, FILE_BYTES_MOST))
    if len(content) != size:
        raise DocumentError(DocumentCode.DAMAGED)
    return READERS[kind](content)
