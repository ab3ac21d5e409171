"""Why a document is refused: stable codes, each with cause and cure in a sentence (policies/spec/own-documents.md, 3).

Nothing of a document stands in a sentence: programs log errors.
"""

from __future__ import annotations

from enum import StrEnum

from sealwright_policies.errors import FormatError


class DocumentCode(StrEnum):
    """Stable: the same in the spec, the API and the tests."""

    NAME = "document_name"
    EMPTY = "document_empty"
    TOO_LARGE = "document_too_large"
    TYPE = "document_type"
    OTHER_CONTENT = "document_other_content"
    NOT_UTF8 = "document_not_utf8"
    ENCRYPTED = "document_encrypted"
    DAMAGED = "document_damaged"
    ENTITIES = "document_entities"
    TOO_COMPLEX = "document_too_complex"
    TOO_MUCH_TEXT = "document_too_much_text"
    NO_TEXT = "document_no_text"
    FULL = "documents_full"
    DISK_FULL = "documents_disk_full"
    UNKNOWN = "document_unknown"
    BUSY = "documents_busy"
    UNAVAILABLE = "documents_unavailable"
    UNREADABLE = "documents_unreadable"
    OTHER_VECTORS = "documents_other_vectors"


SENTENCES = {
    DocumentCode.NAME: "The file's name has no characters that can be shown, or more than 255 bytes; rename it.",
    DocumentCode.EMPTY: "The file is empty.",
    DocumentCode.TOO_LARGE: "The file is larger than 32 MiB; split it.",
    DocumentCode.TYPE: "The name ends in none of .pdf, .docx, .txt, .md; convert the file to one of them.",
    DocumentCode.OTHER_CONTENT: "The content is not what the name's ending says; export the file anew.",
    DocumentCode.NOT_UTF8: "The text is not UTF-8; save it in this encoding.",
    DocumentCode.ENCRYPTED: "The file wants a password; save it without one.",
    DocumentCode.DAMAGED: "The file cannot be read; export it anew.",
    DocumentCode.ENTITIES: "The file declares XML entities, which no word processor does; export it anew.",
    DocumentCode.TOO_COMPLEX: "Reading the file takes more time, memory or parts than one may; split it.",
    DocumentCode.TOO_MUCH_TEXT: "The file has more than 4 MiB of text; split it.",
    DocumentCode.NO_TEXT: "There is no text in the file; a scan has to go through text recognition first.",
    DocumentCode.FULL: "The box keeps as many documents as it can, or as much text; delete some.",
    DocumentCode.DISK_FULL: "The state volume has no room for it; delete some documents.",
    DocumentCode.UNKNOWN: "There is no such document.",
    DocumentCode.BUSY: "Other documents are being read; try again shortly.",
    DocumentCode.UNAVAILABLE: "The box's documents cannot be reached; the state volume may be closed.",
    DocumentCode.UNREADABLE: "The file of the documents is damaged.",
    DocumentCode.OTHER_VECTORS: "The vectors are of another model than those that are kept.",
}


class DocumentError(FormatError):
    """A document is refused, or what is kept of the others cannot be reached."""

    def __init__(self, code: DocumentCode) -> None:
        super().__init__(SENTENCES[code])
        self.code = code
