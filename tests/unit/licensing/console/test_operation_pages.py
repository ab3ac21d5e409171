"""What is done at the console: each operation, what it refuses, and that no other site's page can do it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from sealwright_licensing.console.forms import Form
from sealwright_licensing.journal import record_operation
from sealwright_licensing.metering_records import MeteringChain, MeteringReceipt
from sealwright_licensing.records import Device, DeviceStatus, License, LicenseStatus, Operation, ReleaseRecord
from sealwright_policies.errors import FormatError
from sealwright_testing.console_desk import ConsoleVisitor
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.metering import ChainWriter
from sealwright_testing.operator_desk import OPERATOR, ORIGIN, SAME_ORIGIN

ISSUE = {
    "product": "synthetic-box", "seats": "2", "overage": "1.25", "days": "30", "grace_days": "3", "tiers": "software",
    "lease_days": "10", "boots_without_contact": "0", "at_end": "run-out", "renewal_basis": "now",
    "version_floor": "1.0", "domains": "medical, finance", "note": "Ward 3",
}  # fmt: skip


def stored(visitor: ConsoleVisitor, license_id: str) -> License:
    """The licence's record."""
    with visitor.desk.world.store.read() as transaction:
        found = transaction.get(License, license_id)
    assert found is not None
    return found


def device(visitor: ConsoleVisitor) -> Device:
    """The only device's record."""
    with visitor.desk.world.store.read() as transaction:
        (found,) = transaction.find(Device)
    return found


def operations(visitor: ConsoleVisitor) -> list[Operation]:
    """The journal."""
    with visitor.desk.world.store.read() as transaction:
        return transaction.find(Operation)


def test_issuing_shows_the_codes_once(visitor: ConsoleVisitor) -> None:
    reply = visitor.send("/licenses/issue", **ISSUE)
    assert reply.status_code == 201
    codes = re.findall(r'<code class="whole">([A-Z0-9-]+)</code>', reply.text)
    assert len(codes) == 2
    (license_id,) = set(re.findall(r'href="/licenses/(lic-[0-9a-f]{12})"', reply.text))
    made = stored(visitor, license_id)
    assert (made.seats, made.overage, made.at_end, made.domains, made.grace_s) == (
        2, "1.25", "run-out", "finance,medical", 3 * 86_400,
    )  # fmt: skip
    page = visitor.page(f"/licenses/{license_id}")
    assert not [code for code in codes if code in page]
    box = visitor.desk.world.device()
    visitor.desk.world.enroll(box, codes[0])


def test_a_wrong_field_is_named_and_the_rest_kept(visitor: ConsoleVisitor) -> None:
    for field, value in (("seats", "0"), ("seats", "x"), ("product", "A B"), ("days", ""), ("overage", "3"),
                         ("tiers", "gold"), ("version_floor", "one"), ("starts_on", "yesterday"),
                         ("domains", "a,<b>"), ("note", "two\nlines")):  # fmt: skip
        reply = visitor.send("/licenses/issue", **(ISSUE | {field: value}))
        assert reply.status_code == 400, field
        assert f"{field}: " in reply.text, field
        if field != "note":
            assert 'value="Ward 3"' in reply.text
    assert not [one for one in operations(visitor) if one.operation == "license.issue"]


def test_each_operation_on_a_licence(visitor: ConsoleVisitor) -> None:
    license_, _ = visitor.desk.world.issue()
    path = f"/licenses/{license_.license_id}"

    def after(name: str, **fields: str) -> License:
        reply = visitor.send(f"{path}/{name}", **fields)
        assert (reply.status_code, reply.headers["location"]) == (303, path), reply.text
        return stored(visitor, license_.license_id)

    assert after("renew", days="10").expires_at == license_.expires_at + 10 * 86_400
    assert after("set-floor", version="2.0").version_floor == "2.0"
    assert "NOT_POSSIBLE" in visitor.send(f"{path}/set-floor", version="1.0").text
    assert after("set-floor", version="1.0", lower="yes").version_floor == "1.0"
    changed = after("change-terms", seats="7", overage="2", grace_days="1", tiers="software", at_end="close",
                    renewal_basis="now", boots_without_contact="5", features="pro")  # fmt: skip
    assert (changed.seats, changed.overage, changed.grace_s, changed.features) == (7, "2", 86_400, "pro")
    assert after("suspend").status is LicenseStatus.SUSPENDED
    assert "The licence is suspended." in visitor.page(path)
    assert "The licence is suspended." not in visitor.page(path)
    assert after("reinstate").status is LicenseStatus.ACTIVE
    code = visitor.send(f"{path}/add-code")
    assert code.status_code == 200
    assert len(re.findall(r'<code class="whole">', code.text)) == 1
    assert visitor.send(f"{path}/revoke").status_code == 400
    assert stored(visitor, license_.license_id).status is LicenseStatus.ACTIVE
    assert after("revoke", confirm="yes").status is LicenseStatus.REVOKED
    assert {(one.actor_kind, one.actor) for one in operations(visitor) if one.actor != "operator"} <= {("cli", "test")}
    assert ("session", "operator") in {(one.actor_kind, one.actor) for one in operations(visitor)}
    assert "/revoke" not in visitor.page(path)


