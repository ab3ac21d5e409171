"""PDF: the text of its pages, by pypdf.

pypdf is pure Python and Debian's. It bounds neither memory nor time, so it runs in the parser's process alone
(:mod:`.parser`), whose limits end it.
"""

from __future__ import annotations

from io import BytesIO

from pypdf import PdfReader

from sealwright_appliance.documents.blocks import Block, Blocks
from sealwright_appliance.documents.plain_text import BETWEEN
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError

PAGES_MOST = 3000


def parse_pdf(content: bytes) -> list[Block]:
    """Paragraphs of all pages; text in pictures is none.

    Raises:
        DocumentError: it is damaged or encrypted, or has no text or too much of something.
    """
    blocks = Blocks()
    try:
        reader = PdfReader(BytesIO(content))
        if reader.is_encrypted:
            raise DocumentError(DocumentCode.ENCRYPTED)
        if len(reader.pages) > PAGES_MOST:
            raise DocumentError(DocumentCode.TOO_COMPLEX)
        for number, page in enumerate(reader.pages, start=1):
            blocks.begin_page(number)
            for paragraph in BETWEEN.split(page.extract_text()):
                blocks.add(paragraph)
    except DocumentError:
        raise
    except (MemoryError, RecursionError):
        raise DocumentError(DocumentCode.TOO_COMPLEX) from None
    # Given a broken file, pypdf raises errors of its own and of every kind that Python has.
    except Exception:
        raise DocumentError(DocumentCode.DAMAGED) from None
    return blocks.whole()
