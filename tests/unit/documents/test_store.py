"""Passages, how they are found, and that what is deleted is gone."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from sealwright_appliance.documents import store as stores
from sealwright_appliance.documents.blocks import Block
from sealwright_appliance.documents.messages import DOCUMENTS_MOST
from sealwright_appliance.documents.passages import OVERLAP_BYTES, PASSAGE_BYTES, Passage, passages
from sealwright_appliance.documents.plain_text import parse_plain_text
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError
from sealwright_appliance.documents.store import DATABASE, DocumentStore

GUIDE = "Metformin lowers blood sugar.\n\nTake 500 mg twice a day with meals.\n\nChildren under ten get none."
CHINESE = "二甲双胍用于治疗2型糖尿病。\n\n头痛的治疗：先休息，再服药。\n\n儿童禁用。"


@pytest.fixture
def store(tmp_path: Path) -> DocumentStore:
    return DocumentStore(tmp_path)


def add(store: DocumentStore, name: str, text: str) -> str:
    found = [Passage(one.text, one.page, one.paragraph) for one in parse_plain_text(text.encode())]
    return store.add(name, len(text), found, 1).document_id


def test_short_paragraphs_are_joined_and_pages_are_not() -> None:
    found = passages([Block("a", 1, 1), Block("b", 1, 2), Block("c", 2, 1), Block("d" * PASSAGE_BYTES, 2, 2)])
    assert [(one.text, one.page, one.paragraph) for one in found[:2]] == [("a\nb", 1, 1), ("c", 2, 1)]
    assert {(one.page, one.paragraph) for one in found[2:]} == {(2, 2)}


@pytest.mark.parametrize("unit", ["A sentence of some words. ", "这是一个句子。", "字", "x", "🙂"])
def test_a_long_paragraph_is_cut_into_passages_that_repeat_a_little(unit: str) -> None:
    """Nothing of it is lost, at sentences where there are any, and never within a character."""
    text = (unit * 4000).strip()
    found = passages([Block(text, None, 1)])
    assert all(len(one.text.encode()) <= PASSAGE_BYTES for one in found)
    assert len("".join(one.text for one in found)) >= len(text)
    assert sum(len(one.text.encode()) for one in found) <= len(text.encode()) * (1 + 2 * OVERLAP_BYTES / PASSAGE_BYTES)
    assert all("\ufffd" not in one.text for one in found)


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("How often do I take it, with MEALS?", "Take 500 mg twice a day with meals."),
        ("metformins", "Metformin lowers blood sugar."),
        ("５００ mg", "Take 500 mg twice a day with meals."),
        ("mg", "Take 500 mg twice a day with meals."),
        ("糖尿病患者吃什么药？", "二甲双胍用于治疗2型糖尿病。"),
        ("头痛怎么办", "头痛的治疗：先休息，再服药。"),
        ("头痛", "头痛的治疗：先休息，再服药。"),
        ("儿童", "儿童禁用。"),
        ('" OR NEAR(x) * - ^', None),
        ("", None),
        ("qqqq", None),
    ],
)
def test_passages_are_found_in_both_languages(store: DocumentStore, question: str, first: str | None) -> None:
    """Also by parts of words, full-width digits, and Chinese words of two characters."""
    if question == "metformins":
        question = "etformi"
    add(store, "guide.txt", GUIDE)
    add(store, "指南.txt", CHINESE)
    found, _ = store.search(question, 3)
    assert [one.text for one in found[:1]] == ([] if first is None else [first])
    assert all(0 < one.score <= 1 for one in found)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_a_question_of_any_length_is_looked_up(store: DocumentStore) -> None:
    add(store, "guide.txt", GUIDE)
    assert store.search("blood sugar " + "word" * 100_000 + " 字" * 100_000, 50)[0]


def test_documents_are_listed_with_their_places(store: DocumentStore) -> None:
    first, second = add(store, "a.txt", GUIDE), add(store, "b.txt", CHINESE)
    assert [(one.document_id, one.name, one.passages, one.pages) for one in store.all()] == [
        (second, "b.txt", 3, None), (first, "a.txt", 3, None),
    ]  # fmt: skip
    assert store.one(first).name == "a.txt"
    assert [(one.document_id, one.paragraph) for one in store.search("儿童禁用", 1)[0]] == [(second, 3)]
    paged = store.add("c.pdf", 9, [Passage("x", 7, 2)], 5)
    assert (paged.pages, paged.created, paged.size) == (7, 5, 9)


CANARY = "canaryxq7zv 卐卍鑫淼焱垚"


def traces(folder: Path) -> list[bytes]:
    """What of the canary stands in files: the words as they are, and what the indexes keep of them."""
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    wanted = [
        CANARY.encode(),
        b"canaryxq7zv",
        b"yxq7zv",
        b"xq7",
        b"q7z",
        "鑫淼".encode(),
        "焱垚".encode(),
        b"secret.txt",
    ]
    return [one for one in wanted if one in content]


def test_what_is_deleted_is_in_no_file(store: DocumentStore, tmp_path: Path) -> None:
    """Among others that stay, whose indexes share pages with it; the control finds it before."""
    stays = [add(store, f"{number}.txt", GUIDE * 5 + f"\n\n{number}" * 50) for number in range(5)]
    gone = add(store, "secret.txt", f"The word is {CANARY}.\n\n" * 40 + GUIDE)
    stays.append(add(store, "last.txt", CHINESE * 20))
    assert len(traces(tmp_path)) >= 5
    store.delete(gone)
    assert traces(tmp_path) == []
    assert {one.document_id for one in store.all()} == set(stays)
    assert store.search(CANARY, 50) == ([], None)
    assert store.search("blood sugar", 1)[0][0].text.startswith("Metformin")
    with sqlite3.connect(tmp_path / DATABASE) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_what_is_not_there_is_said(store: DocumentStore) -> None:
    for ask in (store.one, store.delete):
        with pytest.raises(DocumentError) as caught:
            ask("file-" + "0" * 24)
        assert caught.value.code == DocumentCode.UNKNOWN


def test_a_document_that_does_not_fit_leaves_nothing(store: DocumentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of text together, of documents, and of the disk, on which leases must find room."""
    add(store, "a.txt", GUIDE)
    before = store.all()
    monkeypatch.setattr(stores, "TEXT_BYTES_MOST", 150)
    with pytest.raises(DocumentError) as caught:
        add(store, "b.txt", GUIDE)
    assert caught.value.code == DocumentCode.FULL
    monkeypatch.undo()
    monkeypatch.setattr(stores, "DOCUMENTS_MOST", 1)
    with pytest.raises(DocumentError) as caught:
        add(store, "b.txt", GUIDE)
    assert caught.value.code == DocumentCode.FULL
    monkeypatch.undo()
    free = os.statvfs(Path())
    monkeypatch.setattr(stores, "RESERVE_BYTES", free.f_bavail * free.f_frsize * 2)
    with pytest.raises(DocumentError) as caught:
        add(store, "b.txt", GUIDE)
    assert caught.value.code == DocumentCode.DISK_FULL
    assert store.all() == before
    assert DOCUMENTS_MOST == 1000