def test_resume_transfer_and_retire(visitor: ConsoleVisitor, box: EnrolledDevice) -> None:
    path = f"/devices/{box.device.device_id}"
    with box.world.store.write() as transaction:
        transaction.put(replace(box.stored(), status=DeviceStatus.HELD, held_code="ROLLED_BACK", held_because="x"))
    assert f"{path}/resume" in visitor.page(path)
    assert visitor.send(f"{path}/resume").status_code == 303
    assert device(visitor).status is DeviceStatus.LIVE
    reply = visitor.send(f"{path}/transfer")
    assert len(re.findall(r'<code class="whole">', reply.text)) == 1
    assert device(visitor).status is DeviceStatus.LIVE
    assert visitor.send(f"{path}/retire").status_code == 400
    assert visitor.send(f"{path}/retire", confirm="yes").status_code == 303
    assert device(visitor).status is DeviceStatus.RETIRED
    assert "action" not in re.findall(r'<a class="([^"]*)"', visitor.page(path))


def test_receipts_of_a_second_history_are_settled(visitor: ConsoleVisitor, box: EnrolledDevice) -> None:
    """The chain itself should have begun; two of its receipts are disputed, and a chain without such is not offered."""
    world, who = visitor.desk.world, box.device.device_id
    writer = ChainWriter(device_id=who, license_id=box.license_.license_id, opened_at=world.now)
    standing = MeteringChain(who, writer.chain_id, writer.license_id, "", 1, 1, "0", 0, 0, 0, False, 1)
    with world.store.write() as transaction:
        record_operation(transaction, actor=OPERATOR, operation="test", subject="", now=world.now)
        for chain in (standing, replace(standing, chain_id="ff" * 16)):
            transaction.add(chain)
        for chain_id, disputed in ((writer.chain_id, True), (writer.chain_id, True), ("ff" * 16, False)):
            one = writer.next()
            transaction.add(MeteringReceipt(who, chain_id, one.digest, one.sequence, writer.license_id, one.content,
                                            disputed, 1))  # fmt: skip
    path = f"/devices/{who}"
    assert "Receipts: 2" in visitor.page(path)
    form = visitor.page(f"{path}/settle")
    assert writer.chain_id in form
    assert "ff" * 16 not in form

    assert visitor.send(f"{path}/settle", chain_id=writer.chain_id, verdict="count").status_code == 303
    assert "Receipts in dispute" not in visitor.page(path)
    with world.store.read() as transaction:
        assert transaction.count(MeteringReceipt, disputed=True) == 0


def test_a_release_is_withdrawn(visitor: ConsoleVisitor) -> None:
    with visitor.desk.world.store.read() as transaction:
        (release,) = transaction.find(ReleaseRecord)
    path = f"/releases/{release.release_id}"
    assert visitor.send(f"{path}/withdraw").status_code == 400
    assert visitor.send(f"{path}/withdraw", confirm="yes").status_code == 303
    with visitor.desk.world.store.read() as transaction:
        (release,) = transaction.find(ReleaseRecord)
    assert release.withdrawn


def test_a_form_that_is_sent_twice_is_done_once(visitor: ConsoleVisitor) -> None:
    """Each operation; what draws a code says where it has been shown."""
    license_, _ = visitor.desk.world.issue()
    path, key = f"/licenses/{license_.license_id}", "0" * 32
    for _ in range(2):
        assert visitor.send(f"{path}/renew", days="10", once=key).status_code == 303
    assert stored(visitor, license_.license_id).expires_at == license_.expires_at + 10 * 86_400
    assert "The form was sent twice and done once." in visitor.page(path)
    other = visitor.send(f"{path}/renew", days="11", once=key)
    assert (other.status_code, "IDEMPOTENCY_KEY_REUSED" in other.text) == (409, True)
    assert visitor.send(f"{path}/renew", days="11", once="1" * 32).status_code == 303
    assert [visitor.send(f"{path}/add-code", once="2" * 32).status_code for _ in range(2)] == [200, 303]
    assert "if nobody has seen them, draw another" in visitor.page(path)
    done = [one.operation for one in operations(visitor) if one.subject == license_.license_id]
    assert sorted(done) == ["license.add-code", "license.issue", "license.renew", "license.renew"]


