"""Vectors of passages: by which model, how near, how they go; sqlite-vec is the one that goes into images."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_appliance.documents import store as stores
from sealwright_appliance.documents.messages import VECTORS_MOST, MadeVector, VectorUse
from sealwright_appliance.documents.passages import Passage
from sealwright_appliance.documents.refusals import DocumentCode, DocumentError
from sealwright_appliance.documents.store import DATABASE, DocumentStore
from sealwright_appliance.documents.vectors import (
    LARGEST,
    NUMBERS_MOST,
    QuestionVector,
    quantised,
    text_digest,
    vector_text,
)
from sealwright_policies.errors import FormatError
from sealwright_testing.vector_extension import vector_extension

MODEL, OTHER = "5e" * 32, "0a" * 32
EAST, NORTH, WEST = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (-1.0, 0.0, 0.0)


@pytest.fixture
def store(tmp_path: Path) -> DocumentStore:
    return DocumentStore(tmp_path, vector_extension())


def add(store: DocumentStore, *texts: str) -> str:
    return store.add("a.txt", 1, [Passage(text, None, at) for at, text in enumerate(texts, start=1)], 1).document_id


def made(number: int, text: str, vector: tuple[float, ...]) -> MadeVector:
    return MadeVector(passage=number, text_sha256=text_digest(text), vector=vector_text(quantised(vector)))


def embed(store: DocumentStore, vectors: dict[str, tuple[float, ...]], model: str = MODEL) -> None:
    """All that are lacking."""
    while lacking := store.pending(model, VECTORS_MOST):
        store.keep(model, [made(one.passage, one.text, vectors[one.text]) for one in lacking])


def near(store: DocumentStore, vector: tuple[float, ...], model: str = MODEL) -> tuple[list[str], VectorUse | None]:
    found, use = store.search("??", 9, QuestionVector(model=model, vector=vector_text(quantised(vector))))
    return [one.text for one in found], use


def test_the_nearest_come_first_and_what_points_elsewhere_does_not_come(store: DocumentStore) -> None:
    add(store, "east", "north", "west")
    embed(store, {"east": EAST, "north": NORTH, "west": WEST})
    assert near(store, (0.9, 0.3, 0)) == (["east", "north"], VectorUse.USED)
    assert near(store, (-0.2, 0.9, 0)) == (["north", "west"], VectorUse.USED)


def test_words_and_vectors_decide_together(store: DocumentStore) -> None:
    """What both find is before what one finds; either alone is enough."""
    add(store, "the pump", "the valve", "the hose")
    embed(store, {"the pump": WEST, "the valve": EAST, "the hose": (0.9, 0.1, 0)})
    asked = QuestionVector(model=MODEL, vector=vector_text(quantised(EAST)))
    found, _ = store.search("hose or pump", 9, asked)
    assert [one.text for one in found] == ["the hose", "the pump", "the valve"]
    assert found[0].score > found[1].score


def test_until_all_have_vectors_it_is_said(store: DocumentStore) -> None:
    """A document counts as found by words at once; its state shows how far its vectors are."""
    add(store, *(f"passage {number}" for number in range(VECTORS_MOST + 1)))
    assert near(store, EAST) == ([], VectorUse.UNAVAILABLE)
    lacking = store.pending(MODEL, 50)
    assert len(lacking) == VECTORS_MOST
    store.keep(MODEL, [made(one.passage, one.text, EAST) for one in lacking])
    assert near(store, EAST)[1] == VectorUse.PARTLY
    assert [(one.passages, one.with_vectors) for one in store.all()] == [(VECTORS_MOST + 1, VECTORS_MOST)]
    assert len(store.search("passage", 50)[0]) == VECTORS_MOST + 1
    embed(store, {f"passage {VECTORS_MOST}": EAST})
    assert near(store, EAST)[1] == VectorUse.USED


def test_vectors_of_two_models_are_never_compared(store: DocumentStore, tmp_path: Path) -> None:
    """The first word of another removes all, whatever their lengths, from the file as well."""
    add(store, "east", "north")
    wide = tuple(float(number) for number in range(1, 65))
    embed(store, {"east": wide, "north": NORTH + (0.5,) * 61})
    content = quantised(wide)
    assert content in (tmp_path / DATABASE).read_bytes()
    assert near(store, wide)[1] == VectorUse.USED
    assert near(store, wide, OTHER) == ([], VectorUse.UNAVAILABLE)
    assert len(store.pending(OTHER, 9)) == 2
    assert content not in (tmp_path / DATABASE).read_bytes()
    assert [one.with_vectors for one in store.all()] == [0]
    with pytest.raises(DocumentError) as caught:
        store.keep(MODEL, [made(1, "east", EAST)])
    assert caught.value.code == DocumentCode.OTHER_VECTORS
    embed(store, {"east": EAST, "north": NORTH}, OTHER)
    assert near(store, EAST, OTHER)[0] == ["east"]


def test_vectors_of_two_lengths_are_refused(store: DocumentStore) -> None:
    add(store, "east", "north", "west")
    assert store.pending(MODEL, 1)
    for pair in ((EAST, (1.0,)), (EAST, (*NORTH, 0.0))):
        with pytest.raises(DocumentError) as caught:
            store.keep(MODEL, [made(1, "east", pair[0]), made(2, "north", pair[1])])
        assert caught.value.code == DocumentCode.OTHER_VECTORS
    store.keep(MODEL, [made(1, "east", EAST)])
    with pytest.raises(DocumentError):
        store.keep(MODEL, [made(2, "north", (1.0,))])
    assert near(store, (1.0,)) == ([], VectorUse.UNAVAILABLE)
    assert [one.with_vectors for one in store.all()] == [1]


def test_a_vector_comes_too_late_for_a_passage_that_has_gone(store: DocumentStore) -> None:
    """Its number may be another's by then, which would be found for what it does not say."""
    gone = add(store, "east")
    (lacking,) = store.pending(MODEL, 1)
    store.delete(gone)
    add(store, "north")
    store.keep(MODEL, [made(lacking.passage, lacking.text, EAST)])
    assert [one.passage for one in store.pending(MODEL, 1)] == [lacking.passage]
    assert near(store, EAST) == ([], VectorUse.PARTLY)


