"""Renewal without a network: a real TPM, files and QR codes, the operator's command, and kill -9 after each step."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tpm2_pytss import ESAPI

from sealwright_appliance import air_gap
from sealwright_appliance.air_gap import AirGapError
from sealwright_appliance.boot import BoxState
from sealwright_appliance.lease_keeper import LeaseKeeper
from sealwright_appliance.pending_requests import PendingRequests
from sealwright_appliance.renewal import renew
from sealwright_appliance.tpm_counters import increment_counter
from sealwright_appliance.tpm_provision import open_provisioned_tpm
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.eventlog import EventType
from sealwright_policies.wire.air_gap import COMPACT_LIMIT, compact_request
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.offline_box import OfflineBox, answer, copied
from sealwright_testing.simulated_box import SimulatedBox, SimulatedVendor

ORDER = LoggedEvent(1, EventType.EV_EFI_VARIABLE_BOOT, b"another boot order")


@pytest.fixture
def offline(connected_box: SimulatedBox) -> OfflineBox:
    """An enrolled box that is up."""
    return OfflineBox(connected_box)


@pytest.fixture
def stick(tmp_path: Path) -> Path:
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


def refused(code: str, call: Callable[[], object]) -> str:
    with pytest.raises(AirGapError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return str(caught.value)


def test_renewal_by_file_and_by_code(offline: OfflineBox, stick: Path) -> None:
    """By turns, with a boot between: the code is enough right after the activation, and after each renewal."""
    vendor = offline.simulated.vendor
    assert len(compact_request(offline.by_file.request())) <= min(1000, COMPACT_LIMIT)
    done = answer(vendor, stick, texts=[offline.photographed(stick)])
    assert (done.code, done.codes) == (0, ["ok"])
    outcome = offline.reply(done.reply)
    assert (outcome.taken_up, outcome.number, offline.number()) == (True, 2, 2)
    assert offline.reboot().number == 2
    offline.reply(answer(vendor, stick, [offline.request(stick / "box.request")]).reply)
    offline.reply(answer(vendor, stick, texts=[offline.photographed(stick)]).reply)
    assert offline.reboot().number == 4
    assert {lease.number for lease in offline.simulated.store.load_leases()} == {3, 4}
    assert offline.restarts == []


def test_a_locked_box_renews_by_file_and_restarts(connected_box: SimulatedBox, stick: Path) -> None:
    """Its lease is over; it can still show its state."""
    lease = connected_box.store.load_leases()[0]
    with ESAPI(connected_box.tpm.tcti) as esapi:
        esapi.clock_set(lease.clock_end_ms + 1)
    offline = OfflineBox(connected_box, BoxState.LOCKED)
    offline.reply(answer(connected_box.vendor, stick, texts=[offline.photographed(stick)]).reply)
    assert offline.restarts == ["restart"]
    assert offline.reboot().number == 2


def test_a_changed_log_needs_the_file(offline: OfflineBox, stick: Path) -> None:
    """The operator is told so, and the next code is enough again."""
    box = offline.simulated
    box.boot(events=[ORDER, *box.vendor.synthetic.boot_events()])
    box.go_up()
    done = answer(box.vendor, stick, texts=[offline.photographed(stick)])
    assert (done.code, done.codes) == (10, [RejectionCode.LOGS_REQUIRED])
    assert "send the request file" in done.error
    offline.reply(answer(box.vendor, stick, [offline.request(stick / "box.request")]).reply)
    box.boot(events=[ORDER, *box.vendor.synthetic.boot_events()])
    box.go_up()
    assert offline.reply(answer(box.vendor, stick, texts=[offline.photographed(stick)]).reply).number == 3


def test_another_log_than_the_quoted_one_is_denied(offline: OfflineBox, stick: Path) -> None:
    """Something was measured that the log does not say."""
    box = offline.simulated
    box.extend(12, b"\x01" * 32)
    done = answer(box.vendor, stick, [offline.request(stick / "box.request")], [offline.photographed(stick)])
    assert done.code == 10
    assert set(done.codes) == {RejectionCode.EVENT_LOG_REPLAY_MISMATCH, RejectionCode.PCR_DIGEST_MISMATCH}


@pytest.mark.redteam
def test_a_replayed_reply_does_nothing(offline: OfflineBox, stick: Path) -> None:
    """Twice the same: told so. A former one, and one that nobody has asked for: refused with the reason."""
    vendor = offline.simulated.vendor
    first = copied(answer(vendor, stick, [offline.request(stick / "box.request")]).reply, stick / "first")
    assert offline.reply(first).taken_up
    before = sorted(path.name for path in offline.simulated.paths.leases.iterdir())
    for _ in range(2):
        assert not offline.reply(first).taken_up
    assert offline.number() == 2
    assert sorted(path.name for path in offline.simulated.paths.leases.iterdir()) == before
    second = answer(vendor, stick, [offline.request(stick / "box.request")]).reply
    offline.reply(second)
    assert "the box is at 3" in refused("REPLY_OUTDATED", lambda: offline.reply(first))
    assert offline.number() == 3
    third = answer(vendor, stick, [offline.request(stick / "box.request")]).reply
    PendingRequests(offline.simulated.paths.pending_requests).forget_renewal()
    refused("REPLY_NOT_AWAITED", lambda: offline.reply(third))
    assert offline.number() == 3


def test_a_reply_for_a_box_that_went_on_otherwise_does_nothing(offline: OfflineBox, stick: Path) -> None:
    """It had a network for a while."""
    box = offline.simulated
    reply = answer(box.vendor, stick, [offline.request(stick / "box.request")]).reply
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        renew(renewal, tpm)
        renew(renewal, tpm)
    refused("REPLY_OUTDATED", lambda: offline.reply(reply))
    assert offline.number() == 3
    done = answer(box.vendor, stick, [stick / "box.request"])
    assert done.codes == [RejectionCode.NONCE_INVALID]
    assert "make a new one at the box" in done.error


def test_a_damaged_or_foreign_file_does_nothing(offline: OfflineBox, stick: Path) -> None:
    """Cut off, changed, or the request in the place of the reply."""
    request = offline.request(stick / "box.request")
    reply = answer(offline.simulated.vendor, stick, [request]).reply
    text = reply.read_text().strip()
    head, payload, signature = text.split(".")
    for bad in (text[:-20], request.read_text(), "", f"{head}.{payload}.{signature[:-4]}AAAA"):
        reply.write_text(bad)
        with pytest.raises((FormatError, VerificationError)):
            offline.reply(reply)
    reply.write_text(text)
    assert offline.number() == 1
    assert offline.reply(reply).taken_up


@pytest.fixture
def three(vendor: SimulatedVendor, tmp_path: Path) -> Iterator[list[OfflineBox]]:
    """Boxes of three licences, up."""
    made = []
    for number in range(3):
        box = SimulatedBox.manufacture(vendor, tmp_path / f"box-{number}")
        box.boot()
        box.go_up()
        box.enroll(vendor.issue().activation_code)
        made.append(OfflineBox(box))
    yield made
    for offline in made:
        offline.simulated.tpm.kill()


def test_three_boxes_in_any_order_and_none_with_anothers_reply(
    three: list[OfflineBox], vendor: SimulatedVendor, stick: Path
) -> None:
    """One call answers all; one of them has made two requests, a restart between them, the older answered last."""
    older = three[1].request(stick / "older.request")
    three[1].reboot()
    files = [box.request(stick / f"{number}.request") for number, box in enumerate(three)]
    done = answer(vendor, stick, [files[2], files[1], older, files[0]])
    assert (done.code, done.codes) == (0, ["ok"] * 4)
    replies = [stick / f"{number}.reply" for number in range(3)]
    assert (stick / "older.reply").read_bytes() == replies[1].read_bytes()
    for number, box in enumerate(three):
        sentence = refused("OTHER_DEVICE", partial(box.reply, replies[number - 1]))
        assert "this one is" in sentence
        assert box.number() == 1
    for number in (1, 2, 0):
        assert three[number].reply(replies[number]).number == 2
        assert three[number].reboot().number == 2


def test_one_denial_keeps_no_other_box_waiting(three: list[OfflineBox], vendor: SimulatedVendor, stick: Path) -> None:
    files = [box.request(stick / f"{number}.request") for number, box in enumerate(three)]
    files[0].write_text("{}")
    document = json.loads(files[1].read_text())
    document["request"]["release_id"] = "00" * 32
    files[1].write_text(json.dumps(document))
    done = answer(vendor, stick, files)
    assert (done.code, done.codes) == (30, ["FormatError", RejectionCode.RELEASE_UNKNOWN, "ok"])
    assert three[2].reply(stick / "2.reply").taken_up
    assert not (stick / "0.reply").exists()


# --- kill -9 at the box -----------------------------------------------------------------------------------------------


class PowerCutError(BaseException):
    """The machine is gone."""


def cut_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, behind: bool) -> None:
    """Cut the power before or behind a step, once."""
    step = getattr(owner, name)

    def cut(*arguments: Any, **named: Any) -> object:
        monkeypatch.undo()
        if behind:
            step(*arguments, **named)
        raise PowerCutError

    monkeypatch.setattr(owner, name, cut)


STEPS = [
    (air_gap, "keep_grant", False),
    (air_gap, "keep_grant", True),
    (air_gap, "advance", True),
    (LeaseKeeper, "renewed", True),
    (PendingRequests, "forget_renewal", True),
]


@pytest.mark.parametrize(("owner", "name", "behind"), STEPS)
def test_a_power_cut_while_a_reply_is_taken_up(
    offline: OfflineBox, stick: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, behind: bool
) -> None:
    """The next boot opens everything, by the old lease or the new; the same file is given again, and all is well."""
    vendor = offline.simulated.vendor
    reply = answer(vendor, stick, [offline.request(stick / "box.request")]).reply
    cut_at(monkeypatch, owner, name, behind=behind)
    with pytest.raises(PowerCutError):
        offline.reply(reply)
    before = offline.reboot().number
    assert before == offline.number()
    outcome = offline.reply(reply)
    assert (outcome.number, outcome.taken_up) == (2, before == 1)
    assert offline.reboot().number == 2
    assert not offline.reply(reply).taken_up
    offline.reply(answer(vendor, stick, texts=[offline.photographed(stick)]).reply)
    assert offline.reboot().number == 3


@pytest.mark.parametrize("behind", [False, True])
def test_a_power_cut_while_a_request_is_made(
    offline: OfflineBox, stick: Path, monkeypatch: pytest.MonkeyPatch, *, behind: bool
) -> None:
    cut_at(monkeypatch, PendingRequests, "keep_renewal", behind=behind)
    with pytest.raises(PowerCutError):
        offline.request(stick / "box.request")
    offline.reboot()
    done = answer(offline.simulated.vendor, stick, [offline.request(stick / "box.request")])
    assert offline.reply(done.reply).taken_up


def test_an_interrupted_takeover_restarts_a_locked_box_when_the_file_comes_again(
    connected_box: SimulatedBox, stick: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent was killed between incrementing and saying so; the machine stayed up."""
    offline = OfflineBox(connected_box, BoxState.LOCKED)
    reply = answer(connected_box.vendor, stick, [offline.request(stick / "box.request")]).reply
    cut_at(monkeypatch, LeaseKeeper, "renewed", behind=False)
    with pytest.raises(PowerCutError):
        offline.reply(reply)
    assert offline.restarts == []
    assert not offline.reply(reply).taken_up
    assert offline.restarts == ["restart"]
    offline.reply(reply)
    assert offline.restarts == ["restart"]


