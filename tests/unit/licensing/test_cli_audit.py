"""`sealwright-license audit`: what an auditor and an operator see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from sealwright_licensing.cli import main
from sealwright_licensing.journal import record_operation
from sealwright_licensing.keyring import KeyRole
from sealwright_licensing.tables import licenses
from sealwright_testing.enrolled_device import DAY, EnrolledDevice
from sealwright_testing.license_world import OPERATOR, LicenseWorld

Capture = pytest.CaptureFixture[str]
STEERING = "\x1b[2J\u202e\U000e0041"


def run(capture: Capture, *arguments: object, code: int = 0) -> Any:
    """Run with --json; parse what it prints."""
    found = main(["audit", *map(str, arguments), "--json"])
    printed = capture.readouterr()
    assert found == code, printed.err
    return json.loads(printed.out)


@pytest.fixture
def box(world: LicenseWorld) -> EnrolledDevice:
    """A box that has renewed twice."""
    made = EnrolledDevice.enroll(world)
    for _ in range(2):
        made.pass_time(DAY)
        made.renew()
    world.sequence()
    return made


@pytest.mark.parametrize("command", ["audit show", "audit search", "operation list"])
def test_nothing_of_the_log_steers_a_terminal(world: LicenseWorld, capsys: Capture, command: str) -> None:
    """Words of an entry and of the journal, as whoever can write the database may have put them there."""
    with world.store.write() as transaction:
        record_operation(
            transaction, actor=OPERATOR, operation="license.revoke", subject=STEERING, detail={}, now=world.now
        )
    world.sequence()
    (entry,) = run(capsys, "search", world.folder.path, "--subject", STEERING)
    more = [str(entry["index"])] if command == "audit show" else []
    assert main([*command.split(), str(world.folder.path), *more]) == 0
    printed = capsys.readouterr().out
    assert "\\u001b[2J\\u202e\\U000e0041" in printed
    assert all(one.isprintable() or one == "\n" for one in printed)


def test_verify_names_what_was_changed_and_exits_with_10(
    world: LicenseWorld, box: EnrolledDevice, capsys: Capture
) -> None:
    folder = world.folder.path
    assert run(capsys, "verify", folder)["findings"] == []
    with world.store.engine.begin() as connection:
        connection.execute(update(licenses).values(seats=1000))

    assert main(["audit", "verify", str(folder)]) == 10

    printed = capsys.readouterr()
    assert f"licenses {box.license_.license_id}: the row is not as the last entry about it left it" in printed.out
    assert "AUDIT_MISMATCH" in printed.err


def test_what_a_person_has_judged_is_listed_and_exits_with_0(
    world: LicenseWorld, box: EnrolledDevice, capsys: Capture
) -> None:
    folder = world.folder.path
    with world.store.engine.begin() as connection:
        connection.execute(update(licenses).values(seats=1000))
    (finding,) = run(capsys, "verify", folder, code=10)["findings"]
    said = run(capsys, "acknowledge", folder, finding["id"][:16], "--sentence", "Edited by hand.")
    assert said == finding
    report = run(capsys, "verify", folder)
    (acknowledged,) = report["acknowledged"]
    assert report["findings"] == []
    assert finding.items() <= acknowledged.items()
    actor = f"{acknowledged['actor_kind']} {acknowledged['actor']}"
    assert (acknowledged["entry"], acknowledged["judgement"]) == ("a waiting entry", "Edited by hand.")
    assert actor.startswith("cli ")
    assert report["judged"] == [acknowledged]
    size = world.sequence()
    assert main(["audit", "verify", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"Acknowledged: {finding['place']}: {finding['sentence']}" in printed
    assert f"entry {size - 1}, {actor}: Edited by hand." in printed
    assert main(["audit", "acknowledge", str(folder), "ffffffff", "--sentence", "No."]) == 2


def test_a_kept_checkpoint_is_held_against_the_log(
    world: LicenseWorld, box: EnrolledDevice, tmp_path: Path, capsys: Capture
) -> None:
    """One of the service's, one out of a lease, and none at all."""
    folder, files = world.folder.path, []
    notes = (run(capsys, "checkpoint", folder)["checkpoint"], box.lease.log.checkpoint, "nothing\n")
    for number, note in enumerate(notes):
        files.append(tmp_path / f"{number}.txt")
        files[-1].write_text(note)
    world.issue()
    world.sequence()

    report = run(capsys, "verify", folder, "--checkpoint", files[0], "--checkpoint", files[1])
    assert report["checkpoints"] == 3
    report = run(capsys, "verify", folder, "--checkpoint", files[2], code=10)
    assert [one["place"] for one in report["findings"]] == [str(files[2])]
    assert main(["audit", "verify", str(folder), "--checkpoint", str(tmp_path / "missing")]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_an_export_is_verified_without_the_service(
    world: LicenseWorld, box: EnrolledDevice, tmp_path: Path, capsys: Capture
) -> None:
    """Also of a log that was signed with two keys, one after the other."""
    world.rotate(KeyRole.LOG)
    world.issue()
    world.sequence()
    count = run(capsys, "export", world.folder.path, tmp_path / "out")["entries"]

    report = run(capsys, "verify", tmp_path / "out")
    assert (report["entries"], report["rows"], report["findings"]) == (count, 0, [])
    (tmp_path / "out/entries.jsonl").write_bytes(b"")
    assert run(capsys, "verify", tmp_path / "out", code=10)["findings"]
    assert main(["audit", "export", str(world.folder.path), str(tmp_path / "out")]) == 1


def test_search_finds_by_what_is_asked_a_page_at_a_time(
    world: LicenseWorld, box: EnrolledDevice, capsys: Capture
) -> None:
    folder, device = world.folder.path, box.device.device_id
    decisions = run(capsys, "search", folder, "--device", device)
    assert [one["code"] for one in decisions] == ["ok"] * 3
    assert [one["at"] for one in decisions] == [world.now, world.now - DAY, world.now - 2 * DAY]

    first = run(capsys, "search", folder, "--device", device, "--limit", 2)
    rest = run(capsys, "search", folder, "--device", device, "--before", first[-1]["index"])
    assert first + rest == decisions
    assert run(capsys, "search", folder, "--device", device, "--since", world.now) == decisions[:1]
    assert run(capsys, "search", folder, "--device", device, "--until", world.now) == decisions[1:]
    assert run(capsys, "search", folder, "--kind", "operation", "--code", "license.issue")
    assert run(capsys, "search", folder, "--license", box.license_.license_id)
    assert run(capsys, "search", folder, "--subject", world.box.release.release_id, "--kind", "release")
    assert run(capsys, "search", folder, "--code", "nothing") == []
    assert main(["audit", "search", str(folder), "--limit", "0"]) == 2


def test_show_prints_one_entry(world: LicenseWorld, box: EnrolledDevice, capsys: Capture) -> None:
    newest = run(capsys, "search", world.folder.path, "--device", box.device.device_id, "--limit", 1)[0]

    entry = run(capsys, "show", world.folder.path, newest["index"])

    assert (entry["kind"], entry["purpose"], entry["device_id"]) == ("decision", "renew", box.device.device_id)
    assert main(["audit", "show", str(world.folder.path), str(newest["index"])]) == 0
    assert f"  devices {box.device.device_id}: " in capsys.readouterr().out
    assert main(["audit", "show", str(world.folder.path), "100000"]) == 1