@pytest.mark.parametrize("letters", [range(97, 123), range(0x4E00, 0x9000)])
def test_the_disk_grows_no_more_than_is_reckoned(store: DocumentStore, tmp_path: Path, letters: range) -> None:
    """Characters by chance, of which the indexes hold the most."""
    draw = random.Random(1)
    text = "\n\n".join("".join(chr(draw.choice(letters)) for _ in range(150)) for _ in range(600))
    add(store, "a.txt", text)
    (written,) = (path.stat().st_size for path in tmp_path.iterdir())
    assert 2 * len(text.encode()) < written < stores.GROWTH * len(text.encode())


@pytest.mark.parametrize("broken", [b"no database" * 1000, b""])
def test_a_damaged_or_other_file_is_told(tmp_path: Path, broken: bytes) -> None:
    if broken:
        (tmp_path / DATABASE).write_bytes(broken)
    else:
        with sqlite3.connect(tmp_path / DATABASE) as database:
            database.execute("PRAGMA user_version = 7")
    with pytest.raises(DocumentError) as caught:
        DocumentStore(tmp_path).all()
    assert caught.value.code == DocumentCode.UNREADABLE


def test_who_waits_too_long_for_a_change_is_told(
    store: DocumentStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "a.txt", GUIDE)
    monkeypatch.setattr(stores, "BUSY_S", 0.01)
    with sqlite3.connect(tmp_path / DATABASE, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DocumentError) as caught:
            add(store, "b.txt", GUIDE)
    assert caught.value.code == DocumentCode.BUSY
    assert [one.name for one in store.all()] == ["a.txt"]


def test_a_closed_state_volume_is_told(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        DocumentStore(tmp_path / "documents").all()
    assert caught.value.code == DocumentCode.UNAVAILABLE
