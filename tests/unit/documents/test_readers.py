"""Readers of customers' files: what they find, and what they refuse."""

from __future__ import annotations

import pytest

from sealwright_appliance.documents import blocks
from sealwright_appliance.documents.formats import DocumentFormat, format_of, parse_name
from sealwright_appliance.documents.pdf import PAGES_MOST, parse_pdf
from sealwright_appliance.documents.plain_text import parse_plain_text
from sealwright_appliance.documents.refusals import SENTENCES, DocumentCode, DocumentError
from sealwright_appliance.documents.word import DEPTH_MOST, parse_docx
from sealwright_testing.document_files import (
    LAUGHS,
    LOOPING_PDF,
    OUTSIDE,
    WORD,
    docx,
    docx_bomb,
    docx_of,
    encrypted_pdf,
    pdf,
    pdf_objects,
)


def code_of(read: object, *arguments: object) -> DocumentCode:
    assert callable(read)
    with pytest.raises(DocumentError) as caught:
        read(*arguments)
    return caught.value.code


def test_paragraphs_of_a_text_are_parted_by_blank_lines() -> None:
    found = parse_plain_text("\ufeff# Dose\r\n\r\nTwice  a\nday.\n \n\n二甲双胍。\u202e\u200b\x07\n".encode())
    assert [(one.text, one.page, one.paragraph) for one in found] == [
        ("# Dose", None, 1), ("Twice a day.", None, 2), ("二甲双胍。", None, 3),
    ]  # fmt: skip


def named(value: object) -> str | None:
    """A file holds the time at which it was made, and so another name in each worker."""
    return "file" if isinstance(value, bytes) else None


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("试".encode("gb18030"), DocumentCode.NOT_UTF8),
        (b"\xff\xfea\0", DocumentCode.NOT_UTF8),
        (b"a\xed\xa0\x80", DocumentCode.NOT_UTF8),
        (b"a\0b", DocumentCode.OTHER_CONTENT),
        (b" \n\t\n\xe2\x80\x8b", DocumentCode.NO_TEXT),
        (b"a" * (blocks.TEXT_BYTES_MOST + 1), DocumentCode.TOO_MUCH_TEXT),
        (b"a\n\n" * (blocks.BLOCKS_MOST + 1), DocumentCode.TOO_MUCH_TEXT),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, code: DocumentCode) -> None:
    assert code_of(parse_plain_text, content) == code


def test_word_files_are_read_with_tables_and_text_boxes() -> None:
    """Text boxes are said twice, for old readers; deleted text, fields and other parts are not the document's."""
    box = "<w:txbxContent><w:p><w:r><w:t>boxed</w:t></w:r></w:p></w:txbxContent>"
    body = (
        f'<w:document xmlns:w="{WORD}" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"><w:body>'
        "<w:p><w:r><w:t>one</w:t><w:tab/><w:t>two</w:t></w:r><w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
        "<w:tbl><w:tr><w:tc><w:p><w:r><w:instrText>PAGE</w:instrText><w:t>剂量</w:t></w:r></w:p></w:tc></w:tr></w:tbl>"
        f"<w:p><w:r><mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
        "</mc:AlternateContent><w:t>around</w:t></w:r></w:p></w:body></w:document>"
    )
    assert [one.text for one in parse_docx(docx_of(body))] == ["one two", "剂量", "boxed", "around"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (docx(["&j;"], before=LAUGHS), DocumentCode.ENTITIES),
        (docx(["&a;"], before=OUTSIDE), DocumentCode.ENTITIES),
        (docx(["x"], before="<!DOCTYPE x>"), DocumentCode.ENTITIES),
        (docx_of("<a>" * (DEPTH_MOST + 1)), DocumentCode.TOO_COMPLEX),
        (docx_bomb(65), DocumentCode.TOO_COMPLEX),
        (docx_of("<w:p>"), DocumentCode.DAMAGED),
        (docx_of(b"<a>\xff</a>"), DocumentCode.DAMAGED),
        (docx([]), DocumentCode.NO_TEXT),
        (docx(["x"])[:-40], DocumentCode.DAMAGED),
        (docx(["x"]).replace(b"word/document.xml", b"word/documenl.xml"), DocumentCode.OTHER_CONTENT),
        (b"PK\5\6" + bytes(18), DocumentCode.OTHER_CONTENT),
    ],
    ids=named,
)
def test_hostile_word_files_are_refused(content: bytes, code: DocumentCode) -> None:
    assert code_of(parse_docx, content) == code


def test_pages_of_a_pdf_are_counted() -> None:
    found = parse_pdf(pdf(["Metformin lowers\nblood sugar.", "", "Twice a day."]))
    assert [(one.text, one.page, one.paragraph) for one in found] == [
        ("Metformin lowers blood sugar.", 1, 1), ("Twice a day.", 3, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (encrypted_pdf(), DocumentCode.ENCRYPTED),
        (pdf([""]), DocumentCode.NO_TEXT),
        (pdf([""] * (PAGES_MOST + 1)), DocumentCode.TOO_COMPLEX),
        (b"%PDF-1.7\n" + b"<<" * 100_000, DocumentCode.DAMAGED),
        (b"%PDF-1.7\n", DocumentCode.DAMAGED),
        (pdf_objects([b"<< /Type /Catalog /Pages 1 0 R >>"]), DocumentCode.NO_TEXT),
        (pdf_objects([b"[" * 5000]), DocumentCode.TOO_COMPLEX),
    ],
    ids=named,
)
def test_hostile_pdfs_are_refused(content: bytes, code: DocumentCode) -> None:
    assert code_of(parse_pdf, content) == code


def test_a_tree_of_pages_that_has_itself_for_a_branch_ends() -> None:
    assert code_of(parse_pdf, LOOPING_PDF) in (DocumentCode.NO_TEXT, DocumentCode.DAMAGED, DocumentCode.TOO_COMPLEX)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.PDF", b"junk %PDF-1.4", DocumentFormat.PDF),
        ("a.docx", b"PK\3\4", DocumentFormat.DOCX),
        ("a.txt", b"x", DocumentFormat.TEXT),
        ("病历.md", b"x", DocumentFormat.TEXT),
        ("a.pdf", b"x", DocumentCode.OTHER_CONTENT),
        ("a.docx", b"x", DocumentCode.OTHER_CONTENT),
        ("a.docx", bytes.fromhex("d0cf11e0a1b11ae1"), DocumentCode.ENCRYPTED),
        ("a.txt", b"%PDF-1.4", DocumentCode.OTHER_CONTENT),
        ("a.txt", b"", DocumentCode.EMPTY),
        ("a.exe", b"MZ", DocumentCode.TYPE),
        ("pdf", b"%PDF-", DocumentCode.TYPE),
    ],
)
def test_the_ending_says_what_a_file_is_and_its_content_bears_it_out(name: str, content: bytes, found: object) -> None:
    if isinstance(found, DocumentCode):
        assert code_of(format_of, name, content) == found
    else:
        assert format_of(name, content) == found


def test_a_name_loses_its_folders() -> None:
    assert parse_name("C:\\Ward 3\\../dose.pdf") == "dose.pdf"
    assert parse_name("e\u0301.txt") == "é.txt"


@pytest.mark.parametrize("name", ["", "..", "a/", "a\nb.txt", "a\u202etxt.pdf", "é" * 128 + ".txt", "\ud800.txt"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    assert code_of(parse_name, name) == DocumentCode.NAME


def test_each_code_has_its_sentence() -> None:
    assert SENTENCES.keys() == set(DocumentCode)
