"""The stand-alone tools: output, exit codes, one line of reason."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sealwright_policies.cli import main
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.tcg.reader import sized_2b
from sealwright_testing.event_logs import LoggedEvent, LogWriter
from sealwright_testing.quote_case import AK, EVENTS, LOG, PCRS, QUOTE, QuoteCase, pem

BOOTS = Path(__file__).parents[2] / "vectors/appraisal/common"


@pytest.fixture
def case(tmp_path: Path) -> QuoteCase:
    return QuoteCase(tmp_path)


def reason(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line on standard error."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    return captured.err


def test_eventlog_json_has_events_and_pcrs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert main(["eventlog", str(tmp_path / "log"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pcrs"]["sha256"] == {str(index): value.hex() for index, value in PCRS.items()}
    assert set(document["pcrs"]) == {"sha1", "sha256"}
    event = document["events"][1]
    assert (event["index"], event["pcr"], event["type"], event["data"]) == (1, 0, "EV_SEPARATOR", "00000000")
    assert set(event["digests"]) == {"sha1", "sha256"}


def test_eventlog_text_names_events_and_pcrs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_bytes(LOG)
    assert main(["eventlog", str(tmp_path / "log")]) == 0
    text = capsys.readouterr().out
    assert "EV_SEPARATOR" in text
    assert f"   7: {PCRS[7].hex()}" in text


@pytest.mark.parametrize(
    ("redirection", "code", "line"),
    [
        (">/dev/full", 1, "sealwright-policy: FAILED: the output cannot be written: No space left on device\n"),
        (">&-", 0, ""),
        ("| true", 1, ""),
    ],
)
def test_output_that_cannot_be_written(tmp_path: Path, redirection: str, code: int, line: str) -> None:
    """A full disk, no standard output, a reader that has gone: no traceback."""
    (tmp_path / "log").write_bytes(LogWriter().log(EVENTS * 1000))  # more than a pipe holds
    program = f"{sys.executable} -m sealwright_policies.cli eventlog --json {tmp_path}/log"
    script = f"{program} {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, line)


def test_names_that_the_terminal_has_no_letters_for(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(LogWriter().log([LoggedEvent(0, EventType.EV_S_CRTM_VERSION, "固件 1".encode())]))
    command = [sys.executable, "-m", "sealwright_policies.cli", "what-if", f"{tmp_path}/log"]
    command += ["--release", f"{BOOTS}/release.json"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 10
    assert "\\u56fa\\u4ef6 1" in done.stdout


def short_id(value: object) -> str:
    """Test ids without the bytes: keys are drawn anew in every process, and a log is long."""
    return "data" if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize(("data", "code"), [(LOG[:-1], 30), (b"", 30), (b"x" * (17 << 20), 30)], ids=short_id)
def test_eventlog_refuses_malformed_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, code: int
) -> None:
    (tmp_path / "log").write_bytes(data)
    assert main(["eventlog", str(tmp_path / "log")]) == code
    assert "MALFORMED" in reason(capsys)


def test_a_cut_log_is_refused_with_the_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The index and offset of the event that is not whole."""
    start = len(LogWriter((AlgorithmId.SHA1, AlgorithmId.SHA256)).log(EVENTS[:-1]))
    (tmp_path / "log").write_bytes(LOG[: start + 20])
    assert main(["eventlog", str(tmp_path / "log")]) == 30
    assert f"event 8 at byte {start}:" in reason(capsys)


IMA = b"\x0a\0\0\0" + b"\x11" * 20 + b"\6\0\0\0ima-ng" + bytes(40)
FOREIGN = {
    "IMA": IMA,
    "IMA with SHA-256": IMA[:4] + b"\x11" * 12 + IMA[4:],
    "IMA text": b"10 " + b"1f" * 20 + b" ima-ng sha1:" + b"00" * 20 + b" boot_aggregate\n",
    "systemd": b'\x1e{"pcr":11,"digests":[]}\n',
    "systemd, cut": b'\x1e{"pcr":11,"dig',
    "YAML": b"---\nversion: 1\nevents:\n",
    "ACPI": b"TPM2\x4c\0\0\0\x04" + bytes(67),
    "base64": base64.encodebytes(LOG),
    "hexadecimal": LOG.hex().encode(),
}


