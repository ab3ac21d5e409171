"""``sealwright-policy what-if``: which rule would deny a machine, and what its owner can do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.appraisal.boot_ways import BOOT_OPTION
from sealwright_policies.cli import main
from sealwright_policies.tcg.eventlog import EventType as T
from sealwright_testing.corpus import corpus_file, corpus_logs
from sealwright_testing.event_logs import LoggedEvent, LogWriter, separator, sha1_log
from sealwright_testing.evidence_factory import (
    SyntheticBox,
    boot_events,
    replaced,
    secure_boot_events,
    secure_boot_keys,
    utf16,
)
from sealwright_testing.synthetic_uki import SECTIONS, build_kernel, build_uki

BOX = SyntheticBox()
OTHER_SYSTEM = build_uki(SECTIONS | {".linux": build_kernel(b"another kernel")})


@pytest.fixture
def release(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.json"
    path.write_bytes(BOX.release_envelope)
    return path


def foreign_log() -> list[LoggedEvent]:
    """A machine whose owner has enrolled our keys and still runs another system, with GRUB and all."""
    return [
        *boot_events(OTHER_SYSTEM, BOX.keys),
        LoggedEvent(8, T.EV_IPL, b"grub_cmd: ls\0"),
        LoggedEvent(5, T.EV_EVENT_TAG, b"loader.conf"),
        LoggedEvent(14, T.EV_IPL, b"MokList\0"),
        LoggedEvent(12, T.EV_IPL, utf16("root=/dev/sda1")),
    ]


def ask(
    events: list[LoggedEvent] | bytes, release: Path, capsys: pytest.CaptureFixture[str], *options: str
) -> tuple[int, dict[str, Any], str]:
    log = release.with_name("log.bin")
    log.write_bytes(events if isinstance(events, bytes) else LogWriter().log(events))
    code = main(["what-if", str(log), "--release", str(release), "--json", *options])
    printed = capsys.readouterr()
    return code, json.loads(printed.out or "{}"), printed.err


def findings(answer: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(finding["code"], finding["cured_by_setup"]) for finding in answer["findings"]]


def test_a_boot_of_the_release_itself_is_judged_in_full(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, _ = ask(BOX.boot_events(), release, capsys)

    assert (code, answer["verdict"], answer["made_by_release"], answer["not_judged"]) == (0, "accepted", True, [])

    code, answer, error = ask([*BOX.boot_events(), LoggedEvent(12, T.EV_IPL, utf16("x"))], release, capsys)
    assert (code, findings(answer)) == (10, [("KERNEL_COMMAND_LINE", False)])
    assert "KERNEL_COMMAND_LINE" in error


def test_what_another_system_measured_is_not_judged(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, _ = ask(foreign_log(), release, capsys)

    assert (code, answer["verdict"], answer["made_by_release"]) == (0, "accepted", False)
    assert answer["not_judged"] == [4, 8, 9, 10, 11, 12, 13, 14, 15]
    assert answer["sha256_bank_complete"] is True
    assert len(answer["option_roms"]) == 2


def test_what_the_owner_sets_up_is_told_apart(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = secure_boot_keys("Maker")
    events = boot_events(OTHER_SYSTEM, other)
    off = secure_boot_events(other, enabled=False)[0]
    events = replaced(events, 7, 0, data=off.data)

    code, answer, error = ask(events, release, capsys)

    assert (code, answer["verdict"], answer["after_setup"]) == (10, "rejected", "accepted")
    assert findings(answer) == [("SECURE_BOOT_DISABLED", True), *[("SECURE_BOOT_KEYS", True)] * 3]
    assert "Maker PK" in answer["findings"][1]["sentence"]
    assert error.count("\n") == 1
    assert ask(events, release, capsys, "--after-setup")[0] == 0


def test_firmware_that_no_rule_allows_is_named(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [LoggedEvent(7, T.EV_EFI_ACTION, b"UEFI Debug Mode"), *foreign_log()]

    code, answer, _ = ask(events, release, capsys)

    assert (code, answer["after_setup"]) == (10, "rejected")
    assert answer["findings"][0]["event_index"] == 1
    assert ask(events, release, capsys, "--after-setup")[0] == 10


def test_the_line_names_what_no_setup_cures_first(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads one line only must not think that enrolling keys will do."""
    omitted = LoggedEvent(4, T.EV_OMIT_BOOT_DEVICE_EVENTS, b"BOOT ATTEMPTS OMITTED")
    events = [omitted, *boot_events(OTHER_SYSTEM, secure_boot_keys("Maker"))]

    _, answer, error = ask(events, release, capsys)

    assert findings(answer)[0] == ("SECURE_BOOT_KEYS", True)
    assert error.startswith("sealwright-policy: REJECTED BOOT_APPLICATION")


