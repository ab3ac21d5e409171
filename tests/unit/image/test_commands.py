"""Running tools, showing progress, and the command line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from sealwright_image.cli import main
from sealwright_image.progress import Progress
from sealwright_image.run import Tools, tools_argv
from sealwright_policies.errors import OperationError
from sealwright_testing.image_inputs import product_text


def wrapper(folder: Path, body: str) -> Path:
    """Stands where in-tools-root does, so that this needs no tools root."""
    path = folder / "wrapper"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_command_line_dies_with_the_build_and_binds_what_is_asked() -> None:
    assert tools_argv(Path("/w"), ["sfdisk", Path("/d")], binds=[Path("/a")], environment={"TZ": "UTC"}) == [
        *("setpriv", "--pdeathsig", "KILL", "/w", "--bind", "/a", "--setenv", "TZ=UTC", "--", "sfdisk", "/d")
    ]


def test_a_tool_gets_its_standard_input_and_gives_its_output(tmp_path: Path) -> None:
    assert Tools(wrapper(tmp_path, "cat")).run(["cat"], stdin=b"text") == b"text"
    assert Tools(wrapper(tmp_path, "cat")).run(["cat"]) == b""


def test_a_failed_tool_is_told_with_the_end_of_what_it_said(tmp_path: Path) -> None:
    tools = Tools(wrapper(tmp_path, "seq 100 >&2; exit 7"))
    with pytest.raises(OperationError, match="mkfs failed with exit status 7") as caught:
        tools.run(["mkfs"])
    assert str(caught.value).splitlines()[-1] == "100"
    assert "\n50\n" not in str(caught.value)


def test_a_log_gets_all_of_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    Tools(wrapper(tmp_path, "echo out; echo err >&2")).run(["x"], log=log)
    assert log.read_text().split() == ["out", "err"]
    with pytest.raises(OperationError, match="said before"):
        Tools(wrapper(tmp_path, "echo said before; exit 1")).run(["x"], log=log)


def test_a_missing_toolchain_is_told_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="nowhere"):
        Tools(tmp_path / "nowhere").run(["x"])


def test_steps_are_shown_and_remembered() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    with progress.step("encryption", 2_000_000) as step:
        step.advance(2_000_000)
    with pytest.raises(OperationError), progress.step("fails"):
        raise OperationError("boom")
    with progress.ticking("mkosi"):
        pass
    assert [(step.name, step.size) for step in progress.steps] == [("encryption", 2_000_000), ("mkosi", 0)]
    assert "encryption" in stream.getvalue()
    assert "MB/s" in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_line_is_redrawn() -> None:
    stream = Terminal()
    with Progress(stream).step("encryption", 10) as step:
        step.started -= 1
        step.advance(5)
    assert "\r\x1b[K  encryption: 1 s, 50 %" in stream.getvalue()


def test_keygen_makes_keys_and_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keygen", str(tmp_path / "keys"), "--json"]) == 0
    assert "PUBLIC KEY" in json.loads(capsys.readouterr().out)["manifest_key"]
    assert main(["keygen", str(tmp_path / "keys")]) == 2
    assert "never overwritten" in capsys.readouterr().err


def test_exit_codes_tell_the_kind_of_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    product = tmp_path / "product.toml"
    product.write_text(product_text("medical").replace('version = "1.0"', ""))
    assert main(["build", str(product), "--output", str(tmp_path / "out")]) == 2
    assert "line 1: version: this key is missing" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "nowhere")]) == 2
    assert not (tmp_path / "out").exists()


def test_an_existing_output_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "product.toml").write_text(product_text("medical"))
    (tmp_path / "out").mkdir()
    assert main(["build", str(tmp_path / "product.toml"), "--output", str(tmp_path / "out")]) == 2
    assert "--force" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["keygen"], ["build"], ["inspect"], ["verify"]])
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: sealwright-image" in capsys.readouterr().out
