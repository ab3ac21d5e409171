"""The support bundle: what can be in one at all, what is refused, and what is printed of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies import support
from sealwright_policies.cli import main
from sealwright_policies.errors import FormatError
from sealwright_policies.support import SUPPORT_LIMIT, SupportBundle, parse_support_bundle, support_bytes
from sealwright_policies.support_words import WORDS, support_lines
from sealwright_policies.wire.encoding import Document
from sealwright_testing.support_bundles import largest_bundle, some_bundle

WHAT_PEOPLE_WRITE = (
    "What is metformin?", "高血压", "ward 3", "Frau Müller", "10.1.2.3:8443", "fe80::1", "a@b.example", "Bearer sw-x",
    "/var/lib/sealwright", "", "two\nlines", "\x1b[2J",
)  # fmt: skip


def strings(schema: Any) -> Iterator[dict[str, Any]]:
    """Every place of a JSON schema that takes a text."""
    if isinstance(schema, dict):
        if schema.get("type") == "string":
            yield schema
        for value in schema.values():
            yield from strings(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from strings(value)


def test_no_member_could_hold_what_people_write() -> None:
    """By its form, whoever fills it: a sentence, a name of theirs, an address, a key, a path."""
    found = list(strings(SupportBundle.model_json_schema()))
    assert len(found) > 30
    for one in found:
        assert {"pattern", "enum", "const"} & one.keys(), one
        for text in WHAT_PEOPLE_WRITE:
            assert not re.search(one.get("pattern", "^$x"), text), (one, text)
            assert text not in one.get("enum", [one.get("const")])


def test_no_member_takes_any_object() -> None:
    """One that did would be a way past the list."""
    schema = json.dumps(SupportBundle.model_json_schema())
    assert '"additionalProperties": true' not in schema
    kinds = [kind for kind in vars(support).values() if isinstance(kind, type) and issubclass(kind, Document)]
    assert all(kind.model_config["extra"] == "forbid" and kind.model_config["frozen"] for kind in kinds)


@pytest.mark.parametrize("text", [*WHAT_PEOPLE_WRITE, "sw-" + "A" * 43, "x" * 65])
def test_what_has_not_the_form_is_left_out(text: str) -> None:
    takers = (support.code_of, support.word_of, support.name_of, support.version_of, support.digest_of)
    fitting = [take(text) for take in takers]
    if text.startswith("sw-"):  # the form of a version, which is never asked of a key
        fitting.remove(text)
    assert fitting == [None] * len(fitting)


def test_of_a_sentence_with_a_code_the_code_is_left() -> None:
    assert support.code_of("SERVICE_UNREACHABLE: https://license.example does not answer") == "SERVICE_UNREACHABLE"
    assert support.code_of("No contact yet.") is None
    assert support.place_of("app.py", 12) == "app.py:12"
    assert support.place_of("<string>", 1) is None


def test_what_is_written_is_read_and_is_plain_text() -> None:
    content = support_bytes(some_bundle())
    assert parse_support_bundle(content) == some_bundle()
    assert content.isascii()
    assert content.endswith(b"}\n")


def test_the_longest_of_all_parts_fit() -> None:
    content = support_bytes(largest_bundle())
    assert SUPPORT_LIMIT // 2 < len(content) <= SUPPORT_LIMIT
    assert parse_support_bundle(content) == largest_bundle()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("box.renewal", "DENIED: a sentence"),
        ("box.prompt", "What is metformin?"),
        ("box.payloads.0.id", "ward 3"),
        ("box.tpm.manufacturer", "STM "),
        ("box.lines.0.message", "said"),
        ("gateway.load.0.waiting", -1),
        ("type", "sealwright/v1/other"),
        ("made_at", "now"),
    ],
)
def test_anything_else_is_refused(path: str, value: object) -> None:
    document = json.loads(support_bytes(some_bundle()))
    *way, last = path.split(".")
    place = document
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    with pytest.raises(FormatError):
        parse_support_bundle(json.dumps(document).encode())


def test_one_that_is_too_long_is_refused() -> None:
    with pytest.raises(FormatError, match="at most"):
        parse_support_bundle(support_bytes(some_bundle()) + b" " * SUPPORT_LIMIT)


def test_it_is_told_in_words() -> None:
    lines = support_lines(some_bundle())
    assert any(
        line.startswith("boot      event 12 of the boot log, PCR 4: BOOT_APPLICATION (firmware") for line in lines
    )
    assert any("software, IBM, firmware 2024" in line for line in lines)
    assert "load      medical: answers, 1 of 4 running, 7 waiting" in lines
    assert any(line.startswith("agent     ") and line.endswith("event=retention source=sealwright error=OSError")
               for line in lines)  # fmt: skip


def test_every_word_is_one_line_that_a_terminal_shows() -> None:
    assert all(words.isprintable() and not words.endswith(".") for words in WORDS.values())


def test_the_command_shows_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bundle.json"
    file.write_bytes(support_bytes(some_bundle()))
    assert main(["support", "show", str(file)]) == 0
    assert capsys.readouterr().out.splitlines() == support_lines(some_bundle())
    assert main(["support", "show", str(file), "--json"]) == 0
    assert capsys.readouterr().out.encode() == file.read_bytes()
    file.write_bytes(b"{}")
    assert main(["support", "show", str(file)]) == 30
    assert capsys.readouterr().err.startswith("sealwright-policy: MALFORMED: SupportBundle: ")


def test_what_a_file_holds_moves_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where it is refused, and the error names what was in it."""
    document = json.loads(support_bytes(some_bundle())) | {"\x1b[2J\u202egone": 1}
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(document))
    assert main(["support", "show", str(file)]) == 30
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert r"\u001b[2J\u202egone" in said
