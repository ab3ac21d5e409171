"""A file goes from a domain on one box to a domain on another, and nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from sealwright_appliance.boot import BoxState
from sealwright_appliance.flows import sender as sender_module
from sealwright_appliance.flows.box_flows import ImportOrder
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.receiver import Expectation, Expected
from sealwright_appliance.serve.peer_link import client_context
from sealwright_appliance.status import WHOLE, KeptClosed
from sealwright_appliance.tls import CERTIFICATE_FILE, KEY_FILE, make_tls_identity
from sealwright_policies.flows.content import FRAME_SIZE
from sealwright_policies.flows.documents import FileKind, FlowStatement, FlowWelcome
from sealwright_policies.flows.verification import verify_receiver, verify_statement
from sealwright_policies.tcg.public import parse_public
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.flow_boxes import Boxes, FlowBox, Meeting, Wire, put_in, relayed
from sealwright_testing.simulated_box import SimulatedVendor

CONTENT = b"patient 17, ward 3, metformin\n" * 80_000
"""Three frames; what a search of the wire would find."""
MARK = b"metformin"


def test_a_data_set_goes_to_the_box_whose_domain_takes_it(boxes: Boxes, tmp_path: Path) -> None:
    """Over a line that is watched; both sides have the record, each with the other's word."""
    put_in(boxes.storage, tmp_path, "cohort-7.csv", CONTENT)
    boxes.expect()
    wire = Wire()
    with relayed(boxes.compute, wire) as url:
        done = boxes.send("cohort-7.csv", url=url)
    assert done.returncode == 0, done.stderr
    assert boxes.compute.content("training", "cohort-7.csv") == CONTENT
    assert MARK in CONTENT
    assert MARK not in wire.passed
    assert len(wire.passed) > len(CONTENT)
    sent, received = boxes.storage.said("flows"), boxes.compute.said("flows")
    assert [one["role"] for one in (sent["records"][-1], received["records"][-1])] == ["sent", "received"]
    assert sent["records"][-1]["terms"] == received["records"][-1]["terms"]
    assert (sent["sending"], received["expected"]) == ([], [])
    listed = {one["name"]: one["files"] for one in boxes.compute.said("list")["domains"]}
    assert [one["flow_id"] for one in listed["training"]] == [sent["records"][-1]["terms"]["flow_id"]]


def test_each_record_holds_what_the_other_sides_tpm_says(boxes: Boxes, tmp_path: Path) -> None:
    put_in(boxes.storage, tmp_path, "signed.csv", b"one row\n")
    boxes.expect()
    assert boxes.send("signed.csv").returncode == 0
    for box, other, side in ((boxes.storage, boxes.compute, "receiver"), (boxes.compute, boxes.storage, "sender")):
        record = box.flows.journal.load()[-1]
        identity = other.running.simulated.store.load_identity()
        assert identity is not None
        verify_statement(record.record.statement, parse_public(identity.ak_public), getattr(record.terms, side))


def test_nobody_is_taken_who_is_not_expected(boxes: Boxes, tmp_path: Path) -> None:
    """The TPM is not even asked."""
    put_in(boxes.storage, tmp_path, "unexpected.csv", b"x")
    refused = boxes.send("unexpected.csv")
    assert refused.returncode == 10
    assert "DOMAIN_FORBIDS" in refused.stderr
    assert boxes.compute.content("training", "unexpected.csv") is None