def test_firmware_that_measures_no_actions_takes_a_listed_way(
    release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = [event for event in foreign_log() if event.pcr != 4 or event.type != T.EV_EFI_ACTION]

    assert ask(events, release, capsys)[0] == 0


def test_another_way_through_pcr4_is_named(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = [LoggedEvent(4, T.EV_OMIT_BOOT_DEVICE_EVENTS, b"BOOT ATTEMPTS OMITTED"), *foreign_log()]

    code, answer, _ = ask(events, release, capsys)

    assert (code, findings(answer)) == (10, [("BOOT_APPLICATION", False)])
    assert "`sealwright-image approve-boot`" in answer["findings"][0]["remedy"]
    assert answer["findings"][0]["expected"] == "boot-option or second-boot-option or third-boot-option or no-action"


def test_a_way_signed_later_is_a_listed_one(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the cure leads to: with the vendor's variants.json the same log passes."""
    omitted = b"BOOT ATTEMPTS OMITTED"
    events = [LoggedEvent(4, T.EV_OMIT_BOOT_DEVICE_EVENTS, omitted), *foreign_log()]
    variants, key = release.with_name("variants.json"), release.with_name("key.pem")
    variants.write_bytes(BOX.variants(BOX.way(omitted, *BOOT_OPTION)))
    pem = BOX.manifest_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    key.write_bytes(pem)

    assert ask(events, release, capsys, "--variants", str(variants), "--manifest-key", str(key))[0] == 0
    assert ask(events, release, capsys, "--variants", str(variants))[0] == 2


def test_a_sha1_log_is_an_incomplete_bank(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = sha1_log(LoggedEvent(event.pcr, event.type, event.data) for event in foreign_log())

    code, answer, error = ask(log, release, capsys)

    assert (code, findings(answer), answer["sha256_bank_complete"]) == (10, [("BANK_INCOMPLETE", False)], False)
    assert "BANK_INCOMPLETE" in error


def test_an_untouched_pcr_is_an_incomplete_bank(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, answer, _ = ask([event for event in foreign_log() if event.pcr != 6], release, capsys)

    assert (code, findings(answer)) == (10, [("BANK_INCOMPLETE", False)])
    assert answer["findings"][0]["pcr"] == 6


def test_the_manifest_is_verified_if_its_key_is_given(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def written(key: Any) -> str:
        path = release.with_name("key.pem")
        path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return str(path)

    code, answer, _ = ask(BOX.boot_events(), release, capsys, "--manifest-key", written(BOX.manifest_key))
    assert (code, answer["release"]["signature"]) == (0, "verified")
    assert ask(BOX.boot_events(), release, capsys)[1]["release"]["signature"] == "not checked"
    other = written(SyntheticBox(keys=BOX.keys).manifest_key)
    code, _, error = ask(BOX.boot_events(), release, capsys, "--manifest-key", other)
    assert (code, "DOCUMENT_SIGNATURE" in error) == (10, True)


@pytest.mark.parametrize(
    ("log", "manifest", "code"),
    [(b"", None, 30), (b"\xff" * 40, None, 30), (None, b"{}", 30), (None, b"", 30)],
)
def test_malformed_input_exits_with_30(
    log: bytes | None, manifest: bytes | None, code: int, release: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if manifest is not None:
        release.write_bytes(manifest)

    exit_code, _, error = ask(BOX.boot_events() if log is None else log, release, capsys)
    assert exit_code == code
    assert (str(release) in error) == (manifest is not None)


def test_a_missing_file_is_a_usage_error(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["what-if", "/nowhere", "--release", str(release)]) == 2
    assert main(["what-if", str(release)]) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_the_text_says_verdict_release_firmware_and_cures(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = release.with_name("log.bin")
    log.write_bytes(LogWriter().log(boot_events(OTHER_SYSTEM, secure_boot_keys("Maker"))))

    assert main(["what-if", str(log), "--release", str(release)]) == 10

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "REJECTED as it stands: 3 findings. After the owner's set-up it would be accepted."
    assert "Synthetic firmware 1.0; SHA-256 bank complete" in lines[2]
    assert lines[3] == "to be set up by the owner:"
    assert lines[-1].startswith("not judged: PCR 4 from the boot loader on, and PCR 8, 9")


@pytest.mark.corpus
@pytest.mark.parametrize("log", corpus_logs(), ids=lambda path: path.name)
def test_logs_of_real_machines_come_to_a_verdict(log: Path, release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No machine of the corpus has our keys, and some of its files are no whole logs."""
    code, answer, error = ask(log.read_bytes(), release, capsys)

    assert code in (10, 30)
    assert error.count("\n") == 1
    assert bool(answer.get("findings")) == (code == 10)


@pytest.mark.corpus
@pytest.mark.parametrize(
    "name", ["arch-linux", "bootorder", "gce-ubuntu-2104-log", "moklisttrusted", "postcode", "sd-boot-fedora37"]
)
def test_real_firmware_takes_a_listed_way(name: str, release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever else is wrong with these machines, PCR 4 up to the boot loader is as the release lists it."""
    _, answer, _ = ask(corpus_file(f"eventlogs/event-{name}.bin"), release, capsys)

    assert "BOOT_APPLICATION" not in [code for code, _ in findings(answer)]


def test_a_second_separator_is_no_way_around(release: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Events that firmware logs behind an early separator in PCR 7 are not taken for another system's."""
    code, answer, _ = ask([separator(7), *foreign_log()], release, capsys)

    assert code == 10
    assert ("EVENT_NOT_ALLOWED", False) in findings(answer)