@pytest.mark.parametrize("command", ["eventlog", "what-if"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, command: str
) -> None:
    (tmp_path / "log").write_bytes(FOREIGN[kind])
    release = ["--release", f"{BOOTS}/release.json"] if command == "what-if" else []
    assert main([command, str(tmp_path / "log"), *release]) == 20
    assert "wanted" in reason(capsys)


@pytest.mark.parametrize(
    "arguments",
    [[], ["eventlog"], ["no-such-command"], ["eventlog", "/nonexistent/log"], ["eventlog", "/"], ["verify-quote"]],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "USAGE" in reason(capsys)


@pytest.mark.parametrize("command", [["--help"], ["eventlog", "--help"], ["verify-quote", "--help"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(command)
    assert exit_.value.code == 0
    assert "sealwright-policy" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["plain", "bank", "pcrs", "eventlog"])
def test_a_good_quote_with_all_forms_of_pcr_files(
    case: QuoteCase, capsys: pytest.CaptureFixture[str], form: str, tmp_path: Path
) -> None:
    values = {str(index): value.hex() for index, value in PCRS.items()}
    documents = {
        "plain": values,
        "bank": {"sha256": values, "sha1": {"0": "00" * 20}},
        "pcrs": {"pcrs": {"sha256": values}},
    }
    if form == "eventlog":
        (tmp_path / "log").write_bytes(LOG)
        main(["eventlog", str(tmp_path / "log"), "--json"])
        case.write("pcrs.json", capsys.readouterr().out.encode())
    else:
        case.write("pcrs.json", json.dumps(documents[form]).encode())
    assert case.run() == 0
    assert capsys.readouterr().out.startswith("OK")


def test_other_values_are_rejected(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    case.write("pcrs.json", json.dumps({str(index): "00" * 32 for index in PCRS}).encode())
    assert case.run() == 10
    assert "PCR_DIGEST_MISMATCH" in reason(capsys)


def test_a_changed_statement_is_rejected_before_it_is_parsed(
    case: QuoteCase, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signature is checked first: nothing of an unsigned statement is believed, not even that it is malformed."""
    case.write("attest", QUOTE[:-1])
    assert case.run() == 10
    assert "SIGNATURE_INVALID" in reason(capsys)


def test_a_signed_but_malformed_statement(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    case.write("attest", QUOTE + b"\0")
    case.write("signature", AK.sign(QUOTE + b"\0"))
    assert case.run() == 30
    assert "MALFORMED" in reason(capsys)


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("ak.pem", b"no PEM", 30),
        ("ak.pem", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", 30),
        ("ak.pem", pem(ed25519.Ed25519PrivateKey.generate().public_key()), 20),
        ("ak.pem", pem(ec.generate_private_key(ec.SECP256K1()).public_key()), 20),
        ("ak.pem", pem(ec.generate_private_key(ec.SECP384R1()).public_key()), 10),
        ("ak.pem", pem(rsa.generate_private_key(65537, 2048).public_key()), 10),
        ("signature", b"", 30),
        ("signature", b"\x00\x18\x00\x0b\x00\x01\x01", 30),
        ("signature", b"\x00\x05\x00\x0b" + bytes(32), 20),
        ("signature", bytes(2000), 30),
        ("signature", b"\x9c\x4b" + bytes(254), 30),
        ("attest", bytes(2000), 30),
        ("pcrs.json", b"{", 30),
        ("pcrs.json", b"[]", 30),
        ("pcrs.json", b'{"sha256": 1}', 30),
        ("pcrs.json", b'{"0": "zz"}', 30),
        ("pcrs.json", b'{"0": "00"}', 30),
        ("pcrs.json", b'{"24": "00"}', 30),
        ("pcrs.json", b'{"sha256": {"0": null}}', 30),
        ("pcrs.json", b"[" * 100_000, 30),
        ("pcrs.json", b'{"0": "' + b"0" * 64 + b'", "0": "' + b"1" * 64 + b'"}', 30),
        ("pcrs.json", b'{"00": "' + b"0" * 64 + b'"}', 30),
        ("pcrs.json", b'{"sha256": {"pcrs": 1}}', 30),
        ("pcrs.json", b"{}", 10),
        ("pcrs.json", b'{"sha1": {}}', 10),
    ],
    ids=short_id,
)
def test_bad_files(case: QuoteCase, capsys: pytest.CaptureFixture[str], name: str, data: bytes, code: int) -> None:
    case.write(name, data)
    assert case.run() == code
    reason(capsys)


@pytest.mark.parametrize("name", ["ak.pem", "attest", "signature", "pcrs.json"])
def test_a_missing_file_is_wrong_usage(case: QuoteCase, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (case.directory / name).unlink()
    assert case.run() == 2
    assert name in reason(capsys)


@pytest.mark.parametrize(
    ("select", "code"), [("sha256:0-8", 10), ("sha1:0-7", 30), ("md5:0", 20), ("sha1:0+sha256:1", 20), ("0,1", 2)]
)
def test_other_selections(case: QuoteCase, capsys: pytest.CaptureFixture[str], select: str, code: int) -> None:
    """sha1:0-7 reads the SHA-256 values of the file as SHA-1 values, whose length is wrong."""
    case.select = select
    assert case.run() == code
    reason(capsys)


def test_a_short_rsa_key_is_not_supported(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    """Its signature is genuine, but 1024 bits prove nothing."""
    key = rsa.generate_private_key(65537, 1024)  # a short key is the point of the test
    signature = key.sign(QUOTE, padding.PKCS1v15(), hashes.SHA256())
    case.write("ak.pem", pem(key.public_key()))
    case.write("signature", b"\x00\x14\x00\x0b" + sized_2b(signature))
    assert case.run() == 20
    assert "1024" in reason(capsys)


def test_qualifying_data_that_is_not_hexadecimal(case: QuoteCase, capsys: pytest.CaptureFixture[str]) -> None:
    case.qualifying_data = "xyz"
    assert case.run() == 2
    reason(capsys)
