"""``sealwright-box metering`` at a gateway that runs: what it shows, orders and chooses, and who may."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from sealwright_client import cli
from sealwright_client.cli_metering import metering_lines
from sealwright_client.pinning import fingerprint_of, shown_certificate
from sealwright_testing.serving import ServingBox, serving_box


@pytest.fixture(scope="module")
def quiet_box() -> Iterator[ServingBox]:
    """A gateway without an engine."""
    with serving_box({"medical": None}) as running:
        yield running


@pytest.fixture
def run(quiet_box: ServingBox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Gives a command with a key on standard input; its exit code, output and errors."""
    fingerprint = fingerprint_of(shown_certificate("127.0.0.1", quiet_box.port))

    def give(verb: str, *more: str, key: str = quiet_box.admin_key) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{key}\n".encode())))
        code = cli.main(["metering", verb, quiet_box.url, *more, "--fingerprint", fingerprint])
        said = capsys.readouterr()
        return code, said.out, said.err

    return give


def test_an_administrator_looks_orders_and_chooses(quiet_box: ServingBox, run: Any) -> None:
    code, said, _ = run("show")
    assert (code, "waiting   0 receipts" in said, "by pseudonym" in said) == (0, True, True)
    shown = json.loads(run("show", "--json")[1])
    assert shown["aliases"]["ward"].startswith("key-")
    assert run("report")[0] == 0
    assert quiet_box.reports_ordered == [True]
    assert run("names", "yes")[0] == 0
    assert json.loads(run("show", "--json")[1])["aliases"]["ward"] == "ward"
    assert "pseudonym" in run("names", "no")[1]


@pytest.mark.parametrize("verb", [("show",), ("report",), ("names", "yes")], ids=lambda words: words[0])
def test_others_may_not(quiet_box: ServingBox, run: Any, verb: tuple[str, ...]) -> None:
    before = list(quiet_box.reports_ordered)
    code, _, error = run(*verb, key=quiet_box.api_key)
    assert code == 10
    assert error
    assert quiet_box.reports_ordered == before
    assert quiet_box.meter.settings().names is False


def test_a_key_is_shown_by_its_name_whatever_is_reported() -> None:
    row = {"model": "medical", "alias": "key-x", "requests": 2, "prompt_tokens": 3, "completion_tokens": 4}
    lines = metering_lines({"waiting": 7, "rows": [row], "aliases": {"ward": "key-x"}, "opened_at": 0}, {})
    assert "waiting   7 receipts" in lines
    assert "usage     medical  ward: 2 requests, 3 + 4 tokens" in lines
