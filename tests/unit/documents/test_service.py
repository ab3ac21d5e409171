"""The document service over its socket, with honest parsers, and with such that a hostile file has taken over."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

import pytest

from sealwright_appliance.documents import service as services
from sealwright_appliance.documents.blocks import BLOCKS_MOST, TEXT_BYTES_MOST
from sealwright_appliance.documents.messages import (
    REQUEST_LIMIT,
    DocumentOperation,
    DocumentReply,
    DocumentRequest,
    parse_document_reply,
)
from sealwright_appliance.documents.parsed import PARSED_LIMIT, parse_parsed
from sealwright_appliance.documents.parser import answer
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError
from sealwright_appliance.documents.service import DocumentService
from sealwright_appliance.documents.store import DocumentStore
from sealwright_appliance.local_messages import HEAD, serve_requests
from sealwright_policies.wire.encoding import document_bytes

Parse = Callable[[bytes], bytes]
"""What a parser answers to all that it is sent."""


def honest(sent: bytes) -> bytes:
    return answer(BytesIO(sent))


@contextmanager
def listening(path: Path, each: Callable[[socket.socket], None]) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    each(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def all_of(connection: socket.socket) -> bytes:
    content = b""
    while piece := connection.recv(65536):
        content += piece
    return content


@contextmanager
def running(folder: Path, parse: Parse | None = honest) -> Iterator[Path]:
    """The service's socket."""
    (folder / "documents").mkdir()
    service = DocumentService(DocumentStore(folder / "documents"), folder / "parser.sock")

    def parser(connection: socket.socket) -> None:
        sent = all_of(connection)
        if parse is not None:
            connection.sendall(parse(sent))

    with listening(folder / "parser.sock", parser), socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "documents.sock"))
        listener.listen()
        threading.Thread(target=serve_requests, args=(listener, service.respond), daemon=True).start()
        yield folder / "documents.sock"
        listener.shutdown(socket.SHUT_RDWR)


def raw(path: Path, sent: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return all_of(connection)


def ask(path: Path, asked: DocumentRequest, content: bytes = b"") -> DocumentReply:
    head = document_bytes(asked)
    return parse_document_reply(raw(path, HEAD.pack(len(head)) + head + content))


def add(path: Path, content: bytes, name: str = "a.txt") -> DocumentReply:
    return ask(path, DocumentRequest(operation=DocumentOperation.ADD, name=name, size=len(content)), content)


def test_a_document_is_read_kept_found_and_deleted(tmp_path: Path) -> None:
    with running(tmp_path) as path:
        (kept,) = list(add(path, b"Twice a day.", "C:\\ward\\dose.txt").documents or [])
        assert (kept.name, kept.size, kept.passages) == ("dose.txt", 12, 1)
        assert ask(path, DocumentRequest(operation=DocumentOperation.LIST)).documents == [kept]
        one = DocumentRequest(operation=DocumentOperation.SHOW, document_id=kept.document_id)
        assert ask(path, one).documents == [kept]
        searched = ask(path, DocumentRequest(operation=DocumentOperation.SEARCH, question="twice?", most=5))
        assert [found.text for found in searched.passages or ()] == ["Twice a day."]
        gone = DocumentRequest(operation=DocumentOperation.DELETE, document_id=kept.document_id)
        assert ask(path, gone) == DocumentReply()
        assert ask(path, gone).error == DocumentCode.UNKNOWN
        assert add(path, b"\xff").error == DocumentCode.NOT_UTF8


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"", DocumentCode.TOO_COMPLEX),
        (b"x" * (PARSED_LIMIT + 1), DocumentCode.TOO_COMPLEX),
        (b"no JSON", DocumentCode.DAMAGED),
        (b'"document_of_my_own"', DocumentCode.DAMAGED),
        (b"[" * 100_000, DocumentCode.DAMAGED),
        (b'{"a": 1}', DocumentCode.DAMAGED),
        (b"7", DocumentCode.DAMAGED),
        (b"[[1]]", DocumentCode.DAMAGED),
        (b'[[-1, "x"]]', DocumentCode.DAMAGED),
        (b'[[true, "x"]]', DocumentCode.DAMAGED),
        (b"[[1, 2]]", DocumentCode.DAMAGED),
        (b"[]", DocumentCode.NO_TEXT),
        (json.dumps([[0, "x" * (TEXT_BYTES_MOST + 1)]]).encode(), DocumentCode.TOO_MUCH_TEXT),
        (b"[" + b'[0,"x"],' * BLOCKS_MOST + b'[0,"x"]]', DocumentCode.TOO_MUCH_TEXT),
    ],
)
def test_nothing_that_a_parser_says_is_believed(tmp_path: Path, said: bytes, code: DocumentCode) -> None:
    """A hostile file may have taken it over; nothing of that file is kept, and the next is read."""
    with running(tmp_path, lambda sent: said if b"hostile" in sent else honest(sent)) as path:
        assert add(path, b"hostile").error == code
        (kept,) = list(add(path, b"honest").documents or [])
        assert ask(path, DocumentRequest(operation=DocumentOperation.LIST)).documents == [kept]


def test_text_of_a_parser_is_cleaned_again() -> None:
    found = parse_parsed(json.dumps([[3, "a\u202eb\x07  c"], [3, " "], [4, "\ud800d"]]).encode())
    assert [(one.text, one.page, one.paragraph) for one in found] == [("ab c", 3, 1), ("d", 4, 1)]


def test_no_parser_and_a_parser_that_closes_at_once(tmp_path: Path) -> None:
    with running(tmp_path, None) as path:
        assert add(path, b"x" * 1_000_000).error == DocumentCode.TOO_COMPLEX
        (tmp_path / "parser.sock").unlink()
        assert add(path, b"x").error == DocumentCode.UNAVAILABLE


def test_no_more_than_two_files_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "READ_AT_ONCE", 1)
    hold, inside = threading.Event(), threading.Event()

    def slow(sent: bytes) -> bytes:
        inside.set()
        hold.wait(30)
        return honest(sent)

    with running(tmp_path, slow) as path:
        first = threading.Thread(target=add, args=(path, b"first"))
        first.start()
        assert inside.wait(30)
        assert add(path, b"second").error == DocumentCode.BUSY
        hold.set()
        first.join(30)
        assert add(path, b"third").error is None


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\0",
        HEAD.pack(2) + b"{}",
        HEAD.pack(REQUEST_LIMIT + 1) + b"x" * (REQUEST_LIMIT + 1),
        HEAD.pack(2**32 - 1) + b"x" * (REQUEST_LIMIT + 2),
        HEAD.pack(40) + b"{",
        HEAD.pack(37) + b'{"operation":"add","name":"a","size":9',
    ],
)
def test_what_is_no_request_is_not_answered(tmp_path: Path, sent: bytes) -> None:
    """And the next one is."""
    with running(tmp_path) as path:
        with suppress(ConnectionResetError, BrokenPipeError):
            assert raw(path, sent) == b""
        assert ask(path, DocumentRequest(operation=DocumentOperation.LIST)).documents == []


@pytest.mark.parametrize(
    "sent", [b"", b"\n", b"{}\n", b'{"format":"exe","size":1}\nx', b'{"format":"text","size":9}\nx']
)
def test_a_parser_answers_to_whatever_it_is_sent(sent: bytes) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_parsed(honest(sent))
    assert caught.value.code == DocumentCode.DAMAGED