def test_a_form_that_is_not_let_go_does_not_leave(boxes: Boxes, tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_bytes(b"area,0.91")
    boxes.storage.said("import", "records", path, "--kind", "results")
    boxes.expect()
    refused = boxes.send("report.csv", "--kind", "results")
    assert refused.returncode == 10
    assert "DOMAIN_NOT_CHAINED" in refused.stderr


def test_a_line_that_is_cut_is_gone_on_with(boxes: Boxes, tmp_path: Path) -> None:
    """From the frame at which it was cut, also when the receiver's agent was started anew meanwhile."""
    put_in(boxes.storage, tmp_path, "cut.csv", CONTENT[::-1])
    boxes.expect()
    wire = Wire(cut_after=FRAME_SIZE + 600_000)
    with relayed(boxes.compute, wire) as url:
        cut = boxes.send("cut.csv", url=url)
        assert cut.returncode == 10
        assert "peer_unreachable" in cut.stderr
        assert boxes.compute.content("training", "cut.csv") is None
        first = len(wire.passed)
        boxes.compute.running.start_agent(BoxState.UNLOCKED, "The payloads are open.")
        done = boxes.send("cut.csv", url=url)
    assert done.returncode == 0, done.stderr
    assert boxes.compute.content("training", "cut.csv") == CONTENT[::-1]
    assert len(wire.passed) - first < len(CONTENT)
    assert "cut.csv" not in [one["order"]["name"] for one in boxes.storage.said("flows")["sending"]]


def test_nothing_goes_into_or_out_of_a_domain_that_a_box_may_not_open(boxes: Boxes, tmp_path: Path) -> None:
    """What was expected before is not taken, and files are told of as closed."""
    path = put_in(boxes.storage, tmp_path, "unopened.csv", b"one row\n")
    boxes.expect()
    received = ("training", "--from", "records", "--device", boxes.storage.device_id)
    with refusing(boxes.compute, "training") as why:
        for refused in (boxes.compute.domain("receive", *received), boxes.send("unopened.csv")):
            assert (refused.returncode, "NOT_ENTITLED" in refused.stderr) == (10, True), refused.stderr
    files = boxes.storage.flows.files
    (held,) = [one for one in files.placed() if one.file.name == "unopened.csv"]
    files.close(held)
    with refusing(boxes.storage, "records") as why:
        for refused in (
            boxes.storage.domain("import", "records", path, "--kind", "results"),
            boxes.send("unopened.csv"),
        ):
            assert (refused.returncode, "NOT_ENTITLED" in refused.stderr) == (10, True), refused.stderr
        listed = {one["name"]: one["closed"] for one in boxes.storage.said("list")["domains"]}
        assert [(one["file"]["name"], one["code"], one["sentence"]) for one in listed["records"]] == [
            ("unopened.csv", "NOT_ENTITLED", why)
        ]
    (held,) = files.closed()
    files.open(held)
    assert boxes.compute.content("training", "unopened.csv") is None
    assert boxes.send("unopened.csv").returncode == 0


@contextmanager
def refusing(box: FlowBox, domain: str) -> Iterator[str]:
    """A box that may not open a domain, as its start has found; the sentence that says why."""
    why = f"{domain} demands of the licence: training."
    whole = KeptClosed(domain=domain, what=WHOLE, code="NOT_ENTITLED", sentence=why)
    box.running.start_agent(BoxState.UNLOCKED, "The payloads are open.", kept_closed=(whole,))
    try:
        yield why
    finally:
        box.running.start_agent(BoxState.UNLOCKED, "The payloads are open.")


def test_a_file_is_never_overwritten(boxes: Boxes, tmp_path: Path) -> None:
    put_in(boxes.storage, tmp_path, "twice.csv", b"first")
    boxes.expect()
    assert boxes.send("twice.csv").returncode == 0
    boxes.expect()
    refused = boxes.send("twice.csv")
    assert refused.returncode == 10
    assert "FILE_EXISTS" in refused.stderr
    (tmp_path / "twice.csv").write_bytes(b"second")
    again = boxes.storage.domain("import", "records", tmp_path / "twice.csv")
    assert again.returncode == 10
    assert boxes.compute.content("training", "twice.csv") == b"first"


def test_an_import_that_was_cut_is_gone_on_with(boxes: Boxes, tmp_path: Path) -> None:
    """And what is not the announced file is not taken."""
    flows = boxes.storage.flows
    order = ImportOrder(
        domain="records", kind=FileKind.DATA_SET, name="half.csv", size=FRAME_SIZE + 3, digest="00" * 32
    )
    import_id, number = flows.begin_import(order)
    assert number == 0
    assert flows.take_import(import_id, 0, bytes(FRAME_SIZE)) == 1
    assert flows.begin_import(order) == (import_id, 1)
    with pytest.raises(FlowError, match="comes next"):
        flows.finish_import(import_id)
    assert flows.take_import(import_id, 1, b"end") == 2
    with pytest.raises(FlowError, match="not the file"):
        flows.finish_import(import_id)
    assert boxes.storage.content("records", "half.csv") is None


def test_the_third_box_is_refused_by_all(boxes: Boxes, third: FlowBox, tmp_path: Path) -> None:
    """Its domains have the same names and do not chain: neither it nor the others let anything pass."""
    refused = third.domain("receive", "training", "--from", "records", "--device", boxes.storage.device_id)
    assert refused.returncode == 10
    assert "DOMAIN_NOT_CHAINED" in refused.stderr
    expecting(third, boxes.storage)
    put_in(boxes.storage, tmp_path, "third.csv", b"x")
    refused = boxes.send("third.csv", to=third)
    assert refused.returncode == 10
    assert "MANIFEST_MISMATCH" in refused.stderr
    assert third.content("training", "third.csv") is None
    put_in(third, tmp_path, "back.csv", b"x")
    where = ("--peer", boxes.compute.running.url, "--device", boxes.compute.device_id)
    refused = third.domain("send", "records", "back.csv", "--to", "training", *where)
    assert refused.returncode == 10
    assert "DOMAIN_NOT_CHAINED" in refused.stderr


def test_a_third_box_that_asks_nobody_is_refused(
    boxes: Boxes, third: FlowBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gateway and agent are broken into, and go by the storage node's release; its quote does not."""
    put_in(third, tmp_path, "forced.csv", b"x")
    expecting(boxes.compute, third)
    believed = boxes.storage.flows.sender.side.ourselves
    true = verify_receiver
    monkeypatch.setattr(sender_module, "require_chained", lambda *_: None)
    monkeypatch.setattr(
        sender_module, "verify_receiver", lambda welcome, hello, _, **more: true(welcome, hello, believed, **more)
    )
    offer = Meeting(third, boxes.compute, "forced.csv").offer()
    with pytest.raises(FlowError) as refused:
        boxes.compute.flows.receiver.accept(offer)
    assert refused.value.code == "MANIFEST_MISMATCH"


def expecting(receiver: FlowBox, sender: FlowBox) -> None:
    """Have a box expect another one, whatever its release says."""
    flows = receiver.flows.receiver
    wanted = Expectation(source="records", target="training", device_id=sender.device_id)
    flows._keep([*flows.expected(), Expected(expectation=wanted, until=flows.side.now() + 3600)])


@contextmanager
def man_in_the_middle(box: FlowBox, folder: Path) -> Iterator[str]:
    """He passes everything on to a box, and has another certificate."""
    identity = make_tls_identity("somebody")
    (folder / "cert.pem").write_bytes(identity.certificate)
    (folder / "key.pem").write_bytes(identity.key)
    inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    inside.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    outside = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    outside.check_hostname, outside.verify_mode = False, ssl.CERT_NONE

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while part := await source.read(65536):
                target.write(part)
                await target.drain()
        target.close()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", box.running.port, ssl=outside)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    with in_a_thread() as loop:
        listening = asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=inside)
        server = asyncio.run_coroutine_threadsafe(listening, loop).result()
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextmanager
def in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop: threads may not use two ends of one TLS connection at a time."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_somebody_in_between_is_found(boxes: Boxes, tmp_path: Path) -> None:
    """The receiver's TPM speaks for another certificate than the connection's."""
    put_in(boxes.storage, tmp_path, "between.csv", b"x")
    boxes.expect()
    with man_in_the_middle(boxes.compute, tmp_path) as url:
        refused = boxes.send("between.csv", url=url)
    assert refused.returncode == 10
    assert "somebody is in between" in refused.stderr
    assert boxes.compute.content("training", "between.csv") is None


def test_what_was_said_before_is_not_believed_again(boxes: Boxes, tmp_path: Path) -> None:
    """Offers and welcomes are for one nonce, and a nonce for one offer."""
    put_in(boxes.storage, tmp_path, "replayed.csv", b"x")
    boxes.expect()
    meeting = Meeting(boxes.storage, boxes.compute, "replayed.csv")
    welcome = meeting.welcome()
    offer = meeting.offer(welcome)
    boxes.compute.flows.receiver.accept(offer)
    with pytest.raises(FlowError, match="answers no welcome"):
        boxes.compute.flows.receiver.accept(offer)
    later = Meeting(boxes.storage, boxes.compute, "replayed.csv")
    with pytest.raises(FlowError) as refused:
        later.offer(welcome)
    assert refused.value.code == "QUALIFYING_DATA_MISMATCH"
    fresh = later.welcome()
    with pytest.raises(FlowError) as refused:
        boxes.compute.flows.receiver.accept(offer.model_copy(update={"nonce": fresh.nonce}))
    assert refused.value.code == "QUALIFYING_DATA_MISMATCH"


def test_a_frame_that_was_changed_is_refused_and_the_true_one_taken(boxes: Boxes, tmp_path: Path) -> None:
    put_in(boxes.storage, tmp_path, "changed.csv", b"rows\n" * 9)
    boxes.expect()
    meeting = Meeting(boxes.storage, boxes.compute, "changed.csv")
    receiver = boxes.compute.flows.receiver
    receiver.accept(meeting.offer())
    frame = meeting.frame(0)
    with pytest.raises(FlowError) as refused:
        receiver.take(meeting.flow_id, 0, bytes([frame[0] ^ 1]) + frame[1:])
    assert refused.value.code == "FLOW_CONTENT"
    with pytest.raises(FlowError, match="comes next"):
        receiver.finish(meeting.flow_id)
    assert receiver.take(meeting.flow_id, 0, frame) == 1
    receipt = receiver.finish(meeting.flow_id)
    forged = receipt.model_copy(update={"quote": boxes.storage.flows.sender.side.state(bytes(32), b"").quote})
    with pytest.raises(FlowError) as refused:
        boxes.storage.flows.sender.finish(meeting.flow_id, FlowStatement.model_validate(forged))
    assert refused.value.code == "SIGNATURE_INVALID"
    assert boxes.storage.flows.sender.finish(meeting.flow_id, receipt).terms.name == "changed.csv"


def test_frames_are_taken_from_the_believed_box_alone(boxes: Boxes, third: FlowBox, tmp_path: Path) -> None:
    """No port before, no word without a certificate, none with another genuine box's."""
    peer_port = boxes.compute.running.peer_port
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", peer_port))
    put_in(boxes.storage, tmp_path, "mutual.csv", b"x")
    boxes.expect()
    meeting = Meeting(boxes.storage, boxes.compute, "mutual.csv")
    with boxes.compute.running.http() as public:
        hello = json.loads(document_bytes(meeting.hello))
        welcome = public.post("/flows/hello", json=hello)
        assert welcome.status_code == 200, welcome.text
        offer = meeting.offer(FlowWelcome.model_validate_json(welcome.content))
        name = hashlib.sha256(hello["nonce"].encode()).hexdigest()
        body = json.loads(document_bytes(offer))
        assert public.post(f"/flows/offers/{'0' * 64}", json=body).status_code == 404
        accepted = public.post(f"/flows/offers/{name}", json=body)
        assert accepted.status_code == 200, accepted.text
    assert accepted.json()["port"] == peer_port
    address = f"https://127.0.0.1:{peer_port}"
    for context in (without_certificate(), context_of(third, boxes.compute)):
        with httpx.Client(verify=context) as client, pytest.raises(httpx.TransportError):
            client.put(f"{address}/frames/0", content=meeting.frame(0))
    with httpx.Client(verify=context_of(boxes.storage, boxes.compute), timeout=60) as client:
        assert client.put(f"{address}/frames/0", content=meeting.frame(0)).json() == {"next": 1}
        assert client.post(f"{address}/finish").status_code == 200
        assert client.get(f"{address}/status").status_code == 404


def without_certificate() -> ssl.SSLContext:
    """Of anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def context_of(box: FlowBox, peer: FlowBox) -> ssl.SSLContext:
    """As a box connects to another."""
    own, theirs = box.running.simulated.paths.tls, peer.running.simulated.paths.tls
    certificate = ssl.PEM_cert_to_DER_cert((theirs / CERTIFICATE_FILE).read_text())
    return client_context(certificate, own / CERTIFICATE_FILE, own / KEY_FILE)


def test_a_record_that_was_changed_is_seen(boxes: Boxes, tmp_path: Path) -> None:
    """Nothing goes on from a chain that somebody has changed."""
    journal = boxes.storage.flows.journal
    for number in range(3):
        put_in(boxes.storage, tmp_path, f"chained-{number}.csv", b"x")
        boxes.expect()
        assert boxes.send(f"chained-{number}.csv").returncode == 0
    records = journal.load()
    path = journal._file(2)
    true = path.read_bytes()
    try:
        path.write_bytes(records[0].content)
        assert "FLOW_CHAIN" in boxes.storage.said("flows")["problem"]
        path.unlink()
        assert "FLOW_CHAIN" in boxes.storage.said("flows")["problem"]
    finally:
        path.write_bytes(true)
    assert boxes.storage.said("flows")["problem"] == ""


def test_an_administrator_is_needed(boxes: Boxes, tmp_path: Path) -> None:
    put_in(boxes.storage, tmp_path, "whose.csv", b"x")
    for box in (boxes.storage, boxes.compute):
        other = FlowBox(box.running, "sw-" + "A" * 43)
        for command, more in (
            ("list", ()),
            ("flows", ()),
            ("import", ("records", tmp_path / "whose.csv")),
            ("receive", ("training", "--from", "records", "--device", "a" * 52)),
            ("send", ("records", "whose.csv", "--to", "training", "--peer", "https://a", "--device", "a" * 52)),
        ):
            assert other.domain(command, *more).returncode == 10, command


def test_both_boxes_tell_the_licence_service(boxes: Boxes, vendor: SimulatedVendor, tmp_path: Path) -> None:
    """Once, however often they report; the service finds nothing odd and the log's audit nothing changed."""
    put_in(boxes.storage, tmp_path, "told.csv", b"rows\n")
    boxes.expect()
    assert boxes.send("told.csv").returncode == 0
    for box in (boxes.storage, boxes.compute):
        keeper = box.running.agent.meter_keeper
        assert keeper is not None
        assert keeper.flows is not None
        assert keeper.flows() == len(box.flows.journal.load())
        assert keeper.flows() == 0
    flow_id = boxes.storage.flows.journal.load()[-1].terms.flow_id
    listed = json.loads(vendor.command("flows", "list", vendor.license_directory, "--flow", flow_id, "--json"))["flows"]
    assert {(one["role"], one["device_id"], one["finding"]) for one in listed} == {
        ("sent", boxes.storage.device_id, ""),
        ("received", boxes.compute.device_id, ""),
    }
    vendor.command("audit", "verify", vendor.license_directory)


def test_a_file_goes_when_its_domains_days_are_over(boxes: Boxes, tmp_path: Path) -> None:
    """By the time of the service, with the box's TPM for a clock; it is listed as gone, and is not there to send."""
    put_in(boxes.storage, tmp_path, "old.csv", b"one row\n")
    retention = boxes.storage.flows.retention
    retention.look()
    assert boxes.storage.content("records", "old.csv") == b"one row\n"
    with pytest.MonkeyPatch.context() as later:
        now = retention.service_time()
        later.setattr(retention, "service_time", lambda: now + 86_400)
        retention.look()
    assert boxes.storage.content("records", "old.csv") is None
    shown = boxes.storage.said("list")
    assert [one["name"] for one in shown["removed"] if one["name"] == "old.csv"] == ["old.csv"]
    assert "removed   data-set old.csv of records, " in boxes.storage.domain("list").stdout
    boxes.expect()
    refused = boxes.send("old.csv")
    assert (refused.returncode, "FILE_UNKNOWN" in refused.stderr) == (10, True)