def test_a_licence_is_issued_once(visitor: ConsoleVisitor) -> None:
    first, second = (visitor.send("/licenses/issue", once="0" * 32, **ISSUE) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 303)
    assert second.headers["location"] in first.text
    with visitor.desk.world.store.read() as transaction:
        assert transaction.count(License) == 1


def test_a_form_that_failed_can_be_sent_again(visitor: ConsoleVisitor) -> None:
    """It uses up no key; and the page that comes back has another one."""
    license_, _ = visitor.desk.world.issue()
    path, key = f"/licenses/{license_.license_id}/set-floor", "0" * 32
    wrong = visitor.send(path, version="x", once=key)
    assert wrong.status_code == 400
    assert key not in wrong.text
    assert visitor.send(path, version="1.0", once=key).status_code == 303


@pytest.mark.parametrize("key", ["", "0" * 31, "0" * 33, "Z" * 32])
def test_a_form_without_its_key_changes_nothing(visitor: ConsoleVisitor, key: str) -> None:
    license_, _ = visitor.desk.world.issue()
    assert visitor.send(f"/licenses/{license_.license_id}/suspend", once=key).status_code == 400
    assert stored(visitor, license_.license_id).status is LicenseStatus.ACTIVE


ELSEWHERE: tuple[dict[str, str], ...] = (
    {},
    {"Origin": "https://evil.test"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site", "Origin": ORIGIN},
)


def test_a_page_of_another_site_changes_nothing(visitor: ConsoleVisitor) -> None:
    license_, _ = visitor.desk.world.issue()
    path = f"/licenses/{license_.license_id}/suspend"
    for headers in ELSEWHERE:
        reply = visitor.send(path, headers)
        assert reply.status_code == 403
        assert "CROSS_SITE" in reply.text
    other = ConsoleVisitor.log_in(visitor.desk)
    for token in ("", "0" * 64, other.csrf):
        assert visitor.send(path, csrf_token=token).status_code == 403
    assert visitor.send("/logout", csrf_token="").status_code == 403
    assert visitor.client.post("/language", data={"language": "en", "next": "/"}).status_code == 403
    assert stored(visitor, license_.license_id).status is LicenseStatus.ACTIVE
    assert visitor.send(path).status_code == 303


def test_a_change_is_no_matter_of_a_link(visitor: ConsoleVisitor) -> None:
    license_, _ = visitor.desk.world.issue()
    visitor.page(f"/licenses/{license_.license_id}/suspend?confirm=yes&csrf_token={visitor.csrf}")
    assert stored(visitor, license_.license_id).status is LicenseStatus.ACTIVE


def test_the_language_is_kept(visitor: ConsoleVisitor) -> None:
    reply = visitor.send("/language", language="zh-Hans", next="/devices")
    assert (reply.status_code, reply.headers["location"]) == (303, "/devices")
    assert '<html lang="zh-Hans">' in visitor.page("/devices")
    assert visitor.send("/language", language="xx").status_code == 400
    assert visitor.send("/language", language="en", next="//evil.test").headers["location"] == "/"


@pytest.mark.parametrize("body", [b"\xff", b"a=%ff", "&".join("a=1" for _ in range(200)).encode()])
def test_a_form_that_cannot_be_read_is_refused(visitor: ConsoleVisitor, body: bytes) -> None:
    headers = SAME_ORIGIN | {"Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    reply = visitor.client.post("/logout", content=body, headers=headers)
    assert reply.status_code == 400


def test_fields_are_read_strictly() -> None:
    form = Form({"one": ("1",), "two": ("1", "2"), "long": ("x" * 501,), "nul": ("a\0b",), "wide": ("１",)})
    assert form.number("one", 1, 1) == 1
    for name in ("two", "long", "nul"):
        with pytest.raises(FormatError, match=name):
            form.text(name)
    with pytest.raises(FormatError):
        form.number("wide", 0, 9)
    assert form.number_or_none("absent", 1, 9) is None
