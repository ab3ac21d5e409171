"""The command: its results, its errors with their cure, and its exit codes."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from sealwright_licensing import initialisation, journal, keys
from sealwright_licensing.cli import build_parser, main
from sealwright_licensing.custodian_keys import load_custodians
from sealwright_licensing.initialisation import create_service
from sealwright_licensing.records import Decision
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import parse_json
from sealwright_policies.wire.messages import Purpose
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.corpus import corpus_file
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_world import LicenseWorld, build_output, public_pem, synthetic_box
from sealwright_testing.maker_ca import MakerCa, pem

Capture = pytest.CaptureFixture[str]


def run(capture: Capture, *arguments: object) -> Any:
    """Run with --json; parse what it prints."""
    code = main([*map(str, arguments), "--json"])
    printed = capture.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def fails(capture: Capture, expected: int, *arguments: object) -> str:
    """Run; demand an exit code; return what went to standard error."""
    try:
        code = main([*map(str, arguments)])
    except SystemExit as exit_:
        code = int(str(exit_.code))
    printed = capture.readouterr()
    assert code == expected, printed
    return printed.err


# --- init -----------------------------------------------------------------------------------------------------------


def test_init_makes_keys_that_only_the_owner_reads(tmp_path: Path, capsys: Capture) -> None:
    service = tmp_path / "service"
    result = run(capsys, "init", service, "--url", "https://license.example:8444")
    assert result["service_id"] == "license-license.example"
    secrets = sorted(path for path in (service / "keys").iterdir() if path.suffix in (".pem", ".key"))
    assert len(secrets) == 9
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (service, service / "keys", service / "manifest-keys"):  # a backup takes the last, empty or not
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    public = parse_json(LicenseService, (service / "license-service.json").read_bytes(), limit=65536)
    assert public.url == "https://license.example:8444"
    documents = [public.lease_policy_key, public.custodian_keys.lease_share, public.custodian_keys.release_share]
    assert len(set(documents)) == 3, "no key serves two purposes"
    assert "PRIVATE" not in (service / "license-service.json").read_text()


def test_the_server_certificate_names_the_host_and_the_local_names(tmp_path: Path, capsys: Capture) -> None:
    run(capsys, "init", tmp_path / "s", "--url", "https://license.example:8444")
    made = x509.load_pem_x509_certificate((tmp_path / "s/keys" / keys.TLS_SERVER_CERTIFICATE).read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["license.example", "localhost"]
    assert list(map(str, names.get_values_for_type(x509.IPAddress))) == ["127.0.0.1"]


def test_init_overwrites_nothing(tmp_path: Path, capsys: Capture) -> None:
    arguments = ("init", tmp_path / "s", "--url", "https://a:1")
    run(capsys, *arguments)
    before = (tmp_path / "s/keys" / keys.LEASE_POLICY_KEY).read_bytes()
    assert "not overwritten" in fails(capsys, 1, *arguments)
    assert (tmp_path / "s/keys" / keys.LEASE_POLICY_KEY).read_bytes() == before


@pytest.mark.parametrize(
    "url", ["http://a", "https://", "https://a/path", "https://user@a", "https://a:99999", "https://a?x"]
)
def test_init_wants_a_plain_https_url(tmp_path: Path, capsys: Capture, url: str) -> None:
    assert url in fails(capsys, 2, "init", tmp_path / "s", "--url", url)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_init_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(initialisation, "write_secret", fail)
    with pytest.raises(OperationError, match="No space left"):
        create_service(tmp_path / "s", url="https://a", service_id="a", now=0)
    assert list(tmp_path.iterdir()) == []


# --- the folder -----------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_service_is_named_with_the_cure(tmp_path: Path, capsys: Capture) -> None:
    assert "sealwright-license init" in fails(capsys, 1, "license", "list", tmp_path)


def test_a_bad_setting_is_named(world: LicenseWorld, capsys: Capture) -> None:
    config = world.folder.config_file
    config.write_text(config.read_text().replace("connections = 256", "connections = 0"))
    assert "limits.connections" in fails(capsys, 2, "license", "list", world.folder.path)
    config.write_text("not toml")
    assert "config.toml" in fails(capsys, 2, "license", "list", world.folder.path)


def test_a_key_that_others_can_read_is_refused(world: LicenseWorld, capsys: Capture) -> None:
    path = world.folder.keys / keys.LEASE_POLICY_KEY
    path.chmod(0o644)
    assert f"chmod 600 {path}" in fails(capsys, 1, "serve", world.folder.path, "--port", 0)


def test_an_old_schema_is_refused_until_it_is_migrated(world: LicenseWorld, capsys: Capture) -> None:
    directory = world.folder.path
    run(capsys, "database", "downgrade", directory, "--to", "base")
    assert "sealwright-license database upgrade" in fails(capsys, 1, "serve", directory, "--port", 0)
    assert run(capsys, "database", "upgrade", directory)["before"] is None
    assert run(capsys, "license", "list", directory) == []


# --- roots ----------------------------------------------------------------------------------------------------------


def test_an_unlisted_root_is_taken_as_software_only(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    maker = MakerCa("swtpm-like")
    file = tmp_path / "ca.pem"
    file.write_bytes(pem(maker.root, maker.intermediate))
    for tier in ("discrete", "firmware"):
        message = fails(capsys, 2, "roots", "add", world.folder.path, file, "--tier", tier)
        assert "not a listed maker's root" in message
    added = run(capsys, "roots", "add", world.folder.path, file, "--tier", "software")
    assert [one["tier"] for one in added] == ["software", ""]
    assert len(run(capsys, "roots", "list", world.folder.path)) == 3


@pytest.mark.corpus
def test_a_listed_root_is_taken_as_its_tier_only(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "one.pem"
    found = re.findall(rb"-----BEGIN.*?END CERTIFICATE-----\n", corpus_file("ek-roots/roots.pem"), re.DOTALL)
    file.write_bytes(found[-1])
    outcomes = {}
    for tier in ("software", "firmware", "discrete"):
        outcomes[tier] = main(["roots", "add", str(world.folder.path), str(file), "--tier", tier])
    assert sorted(outcomes.values()) == [0, 2, 2]
    assert outcomes["software"] == 2
    capsys.readouterr()


def test_a_file_without_certificates_is_malformed(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "x.pem"
    file.write_text("nothing")
    assert "found 0" in fails(capsys, 30, "roots", "add", world.folder.path, file, "--tier", "software")


# --- releases, licences, devices --------------------------------------------------------------------------------------


def test_the_whole_way_of_a_licence(world: LicenseWorld, capsys: Capture, tmp_path: Path) -> None:
    """Import, issue, activate, show, revoke: as an operator does it."""
    directory = world.folder.path
    box = synthetic_box(product_version="3.1.0")
    service = world.service
    custodians = (
        load_custodians(world.folder.keys).lease_share.public_key,
        load_custodians(world.folder.keys).release_share.public_key,
    )
    output, _ = build_output(box, custodians)
    for name, data in (
        ("manifest.json", output.manifest),
        ("shares.json", output.shares),
        ("approvals.json", output.approvals),
        ("manifest-key.pem", public_pem(box.manifest_key)),
    ):
        (tmp_path / name).write_bytes(data)
    imported = run(capsys, "release", "import", directory, tmp_path, "--manifest-key", tmp_path / "manifest-key.pem")
    assert imported["release_id"] == box.release.release_id
    assert len(run(capsys, "release", "list", directory)) == 2

    issued = run(capsys, "license", "issue", directory, "--product", "synthetic-box", "--tier", "software")
    assert [issued["activation_code"]] == issued["activation_codes"]
    world.box = box
    device = world.device()
    assert world.enroll(device, issued["activation_code"]).device_id == device.device_id
    assert service == world.service

    (listed,) = run(capsys, "license", "list", directory)
    assert (listed["license_id"], listed["seats_taken"]) == (issued["license_id"], 1)
    (shown,) = run(capsys, "device", "list", directory)
    assert (shown["device_id"], shown["last_code"]) == (device.device_id, "ok")
    assert main(["device", "show", str(directory), device.device_id]) == 0
    words = capsys.readouterr().out
    assert "affirming" in words
    assert "Secure Boot is on" in words

    assert run(capsys, "license", "revoke", directory, issued["license_id"], "--yes")["status"] == "revoked"
    assert "was revoked" in fails(capsys, 2, "license", "reinstate", directory, issued["license_id"])
    assert run(capsys, "device", "retire", directory, device.device_id, "--yes")["status"] == "retired"


def test_unknown_ids_are_refused(world: LicenseWorld, capsys: Capture) -> None:
    directory = world.folder.path
    assert "LICENSE_UNKNOWN" in fails(capsys, 10, "license", "revoke", directory, "lic-none")
    assert "LICENSE_UNKNOWN" in fails(capsys, 10, "license", "add-code", directory, "lic-none")
    assert "DEVICE_UNKNOWN" in fails(capsys, 10, "device", "show", directory, "none")
    assert "DEVICE_UNKNOWN" in fails(capsys, 10, "device", "retire", directory, "none")
    assert "RELEASE_UNKNOWN" in fails(capsys, 10, "release", "withdraw", directory, "none")


def test_errors_are_json_where_asked_for(world: LicenseWorld, capsys: Capture) -> None:
    error = json.loads(fails(capsys, 10, "license", "revoke", world.folder.path, "lic-none", "--json"))
    assert error["error"]["code"] == "LICENSE_UNKNOWN"


@pytest.mark.parametrize(
    "arguments",
    [
        ("--seats", "0"),
        ("--seats", "many"),
        ("--days", "-1"),
        ("--tier", "gold"),
        ("--version-floor", "1.x"),
    ],
)
def test_a_licence_that_cannot_be_meant_is_a_usage_error(
    world: LicenseWorld, capsys: Capture, arguments: tuple[str, str]
) -> None:
    fails(capsys, 2, "license", "issue", world.folder.path, "--product", "p", "--tier", "software", *arguments)
    assert run(capsys, "license", "list", world.folder.path) == []


def test_every_command_has_help_with_an_example(capsys: Capture) -> None:
    def walk(*words: str) -> int:
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        text = capsys.readouterr().out
        groups = re.search(r"^commands:\n  COMMAND\n((?:    .*\n)+)", text, re.MULTILINE)
        if groups is None:
            assert "example:\n  sealwright-license" in text, words
            return 1
        return sum(walk(*words, name) for name in re.findall(r"^    ([a-z-]+)", groups.group(1), re.MULTILINE))

    assert walk() >= 17


def test_the_journal_of_a_device_is_bounded(world: LicenseWorld) -> None:
    with world.store.write() as transaction:
        for number in range(1000):
            journal.record_decision(
                transaction,
                device_id="d",
                license_id="l",
                purpose=Purpose.RENEW,
                denial=None,
                result=None,
                now=number,
            )
        assert transaction.count(Decision, device_id="d") <= journal.MOST_PER_DEVICE
        last = journal.last_decision(transaction, "d")
    assert last is not None
    assert last.decided_at == 999


def test_no_private_key_shows_in_a_repr(world: LicenseWorld) -> None:
    text = repr(world.keys) + repr(world.enrollment._grantor)
    assert "PrivateKey" not in text
    assert repr(world.keys.nonce) not in text


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_the_way_of_a_token(world: LicenseWorld, capsys: Capture) -> None:
    """Made, shown once, listed without itself, revoked by its name."""
    directory = world.folder.path
    made = run(capsys, "token", "create", directory, "console", "--role", "auditor", "--days", "90")
    assert made["token"].startswith(f"swl_{made['token_id']}_")
    assert made["expires_at"] == made["created_at"] + 90 * 86_400
    (listed,) = run(capsys, "token", "list", directory)
    assert made == listed | {"token": made["token"]}
    assert run(capsys, "token", "revoke", directory, "console")["revoked_at"] is not None
    assert "There is no token nobody" in fails(capsys, 2, "token", "revoke", directory, "nobody")
    assert "LICENSE_UNKNOWN" in fails(
        capsys, 10, "token", "create", directory, "x", "--role", "operator", "--license", "lic-none"
    )
    fails(capsys, 2, "token", "create", directory, "x", "--role", "root")


# --- ids, questions, completion ---------------------------------------------------------------------------------------


def test_the_beginning_of_an_id_is_enough(world: LicenseWorld, capsys: Capture) -> None:
    directory = world.folder.path
    license_, _ = world.issue()
    box = EnrolledDevice.enroll(world)
    whole = license_.license_id
    assert run(capsys, "license", "show", directory, whole[:8])["license_id"] == whole
    assert run(capsys, "device", "show", directory, box.device.device_id[:6])["device_id"] == box.device.device_id
    assert "LICENSE_UNKNOWN" in fails(capsys, 10, "license", "show", directory, whole[:5])


def test_an_ambiguous_beginning_is_refused_and_a_slip_answered(world: LicenseWorld, capsys: Capture) -> None:
    license_, _ = world.issue()
    with world.store.write() as transaction:
        transaction.add(dataclasses.replace(license_, license_id=f"{license_.license_id[:8]}zzzzzzzz"))
    directory = world.folder.path
    assert "Several licences begin" in fails(capsys, 2, "license", "show", directory, license_.license_id[:8])
    slip = f"{license_.license_id[:-1]}x"
    assert f"did you mean {license_.license_id}" in fails(capsys, 10, "license", "show", directory, slip)


@pytest.mark.parametrize("verb", [("license", "revoke"), ("device", "retire"), ("release", "withdraw")])
def test_what_cannot_be_taken_back_is_asked_about(
    world: LicenseWorld, capsys: Capture, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, str]
) -> None:
    """Without a terminal it takes --yes and a whole id; at one, an answer."""
    box = EnrolledDevice.enroll(world)
    subject = {
        "license": box.license_.license_id,
        "device": box.device.device_id,
        "release": world.box.release.release_id,
    }[verb[0]]
    command = (*verb, world.folder.path)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "give --yes" in fails(capsys, 2, *command, subject)
    assert subject in fails(capsys, 2, *command, subject[:10], "--yes")
    for answer in ("", "n\n", "\n"):
        monkeypatch.setattr("sys.stdin", _Terminal(answer))
        shown = fails(capsys, 2, *command, subject[:10])
        assert subject in shown
        assert "Nothing was changed" in shown
    monkeypatch.setattr("sys.stdin", _Terminal("y\n"))
    assert main([*map(str, command), subject[:10]]) == 0


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_the_commands(capsys: Capture, shell: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--print-completion", shell])
    assert caught.value.code in (0, None)
    script = capsys.readouterr().out
    for word in ("set-floor", "approve-firmware", "serve-operators", "--json"):
        assert word in script
    if shell == "bash":
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, checked.stderr


def test_every_command_that_prints_has_json() -> None:
    """All leaves but those that run until they are stopped."""

    def leaves(parser: argparse.ArgumentParser, name: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        actions = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        if not actions:
            yield name, parser
        for action in actions:
            for word, child in action.choices.items():
                yield from leaves(child, f"{name} {word}".strip())

    found = dict(leaves(build_parser(), ""))
    assert len(found) >= 25
    assert [name for name, leaf in found.items() if "--json" not in leaf._option_string_actions] == []
