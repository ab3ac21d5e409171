"""The commands over domain files: output, exit codes, one line of reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sealwright_policies.cli import main
from sealwright_testing.domain_texts import EXAMPLES, ROOT_HASHES, domain_text, replaced

WORKLOADS = [f"--workload={name}={root_hash}" for name, root_hash in ROOT_HASHES.items()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLES, tmp_path / "domains"))


def change(path: Path, old: str, new: str) -> None:
    path.write_text(replaced(path.read_text(), old, new))


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(one) for one in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    return json.loads(run(capsys, *arguments, "--json")[1])


def test_check_tells_what_is_good(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", folder)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "good: 5 domains."
    assert "oncology-training: sealed, of the data-owner, within medical-model and oncology-records; digest " in out


def test_check_tells_every_problem_and_exits_with_the_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = folder / "oncology-training.toml"
    change(training, "tokens_per_day = 50000", "tokens_per_day = 60000")
    change(training, "results_days = 90", "results_days = 91")
    code, out, err = run(capsys, "check", training)
    assert code == 10
    assert [line.split(":")[0] for line in out.splitlines()] == ["DOMAIN_EXCEEDS_CHAIN"] * 2
    assert err == (
        f"sealwright-policy: REJECTED DOMAIN_EXCEEDS_CHAIN: {training}: line 33: api.tokens_per_day: 60000, and"
        f" oncology-records upstream allows at most 50000 ({folder}/oncology-records.toml: line 28).\n"
    )
    problems = run_json(capsys, "check", folder)["problems"]
    assert [(one["domain"], one["line"], one["key"]) for one in problems] == [
        ("oncology-training", 33, "api.tokens_per_day"),
        ("oncology-training", 52, "retention.results_days"),
    ]


def test_a_file_is_judged_with_those_that_it_names_only(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "finance-model.toml").write_text("this is no domain")
    assert run(capsys, "check", folder / "oncology-training.toml")[0] == 0
    assert run(capsys, "check", folder)[0] == 30


def test_a_missing_neighbour_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "oncology-records.toml").unlink()
    code, _, err = run(capsys, "check", folder / "oncology-training.toml")
    assert code == 10
    assert "DOMAIN_UNKNOWN" in err
    assert "there is no domain 'oncology-records'; put its file oncology-records.toml beside this one." in err


def test_a_domain_stands_in_the_file_of_its_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "clinic.toml").rename(folder / "hospital.toml")
    code, _, err = run(capsys, "check", folder / "hospital.toml")
    assert code == 30
    assert "line 3: name: domain clinic stands in clinic.toml." in err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["check", "nowhere.toml"], 2, "No such file"),
        (["check", "."], 2, "holds 0 domain files"),
        (["check"], 2, "PATH"),
        (["explain", "small.toml", "fly", "home"], 2, "invalid choice"),
        (["explain", "small.toml", "egress", "foo"], 2, "expected egress HOST:PORT[/udp]"),
        (["compile", "small.toml", "--workload", "w=1"], 2, "expected ID=ROOTHASH"),
        (["compile", "small.toml", "--root-hash", "1a"], 2, "expected 64 hexadecimal digits"),
        (["compile", "small.toml", "--workload", f"w={'1' * 64}"], 2, "the domains let no workload run"),
        (["diff", "small.toml", "."], 2, "compare two files or two folders"),
        (["check", "malformed.toml"], 30, "MALFORMED"),
    ],
)
def test_mistakes_are_told_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains/small.toml").write_text(domain_text())
    (tmp_path / "domains/malformed.toml").write_text("x = \n")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / ("empty" if "." in arguments[1:2] else "domains"))
    found, out, err = run(capsys, *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert told in err


def test_compile_writes_the_files_or_prints_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    code, listed, _ = run(capsys, "compile", folder, "--out", out, *WORKLOADS)
    assert code == 0
    printed = run_json(capsys, "compile", folder, *WORKLOADS)
    assert listed.split() == list(printed) == sorted(printed)
    assert {f"/{one.relative_to(out)}": one.read_text() for one in out.rglob("*") if one.is_file()} == printed
    assert "==> /etc/apparmor.d/sealwright-engine-medical <==" in run(capsys, "compile", folder, *WORKLOADS)[1]


def test_compile_overwrites_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "compile", folder, "--out", tmp_path, *WORKLOADS)
    assert (code, out) == (2, "")
    assert "is there already" in err


def test_what_is_refused_is_not_compiled(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder / "medical-model.toml", "requests_per_minute = 60", "requests_per_minute = 60\nlogprobs = 1")
    code, _, err = run(capsys, "compile", folder, "--out", tmp_path / "out", *WORKLOADS)
    assert (code, "DOMAIN_EXCEEDS_LEVEL" in err) == (10, True)
    assert not (tmp_path / "out").exists()


def test_explain_answers_with_lines_and_exit_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clinic = folder / "clinic.toml"
    code, out, _ = run(capsys, "explain", clinic, "egress", "documents.clinic.example:443")
    assert code == 0
    assert out.splitlines() == [
        "ALLOWED: clinic egress documents.clinic.example:443",
        f"  lets: {clinic}: line 28: egress[0]: documents.clinic.example:443/tcp at 192.0.2.16/28  [clinic]",
        "enforced by: systemd, AppArmor, Landlock, nftables",
    ]
    code, out, err = run(capsys, "explain", clinic, "egress", "documents.clinic.example:80")
    assert (code, out.splitlines()[0]) == (10, "FORBIDDEN: clinic egress documents.clinic.example:80")
    assert err.startswith(f"sealwright-policy: REJECTED DOMAIN_FORBIDS: {clinic}: line 28: egress: only ")
    answer = run_json(capsys, "explain", folder / "oncology-training.toml", "flow", "clinic", "adapter")
    assert answer["allowed"] is False
    assert [one["domain"] for one in answer["grounds"] if not one["allows"]] == [
        "oncology-training",
        "medical-model",
        "oncology-records",
        "clinic",
    ]


def test_diff_tells_wider_and_narrower(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = folder / "finance-model.toml"
    change(new, "logprobs = 5", "logprobs = 3")
    change(new, "prompts_days = 7", "prompts_days = 30")
    code, out, _ = run(capsys, "diff", EXAMPLES / "finance-model.toml", new)
    assert code == 0
    assert out.splitlines() == [
        f"wider    finance-model: retention.prompts_days: 30, was at most 7 ({new}: line 36)",
        f"narrower finance-model: api.logprobs: 5, now at most 3 ({EXAMPLES}/finance-model.toml: line 26)",
    ]
    assert run(capsys, "diff", new, new)[1] == "no difference.\n"


def test_diff_of_folders_tells_what_came_and_went(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "finance-model.toml").unlink()
    (folder / "small.toml").write_text(domain_text())
    changes = run_json(capsys, "diff", EXAMPLES, folder)["changes"]
    assert [(one["direction"], one["domain"]) for one in changes] == [("added", "small"), ("removed", "finance-model")]


def test_schema_prints_json_or_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(run(capsys, "schema")[1])["title"] == "Domain"
    assert "| `logprobs` |" in run(capsys, "schema", "--markdown")[1]


@pytest.mark.parametrize("command", ["check", "compile", "diff", "explain", "schema"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"sealwright-policy {command} " in capsys.readouterr().out