# --- kill -9 at the service -------------------------------------------------------------------------------------------

DIES = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from sealwright_licensing import cli, cli_air_gap

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

step = sys.argv.pop(1)
if step == "commit":
    event.listen(Engine, "commit", die)
elif step == "write":
    cli_air_gap._write = die
else:
    Path.replace = die
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize("step", ["commit", "write", "replace"])
def test_a_service_that_is_killed_answers_the_same_file_again(offline: OfflineBox, stick: Path, step: str) -> None:
    """Before the commit, behind it, and before the reply has its name: no half reply, no second lease, no lost one."""
    vendor = offline.simulated.vendor
    request = offline.request(stick / "box.request")
    argv = ["device", "answer", str(vendor.license_directory), str(request), "--out", str(stick)]
    killed = subprocess.run([sys.executable, "-c", DIES, step, *argv], capture_output=True, check=False, timeout=120)
    assert killed.returncode == -9, killed.stderr
    assert not (stick / "box.reply").exists()
    first = answer(vendor, stick, [request]).reply.read_bytes()
    assert answer(vendor, stick, [request]).reply.read_bytes() == first
    assert offline.reply(stick / "box.reply").taken_up
    assert offline.reboot().number == 2


# --- a counter that somebody moves ------------------------------------------------------------------------------------


def test_a_counter_that_was_moved_leaves_the_box_with_a_reason(offline: OfflineBox) -> None:
    """Its lease is dead and nothing renews it by file; connected, it renews."""
    box = offline.simulated
    with open_provisioned_tpm(box.paths.tcti) as tpm:
        increment_counter(tpm.device, tpm.counters.lease)
    refused("NO_NONCE", offline.by_file.request)
    with box.renewal() as renewal, open_provisioned_tpm(box.paths.tcti) as tpm:
        assert renew(renewal, tpm) is not None
    assert offline.by_file.request()