@pytest.mark.parametrize("numbers", [384, NUMBERS_MOST])
def test_the_vectors_of_what_is_deleted_are_in_no_file(store: DocumentStore, tmp_path: Path, numbers: int) -> None:
    """Also those that are longer than a page; the control finds them before."""
    canary = tuple(float((7 * at) % 251 - 125) for at in range(numbers))
    other = tuple(float((5 * at) % 251 - 125) for at in range(numbers))
    stays = add(store, *(f"stays {number}" for number in range(20)))
    gone = add(store, *(f"goes {number}" for number in range(5)))
    last = add(store, "last")
    vectors = {f"stays {number}": other for number in range(20)} | {"last": other}
    embed(store, vectors | {f"goes {number}": canary for number in range(5)})

    def traces() -> int:
        content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        pieces = quantised(canary)
        return sum(pieces[at : at + 16] in content for at in range(0, numbers, 16))

    assert traces() > numbers // 20
    store.delete(gone)
    assert traces() == 0
    assert {one.document_id: one.with_vectors for one in store.all()} == {stays: 20, last: 1}
    with sqlite3.connect(tmp_path / DATABASE) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert database.execute("SELECT count(*) FROM vectors").fetchone() == (21,)


def test_without_sqlite_vec_words_find(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_bytes(b"no library")
    for extension in (None, tmp_path / "none.so", tmp_path / "broken.so"):
        store = DocumentStore(tmp_path, extension)
        gone = add(store, "east")
        embed(store, {"east": EAST})
        found, use = store.search("east", 1, QuestionVector(model=MODEL, vector=vector_text(quantised(EAST))))
        assert ([one.text for one in found], use) == (["east"], VectorUse.UNAVAILABLE)
        store.delete(gone)


def test_a_full_disk_keeps_no_vectors(store: DocumentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    add(store, "east")
    store.pending(MODEL, 1)
    monkeypatch.setattr(stores, "RESERVE_BYTES", 2**62)
    with pytest.raises(DocumentError) as caught:
        store.keep(MODEL, [made(1, "east", EAST)])
    assert caught.value.code == DocumentCode.DISK_FULL


def test_documents_that_were_kept_before_there_were_vectors_get_some(tmp_path: Path) -> None:
    """The file of an earlier release becomes one of this, once, also where two look at it together."""
    with sqlite3.connect(tmp_path / DATABASE) as database:
        for statement in stores.SCHEMAS[0].split(";"):
            database.execute(statement)
        database.execute("PRAGMA user_version = 1")
        database.execute("INSERT INTO documents VALUES (1, 'file-000000000000000000000000', 'a', 1, 1, NULL, 1, 4)")
        database.execute("INSERT INTO passages VALUES (1, 1, NULL, 1, 'east')")
    store = DocumentStore(tmp_path, vector_extension())
    threads = [threading.Thread(target=store.all) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [(one.passages, one.with_vectors) for one in store.all()] == [(1, 0)]
    embed(store, {"east": EAST})
    assert near(store, EAST) == (["east"], VectorUse.USED)


@given(st.lists(st.floats(-(2.0**90), 2.0**90, width=32), min_size=1, max_size=50))
def test_a_vector_keeps_its_direction(vector: list[float]) -> None:
    """To half a step of its largest number."""
    content = quantised(vector)
    numbers = [one - 256 if one > LARGEST else one for one in content]
    largest = max(map(abs, vector))
    if largest:
        assert max(map(abs, numbers)) == LARGEST
        assert all(
            abs(one * largest / LARGEST - number) <= largest / LARGEST * 0.51
            for one, number in zip(numbers, vector, strict=True)
        )
    else:
        assert set(numbers) == {0}


def test_a_vector_of_zeros_is_near_to_nothing(store: DocumentStore) -> None:
    add(store, "east", "nothing")
    embed(store, {"east": EAST, "nothing": (0.0, 0.0, 0.0)})
    assert near(store, EAST)[0] == ["east"]
    assert near(store, (0.0, 0.0, 0.0))[0] == []


@pytest.mark.parametrize("numbers", [0, NUMBERS_MOST + 1])
def test_vectors_are_bounded(numbers: int) -> None:
    with pytest.raises(FormatError):
        quantised([1.0] * numbers)
    with pytest.raises(ValueError, match="no vector"):
        QuestionVector(model=MODEL, vector=vector_text(bytes(numbers)))
