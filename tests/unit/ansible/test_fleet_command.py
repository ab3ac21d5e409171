"""``sealwright-fleet``: what it lists, and what it says when it is used wrongly (its runs: tests/integration/fleet)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from sealwright_ansible.catalogue import PLAYBOOKS, ROLES
from sealwright_ansible.cli import main

ROLE = ROLES / "license_server"


def test_every_playbook_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == {path.stem for path in PLAYBOOKS.glob("*.yml")}
    assert all(summary.endswith(".") for summary in listed.values())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "deploy-licence-server", "-i", "inventory"], "`sealwright-fleet list`"),
        (["run", "deploy-license-server", "-i", "nowhere.yml"], "nowhere.yml"),
    ],
)
def test_what_does_not_exist_is_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("inventory", "words"),
    [
        ("license_servers: [", "Ansible did not run"),
        ("others: {hosts: {elsewhere: }}", "license_servers"),
    ],
)
def test_an_inventory_that_means_nothing_is_a_usage_error(
    inventory: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "inventory.yml"
    file.write_text(inventory)
    assert main(["run", "deploy-license-server", "-i", str(file)]) == 2
    assert words in capsys.readouterr().err


def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "inventory.yml"
    file.write_text("license_servers: {hosts: {license-1: {ansible_host: 127.0.0.1, ansible_port: 1}}}")
    assert main(["run", "deploy-license-server", "-i", str(file)]) == 1
    assert "license-1" in capsys.readouterr().err


def test_a_setting_without_a_value_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "deploy-license-server", "-i", str(tmp_path), "--set", "no equals sign"])
    assert caught.value.code == 2
    assert "NAME=VALUE" in capsys.readouterr().err


def test_every_setting_is_specified() -> None:
    """The defaults name nothing that the argument specification does not."""
    entries = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"].values()
    specified = {name for entry in entries for name in entry["options"]}
    assert set(yaml.safe_load((ROLE / "defaults/main.yml").read_text())) <= specified
