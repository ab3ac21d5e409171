"""The command does everything that the console does; every command prints JSON and shows how it is given."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from sealwright_licensing import cli
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.operator_desk import OperatorDesk

COMMANDS = {
    "/": "overview",
    "/licenses": "license list",
    "/licenses/issue": "license issue",
    "/licenses/{license_id}": "license show",
    "/licenses/{subject_id}/renew": "license renew",
    "/licenses/{subject_id}/change-terms": "license change",
    "/licenses/{subject_id}/set-floor": "license set-floor",
    "/licenses/{subject_id}/add-code": "license add-code",
    "/licenses/{subject_id}/suspend": "license suspend",
    "/licenses/{subject_id}/reinstate": "license reinstate",
    "/licenses/{subject_id}/revoke": "license revoke",
    "/devices": "device list",
    "/devices/{device_id}": "device show",
    "/devices/{subject_id}/resume": "device resume",
    "/devices/{subject_id}/approve-firmware": "device approve-firmware",
    "/devices/{subject_id}/settle": "metering settle",
    "/devices/{subject_id}/transfer": "device transfer",
    "/devices/{subject_id}/retire": "device retire",
    "/releases": "release list",
    "/releases/{release_id}": "release show",
    "/releases/{subject_id}/withdraw": "release withdraw",
    "/metering": "metering show",
    "/decisions": "decision list",
    "/decisions/{decision_id}": "decision show",
    "/operations": "operation list",
    "/log": "audit search",
    "/log/{index}": "audit show",
    "/tokens": "token list",
    "/tokens/{token_id}": "token list",
    "/tokens/{subject_id}/revoke": "token revoke",
}
"""The command for each page of the console."""
OF_THE_BROWSER = {"/login", "/logout", "/language"}


def leaves(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that has no further commands."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield name, parser
    for group in groups:
        for verb, below in group.choices.items():
            yield from leaves(below, f"{name} {verb}".strip())


def routes(found: Iterable[object]) -> Iterator[APIRoute]:
    """Routes of an application, those of the routers in it too."""
    for one in found:
        if isinstance(one, APIRoute):
            yield one
        elif (router := getattr(one, "original_router", None)) is not None:
            yield from routes(router.routes)


LEAVES: dict[str, argparse.ArgumentParser] = dict(leaves(cli.build_parser()))


def test_each_page_of_the_console_has_a_command(box: EnrolledDevice) -> None:
    """Whoever adds a page says here by which command the same is done."""
    found = routes(OperatorDesk.open(box.world).app.routes)
    pages = {one.path for one in found if not one.include_in_schema} - OF_THE_BROWSER
    assert pages == set(COMMANDS)
    assert set(COMMANDS.values()) - set(LEAVES) == set()


@pytest.mark.parametrize("name", LEAVES)
def test_every_command_prints_json_and_shows_an_example(name: str) -> None:
    """An example that the parser takes, and that is of this command."""
    parser = LEAVES[name]
    assert "--json" in parser._option_string_actions
    found = re.search(r"examples?:\n((?:  .*\n?)+)", parser.format_help())
    assert found is not None
    for line in found.group(1).splitlines():
        words = shlex.split(line.partition(" > ")[0])
        assert words[0] == "sealwright-license"
        parsed = cli.build_parser().parse_args(words[1:])
        assert parsed.run is parser.get_default("run")
        assert line.strip().startswith(f"sealwright-license {name} ")


def said(capsys: pytest.CaptureFixture[str], box: EnrolledDevice, *words: str) -> Any:
    """What a command prints as JSON; its words for people come without an error, too."""
    folder = str(box.world.folder.path)
    at = 2 if words[0] != "overview" else 1
    assert cli.main([*words[:at], folder, *words[at:]]) == 0
    assert capsys.readouterr().out.strip()
    assert cli.main([*words[:at], folder, *words[at:], "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_journals_and_the_overview(box: EnrolledDevice, capsys: pytest.CaptureFixture[str]) -> None:
    device_id, license_id = box.device.device_id, box.license_.license_id
    fleet = said(capsys, box, "overview")
    assert fleet["by_status"] == {"live": 1, "held": 0, "retired": 0}
    (decision,) = said(capsys, box, "decision", "list", "--device", device_id[:9], "--code", "ok")
    shown = said(capsys, box, "decision", "show", decision["decision_id"])
    assert shown["result"]
    assert {name: shown[name] for name in decision} == decision
    (issued,) = said(capsys, box, "operation", "list", "--subject", license_id)
    assert issued["operation"] == "license.issue"
    assert len(said(capsys, box, "operation", "list", "--limit", "1")) == 1
    for verb in ("decision", "operation"):
        assert said(capsys, box, verb, "list", "--first-day", "2099-01-01") == []
        assert said(capsys, box, verb, "list", "--last-day", "2099-01-01") != []
    (release,) = said(capsys, box, "release", "list")
    assert said(capsys, box, "release", "show", release["release_id"][:12])["partitions"]
    assert cli.main(["decision", "show", str(box.world.folder.path), "none"]) == 1
