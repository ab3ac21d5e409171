"""What was ordered can be given up; a long check goes piece by piece; no hello pushes out another's."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sealwright_appliance.boot import BoxState
from sealwright_appliance.flows import domain_files
from sealwright_appliance.flows.box_flows import IMPORTS_MOST, ImportOrder
from sealwright_appliance.flows.domain_files import DomainFile
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.receiver import Checked, FlowReceiver
from sealwright_policies.flows.content import FRAME_SIZE
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_testing.flow_boxes import Boxes, Meeting, Wire, put_in, relayed

CONTENT = bytes(range(256)) * 4096 * 2 + b"end"
"""Three frames."""


def test_what_is_expected_no_longer_is_not_taken(boxes: Boxes, tmp_path: Path) -> None:
    """Neither a further frame of what was accepted, nor a new hello; and nothing of it is kept."""
    put_in(boxes.storage, tmp_path, "given-up.csv", CONTENT)
    boxes.expect()
    meeting = Meeting(boxes.storage, boxes.compute, "given-up.csv")
    receiver = boxes.compute.flows.receiver
    receiver.accept(meeting.offer())
    receiver.take(meeting.flow_id, 0, meeting.frame(0))
    offered = Meeting(boxes.storage, boxes.compute, "given-up.csv").offer()
    words = ("training", "--from", "records", "--device", boxes.storage.device_id)
    assert boxes.compute.said("cancel", *words) == {"flow_ids": [meeting.flow_id]}

    assert boxes.compute.said("flows")["expected"] == []
    assert not list(boxes.compute.files.glob(f"*/{domain_files.INCOMING}/{meeting.flow_id}"))
    with pytest.raises(FlowError, match="No offer of this flow"):
        receiver.take(meeting.flow_id, 1, meeting.frame(1))
    boxes.expect()
    with pytest.raises(FlowError, match="answers no welcome"):
        receiver.accept(offered)
    boxes.compute.said("cancel", *words)
    refused = boxes.compute.domain("cancel", *words)
    assert refused.returncode == 10
    assert "FLOW_UNKNOWN" in refused.stderr


def test_what_is_sent_no_longer_has_no_key(boxes: Boxes, tmp_path: Path) -> None:
    put_in(boxes.storage, tmp_path, "kept.csv", CONTENT)
    boxes.expect()
    meeting = Meeting(boxes.storage, boxes.compute, "kept.csv")
    meeting.offer()
    words = ("records", "kept.csv", "--to", "training", "--device", boxes.compute.device_id)
    assert boxes.storage.said("cancel", *words) == {"flow_ids": [meeting.flow_id]}
    assert "kept.csv" not in [one["order"]["name"] for one in boxes.storage.said("flows")["sending"]]
    with pytest.raises(FlowError, match="No flow of this id"):
        meeting.frame(0)
    assert boxes.storage.domain("cancel", *words).returncode == 10
    assert boxes.send("kept.csv").returncode == 0  # anew, under another id
    assert boxes.storage.said("flows")["records"][-1]["terms"]["flow_id"] != meeting.flow_id


def test_a_file_is_removed_before_its_days_are_over(boxes: Boxes, tmp_path: Path) -> None:
    """Not while it is being sent. What went is listed; its name is free again."""
    put_in(boxes.storage, tmp_path, "unwanted.csv", CONTENT)
    boxes.expect()
    Meeting(boxes.storage, boxes.compute, "unwanted.csv").offer()
    refused = boxes.storage.domain("remove", "records", "unwanted.csv")
    assert (refused.returncode, "FILE_IN_USE" in refused.stderr) == (10, True)
    boxes.storage.said("cancel", "records", "unwanted.csv", "--to", "training", "--device", boxes.compute.device_id)
    assert boxes.storage.said("remove", "records", "unwanted.csv") == {"removed": 1}
    assert boxes.storage.content("records", "unwanted.csv") is None
    shown = boxes.storage.domain("list").stdout.splitlines()
    assert [one.endswith(", as ordered") for one in shown if "data-set unwanted.csv of records" in one] == [True]
    refused = boxes.storage.domain("remove", "records", "unwanted.csv")
    assert (refused.returncode, "FILE_UNKNOWN" in refused.stderr) == (10, True)
    put_in(boxes.storage, tmp_path, "unwanted.csv", b"another\n")
    assert boxes.storage.content("records", "unwanted.csv") == b"another\n"


def test_what_is_kept_closed_or_half_put_in_is_removed_and_what_was_made_here_is_not(
    boxes: Boxes, tmp_path: Path
) -> None:
    flows = boxes.storage.flows
    put_in(boxes.storage, tmp_path, "closed.csv", b"one row\n")
    (held,) = [one for one in flows.files.placed() if one.file.name == "closed.csv"]
    flows.files.close(held)
    half = ImportOrder(domain="records", kind=FileKind.DATA_SET, name="half.csv", size=len(CONTENT), digest="0" * 64)
    import_id, _ = flows.begin_import(half)
    flows.take_import(import_id, 0, CONTENT[:FRAME_SIZE])
    for name in ("closed.csv", "half.csv"):
        assert boxes.storage.said("remove", "records", name) == {"removed": 1}
    assert [one for one in flows.files.held() if one.file.name in {"closed.csv", "half.csv"}] == []

    digest = hashlib.sha256(b"rows").hexdigest()
    name = made_name("tuning", FileKind.RESULTS, digest)
    file = DomainFile(version=1, domain="records", kind=FileKind.RESULTS, name=name, digest=digest, size=4, at=0)
    made = flows.files.incoming("made", file, flows.own.text("records"))
    made.append(0, b"rows")
    made.put_in_place()
    refused = boxes.storage.domain("remove", "records", name, "--kind", "results")
    assert (refused.returncode, "A workload of this box has made" in refused.stderr) == (10, True)


def test_files_that_are_half_put_in_are_bounded(boxes: Boxes) -> None:
    """Over restarts; each can be gone on with, or removed."""
    flows = boxes.storage.flows
    orders = [
        ImportOrder(domain="records", kind=FileKind.DATA_SET, name=f"half-{number}", size=9, digest="0" * 64)
        for number in range(IMPORTS_MOST + 1)
    ]
    for order in orders[:-1]:
        flows.begin_import(order)
    flows._imports.clear()  # as a restart does
    with pytest.raises(FlowError) as caught:
        flows.begin_import(orders[-1])
    assert (caught.value.status, caught.value.code) == (409, "TOO_MANY_IMPORTS")
    flows.begin_import(orders[0])
    boxes.storage.said("remove", "records", "half-3")
    flows.begin_import(orders[-1])
    for order in [*orders[:3], *orders[4:]]:
        boxes.storage.said("remove", "records", order.name)


def test_one_of_the_two_is_named(boxes: Boxes) -> None:
    words = ("records", "--to", "training", "--device", boxes.compute.device_id)
    assert boxes.storage.domain("cancel", *words).returncode == 2
    with pytest.raises(FlowError, match="Name what"):
        boxes.storage.flows.withdraw(None, None)


def test_a_long_check_goes_on_until_it_is_done(boxes: Boxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a restart nothing is hashed yet: the sender asks again, and the last piece brings the receipt."""
    monkeypatch.setattr(domain_files, "CHECKED_AT_ONCE", FRAME_SIZE)
    said: list[Checked] = []
    check = FlowReceiver.check

    def noted(receiver: FlowReceiver, flow_id: str) -> Checked:
        said.append(check(receiver, flow_id))
        return said[-1]

    monkeypatch.setattr(FlowReceiver, "check", noted)
    put_in(boxes.storage, tmp_path, "long.csv", CONTENT)
    boxes.expect()
    wire = Wire(cut_after=FRAME_SIZE + 600_000)
    with relayed(boxes.compute, wire) as url:
        assert boxes.send("long.csv", url=url).returncode == 10
        boxes.compute.running.start_agent(BoxState.UNLOCKED, "The payloads are open.")
        done = boxes.send("long.csv", url=url)
    assert done.returncode == 0, done.stderr
    assert [one.checked for one in said] == [FRAME_SIZE, 2 * FRAME_SIZE, len(CONTENT)]
    assert boxes.compute.content("training", "long.csv") == CONTENT


def test_no_hello_pushes_out_the_welcome_of_another(boxes: Boxes, tmp_path: Path) -> None:
    """Whoever knows an expected box's id can say hello in its name; its own welcome stands."""
    put_in(boxes.storage, tmp_path, "patient.csv", b"x")
    boxes.expect()
    meeting = Meeting(boxes.storage, boxes.compute, "patient.csv")
    welcome = meeting.welcome()
    for _ in range(20):
        meeting.welcome()
    assert boxes.compute.flows.receiver.accept(meeting.offer(welcome)).flow_id == meeting.flow_id
