"""Pages as a browser gets them: escaped, guarded, with their headers, in the database's measure."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends
from sqlalchemy import event, text

from sealwright_licensing.config import DEFAULT_DATABASE
from sealwright_licensing.console.fleet import SHOWN
from sealwright_licensing.console.guard import Guard
from sealwright_licensing.console.headers import CONTENT_SECURITY_POLICY, HEADERS
from sealwright_licensing.console.marks import utc
from sealwright_licensing.console.pages import STATIC, own_path
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.records import Decision, Device, DeviceStatus, ReleaseRecord
from sealwright_policies.errors import RejectionCode
from sealwright_policies.tcg.eventlog import EventType
from sealwright_testing.console_desk import PAGE, ConsoleVisitor, Elements
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.event_logs import LoggedEvent
from sealwright_testing.evidence_factory import boot_events
from sealwright_testing.license_world import LicenseWorld, grant
from sealwright_testing.operator_desk import OPERATOR, OperatorDesk
from sealwright_testing.query_count import counted_queries, grow_fleet
from sealwright_testing.software_tpm import ALG_SHA256

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}"


def test_hostile_text_is_text(visitor: ConsoleVisitor) -> None:
    """A note, a TPM maker and an event come from elsewhere; whatever they say is shown and not obeyed."""
    world = visitor.desk.world
    license_, (code,) = world.issue(note=HOSTILE)
    device = world.device()
    world.enroll(device, code)
    with world.store.write() as transaction:
        (held,) = transaction.find(Device)
        tpm = '{"manufacturer": "<b>maker</b>", "model": "\\"><script>", "version": ""}'
        transaction.put(replace(held, tpm=tpm, status=DeviceStatus.HELD, held_because=HOSTILE, held_code="<i>"))
        (decision,) = transaction.find(Decision)
        transaction.put(replace(decision, code="<i>", sentence=HOSTILE, words=HOSTILE))
    for path in ("/", "/licenses", f"/licenses/{license_.license_id}", f"/devices/{held.device_id}", "/devices",
                 "/decisions", f"/decisions/{decision.decision_id}", f"/licenses/{license_.license_id}/revoke",
                 f"/licenses/{license_.license_id}/change-terms"):  # fmt: skip
        page = visitor.page(path)
        elements = Elements(page)
        assert [one for one in elements.all("script") if not str(one.get("src")).startswith("/static/")] == []
        assert elements.all("img", "i", "b") == [], path
        assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(..)", page)
    assert "&lt;script&gt;alert(1)" in visitor.page(f"/licenses/{license_.license_id}")


def test_an_operations_detail_says_what_it_has_to_say(visitor: ConsoleVisitor) -> None:
    """A time as one, and nothing where there is nothing."""
    license_, _ = visitor.desk.world.issue()
    page = visitor.page("/operations")
    assert f"expires_at: {utc(license_.expires_at)}" in page
    assert "None" not in page
    assert str(license_.expires_at) not in page
    assert "software TPM" in visitor.page(f"/licenses/{license_.license_id}")


def test_operations_are_chosen_by_their_words(visitor: ConsoleVisitor) -> None:
    """Whoever reads the list need not know what the journal calls them."""
    visitor.desk.world.issue()
    page = visitor.page("/operations?operation=license.issue")
    assert '<option value="license.issue" selected>licence issued</option>' in page
    assert page.count("<tr>") == 2
    assert visitor.page("/operations").count("<tr>") > 2


def test_an_operations_detail_is_text(visitor: ConsoleVisitor) -> None:
    license_, _ = visitor.desk.world.issue()
    assert visitor.send(f"/licenses/{license_.license_id}/change-terms", seats="1", overage="none", grace_days="0",
                        tiers="software", at_end="close", renewal_basis="expiry", boots_without_contact="0",
                        note=HOSTILE).status_code == 303  # fmt: skip
    assert Elements(visitor.page("/operations")).all("img") == []


def test_every_answer_carries_the_headers(quiet: dict[Role, ConsoleVisitor]) -> None:
    visitor = quiet[Role.OPERATOR]
    for path in ("/", "/login", "/nothing", "/static/console.css", "/api/v1/status"):
        headers = visitor.ask(path).headers
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["strict-transport-security"].startswith("max-age=")
        wanted = "public, max-age=31536000, immutable" if path.startswith("/static") else "no-store"
        assert headers["cache-control"] == wanted, path
    policy = CONTENT_SECURITY_POLICY
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy


def test_so_does_every_refusal_of_the_api(visitor: ConsoleVisitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes it: the routes, what stands before them, or what is left when they fail."""

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr("sealwright_licensing.operators.api.status.view_status", fail)
    client, token = visitor.desk.client, {"Authorization": f"Bearer {visitor.desk.tokens[Role.OPERATOR]}"}
    for path, more, status in (
        ("/api/v1/licenses", {}, 401),
        ("/api/v1/licenses/none", {"headers": token}, 404),
        ("/api/v1/nothing", {}, 404),
        ("/api/v1/licenses", {"content": b"x" * 1_000_000}, 413),
        ("/api/v1/status", {"headers": token}, 500),
    ):
        reply = client.request("POST" if "content" in more else "GET", path, **more)
        assert reply.status_code == status, (path, reply.text)
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS, path
        assert "secret" not in reply.text


def test_no_page_has_anything_inline_or_from_elsewhere(
    quiet: dict[Role, ConsoleVisitor], quiet_box: EnrolledDevice
) -> None:
    visitor = quiet[Role.OPERATOR]
    for path in paths(quiet_box):
        for tag, attributes in Elements(visitor.page(path)).found:
            assert tag not in ("style", "iframe", "object", "embed", "base"), path
            assert not [name for name in attributes if name.startswith("on") or name == "style"], path
            for name in ("src", "href", "action", "hx-get", "formaction"):
                value = attributes.get(name)
                assert value is None or value.startswith(("/", "#")), (path, name, value)


def test_every_input_has_a_label(quiet: dict[Role, ConsoleVisitor], quiet_box: EnrolledDevice) -> None:
    for path in ("/login", *paths(quiet_box)):
        elements = Elements(quiet[Role.OPERATOR].page(path))
        labelled = {one["for"] for one in elements.all("label")}
        inputs = [one for one in elements.all("input", "select") if one.get("type") != "hidden"]
        assert [one for one in inputs if one.get("id") not in labelled] == [], path
        ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
        assert len(ids) == len(set(ids)), path
        headings = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h[1-6]", tag)]
        assert headings.count(1) == 1, path
        assert all(after - before <= 1 for before, after in itertools.pairwise(headings)), path


def paths(box: EnrolledDevice) -> list[str]:
    """Every page that an operator sees."""
    device, license_ = f"/devices/{box.device.device_id}", f"/licenses/{box.license_.license_id}"
    with box.world.store.read() as transaction:
        (release,), (decision,) = transaction.find(ReleaseRecord), transaction.find(Decision)
    own = ["renew", "change-terms", "set-floor", "add-code", "suspend", "reinstate", "revoke"]
    done = ("resume", "approve-firmware", "transfer", "settle", "retire")
    return [
        "/", "/licenses", "/licenses/issue", license_, *(f"{license_}/{name}" for name in own),
        "/devices", device, *(f"{device}/{name}" for name in done),
        "/releases", f"/releases/{release.release_id}", f"/releases/{release.release_id}/withdraw",
        "/metering", "/decisions", f"/decisions/{decision.decision_id}", "/operations", "/log", "/log/0",
    ]  # fmt: skip


READS = {
    Role.READ_ONLY: {"/", "/licenses", "/devices", "/releases"},
    Role.AUDITOR: {"/", "/licenses", "/devices", "/releases", "/metering", "/decisions", "/operations", "/log"},
}


@pytest.mark.parametrize("role", list(Role))
def test_every_page_for_every_role(quiet: dict[Role, ConsoleVisitor], quiet_box: EnrolledDevice, role: Role) -> None:
    """Written down a second time: who sees what. What changes something is for operators, whatever is sent."""
    visitor = quiet[role]
    for path in paths(quiet_box):
        parts = path.split("/")
        changes = len(parts) == 4 or path == "/licenses/issue"
        allowed = role is Role.OPERATOR or (not changes and f"/{parts[1]}" in READS[role])
        reply = visitor.ask(path)
        assert reply.status_code == (200 if allowed else 403), path
        assert allowed or "FORBIDDEN" in reply.text
        if changes and role is not Role.OPERATOR:
            assert visitor.send(path, confirm="yes", days="1").status_code == 403, path


@pytest.mark.parametrize("role", [Role.READ_ONLY, Role.AUDITOR])
def test_others_than_operators_see_no_buttons(
    quiet: dict[Role, ConsoleVisitor], quiet_box: EnrolledDevice, role: Role
) -> None:
    for path in ("/", "/licenses", f"/licenses/{quiet_box.license_.license_id}", "/devices",
                 f"/devices/{quiet_box.device.device_id}", "/releases"):  # fmt: skip
        elements = Elements(quiet[role].page(path))
        assert [one for one in elements.all("a") if "action" in str(one.get("class"))] == [], path
        posts = {one["action"] for one in elements.all("form") if one.get("method") == "post"}
        assert posts == {"/language", "/logout"}, path


def test_a_page_that_names_no_permission_is_open_to_nobody(quiet: dict[Role, ConsoleVisitor]) -> None:
    app = quiet[Role.OPERATOR].desk.app
    guarded = APIRouter(dependencies=[Depends(Guard(app.state.console))])
    guarded.add_api_route("/forgotten", lambda: {"secret": True}, include_in_schema=False)
    app.include_router(guarded)
    assert quiet[Role.OPERATOR].ask("/forgotten").status_code == 403


def test_who_is_bound_to_licences_sees_theirs_alone(visitor: ConsoleVisitor) -> None:
    desk = visitor.desk
    own, (own_code,) = desk.world.issue()
    other, (other_code,) = desk.world.issue()
    mine, foreign = desk.world.device(0), desk.world.device(1)
    desk.world.enroll(mine, own_code)
    desk.world.enroll(foreign, other_code)
    bound = ConsoleVisitor.log_in(desk, token=desk.token("bound", Role.OPERATOR, licenses=[own.license_id]))
    assert bound.ask("/").headers["location"] == "/licenses"
    for path in ("/licenses", "/devices", "/decisions"):
        page = bound.page(path)
        assert own.license_id in page
        assert other.license_id not in page
    for path in (f"/licenses/{other.license_id}", f"/devices/{foreign.device_id}",
                 f"/licenses/{other.license_id}/revoke"):  # fmt: skip
        assert bound.ask(path).status_code == 404, path
    assert bound.send(f"/licenses/{other.license_id}/suspend").status_code == 404
    assert bound.send(f"/licenses/{own.license_id}/suspend").status_code == 303
    assert bound.ask("/licenses/issue").status_code == 403
    assert bound.ask("/releases").status_code == 403


def test_without_a_session_there_is_the_login(quiet: dict[Role, ConsoleVisitor]) -> None:
    desk = quiet[Role.OPERATOR].desk
    client = ConsoleVisitor.log_in(desk).client
    client.cookies.clear()
    reply = client.get("/devices?status=held", headers=PAGE)
    assert (reply.status_code, reply.headers["location"]) == (303, "/login?next=%2Fdevices%3Fstatus%3Dheld")
    assert client.get("/devices", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login?next=%2Fdevices"
    assert client.post("/licenses/x/suspend", headers=PAGE | {"Origin": "https://operators.test"}).status_code == 401
    assert client.get("/", headers={}).status_code == 401


@pytest.mark.parametrize("given", ["//evil.test", "https://evil.test", "/\\evil.test", "javascript:1", "", "/\t/evil"])
def test_nobody_is_sent_to_another_site(given: str) -> None:
    assert own_path(given) == "/"


def test_an_error_is_a_page_with_code_and_cure(quiet: dict[Role, ConsoleVisitor]) -> None:
    visitor = quiet[Role.OPERATOR]
    for path, status, code in (
        ("/nothing", 404, "NOT_FOUND"),
        ("/licenses/lic-none", 404, "LICENSE_UNKNOWN"),
        ("/devices/none", 404, "DEVICE_UNKNOWN"),
        ("/releases/none", 404, "RELEASE_UNKNOWN"),
        ("/devices?status=gone", 400, "MALFORMED"),
        ("/devices?cursor=x", 400, "MALFORMED"),
        ("/devices?prefix=%3Cb%3E", 400, "MALFORMED"),
        ("/licenses?unknown=1", 400, "MALFORMED"),
    ):
        reply = visitor.ask(path)
        assert reply.status_code == status, path
        assert code in reply.text
        assert reply.headers["content-type"].startswith("text/html")
    assert visitor.client.get("/nothing").headers["content-type"] == "application/problem+json"
    assert "请在设备列表中搜索" in visitor.ask("/devices/none", **{"Accept-Language": "zh"}).text


def test_a_failure_is_a_page_that_tells_nothing(visitor: ConsoleVisitor, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr("sealwright_licensing.console.fleet_pages.read_fleet", fail)
    reply = visitor.ask("/")
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_the_appraisal_is_explained_event_by_event(visitor: ConsoleVisitor, box: EnrolledDevice) -> None:
    page = visitor.page(f"/devices/{box.device.device_id}")
    assert page.count('<tr class="event-') > 20
    assert "EV_SEPARATOR" in page
    assert "enter-initrd" in page
    assert "Secure Boot is on, with this release" in page
    assert box.device.device_id in page


def test_a_denied_boot_is_explained_event_by_event(visitor: ConsoleVisitor, box: EnrolledDevice) -> None:
    """The boot that was denied, not the one before: each event with what was found against it, until a boot is good."""
    events = box.device.box.boot_events()
    foreign, digest = EventType.EV_EFI_BOOT_SERVICES_APPLICATION, hashlib.sha256(b"a foreign loader").digest()
    behind = next(at for at, one in enumerate(events) if one.type == foreign)
    events.insert(behind, LoggedEvent(4, foreign, bytes(32), {ALG_SHA256: digest}))
    denied(RejectionCode.BOOT_APPLICATION, lambda: box.ask(box.nonce(), events=events))

    page = visitor.page(f"/devices/{box.device.device_id}")
    wrong = re.findall(r'<tr class="event-wrong">.*?</tr>', page, re.DOTALL)
    assert digest.hex() in wrong[0]
    assert "Another boot application" in wrong[0]
    assert len(wrong) < 6
    assert page.count('<tr class="event-unremarked">') > 10
    decision = re.search(r'href="(/decisions/[0-9a-f]+)"', page)
    assert decision is not None
    assert visitor.page(decision.group(1)).count('<tr class="event-wrong">') == len(wrong)

    denied(RejectionCode.FIRMWARE_CHANGED, lambda: box.ask(box.nonce(), events=boot_events(
        box.device.box.uki, box.device.box.keys, option_roms=3
    )))  # fmt: skip
    assert visitor.page(decision.group(1)).count('<tr class="event-') == 0
    assert '<tr class="event-suspect">' in visitor.page(f"/devices/{box.device.device_id}")

    assert grant(box.ask()).leases
    page = visitor.page(f"/devices/{box.device.device_id}")
    assert 'class="event-wrong"' not in page
    assert page.count('<tr class="event-allowed">') > 10


def test_logs_of_a_denied_boot_are_kept_up_to_a_limit(visitor: ConsoleVisitor, box: EnrolledDevice) -> None:
    noise = [LoggedEvent(5, EventType.EV_EFI_ACTION, random.Random(at).randbytes(16_000)) for at in range(20)]
    events = [*box.device.box.boot_events(), *noise]
    denied(RejectionCode.EVENT_NOT_ALLOWED, lambda: box.ask(box.nonce(), events=events))
    page = visitor.page(f"/devices/{box.device.device_id}")
    assert "logs of the denied boot are not kept" in page
    assert page.count('<tr class="event-allowed">') > 10


def test_pages_of_a_list_follow_one_another(visitor: ConsoleVisitor) -> None:
    for number in range(7):
        visitor.desk.world.issue(note=f"n{number}")
    seen: list[str] = []
    path: str | None = "/licenses?limit=3"
    while path:
        page = visitor.page(path)
        seen += re.findall(r'href="/licenses/(lic-[0-9a-f]{12})"', page)
        found = re.search(r'rel="next" href="([^"]*)"', page)
        path = found.group(1).replace("&amp;", "&") if found else None
    assert len(seen) == len(set(seen)) == 7


def test_what_waits_for_a_person_comes_first(visitor: ConsoleVisitor, box: EnrolledDevice) -> None:
    world = visitor.desk.world
    assert "Nothing waits for a decision" in visitor.page("/")
    with world.store.write() as transaction:
        transaction.put(replace(box.stored(), status=DeviceStatus.HELD, held_code="ROLLED_BACK", held_because="x"))
    world.issue(days=20)
    page = visitor.page("/")
    assert page.index("Devices held") < page.index("Licences that end") < page.index("The fleet")
    assert "TPM counters went back" in page


def test_the_overview_asks_as_much_of_ten_thousand_boxes_as_of_one(
    visitor: ConsoleVisitor, box: EnrolledDevice
) -> None:
    """By statements; and no list is longer than its page."""
    engine, statements = visitor.desk.world.store.engine, list[str]()
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))

    def cost(path: str) -> int:
        statements.clear()
        with counted_queries() as count:
            page = visitor.page(path)
        assert page.count("<tr>") < 80
        return count.number + len(statements)

    few = {path: cost(path) for path in ("/", "/devices", "/devices?status=held")}
    grow_fleet(visitor.desk.world, 10_000)
    with engine.begin() as connection:
        connection.execute(text("UPDATE devices SET status = 'held' WHERE device_id LIKE '%7'"))
    assert {path: cost(path) for path in few} == few
    assert max(few.values()) <= 24
    page = visitor.page("/")
    assert len(re.findall(r'href="/devices/[0-9a-f]{64}-?[0-9]*">', page)) <= 2 * SHOWN
    assert "9,000" in page or "8,999" in page


def test_the_database_finds_what_waits_by_an_index(tmp_path: Path) -> None:
    """No statement of the overview walks through all rows of a large table's body.

    SQLite says so without rows; PostgreSQL plans by what it has counted.
    """
    world = LicenseWorld.create(tmp_path / "planned", database=DEFAULT_DATABASE)
    visitor, engine = ConsoleVisitor.open(world), world.store.engine
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            plan = connection.connection.driver_connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(row[3] for row in plan)

    event.listen(engine, "before_cursor_execute", explain)
    visitor.page("/")
    walked = [
        step for step in plans if re.match(r"SCAN (devices|leases|licenses|metering_\w+|device_firmware)\b", step)
    ]
    world.store.close()
    assert plans
    assert [step for step in walked if "COVERING INDEX" not in step] == []


def test_what_comes_from_others_is_as_it_came() -> None:
    listed = tomllib.loads((STATIC / "vendored.toml").read_text())
    assert set(listed) | {"once.js"} == {path.name for path in STATIC.glob("*.js")}
    for name, entry in listed.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == entry["sha256"]
        assert (STATIC / f"{entry['name']}.LICENSE.txt").exists()


def test_a_suspended_licence_is_offered_back(visitor: ConsoleVisitor, box: EnrolledDevice) -> None:
    path = f"/licenses/{box.license_.license_id}"
    assert f"{path}/suspend" in visitor.page(path)
    suspend_license(visitor.desk.world.store, OPERATOR, box.license_.license_id, now=visitor.desk.world.now)
    page = visitor.page(path)
    assert f"{path}/reinstate" in page
    assert f"{path}/suspend" not in page


def test_the_session_ends_with_the_logout(visitor: ConsoleVisitor) -> None:
    cookies = dict(visitor.client.cookies)
    assert visitor.send("/logout").headers["location"] == "/login?left=yes"
    again = ConsoleVisitor(visitor.desk, visitor.client)
    again.client.cookies.update(cookies)
    assert again.ask("/devices").status_code == 303


def test_wrong_tokens_do_not_log_in(world_desk: OperatorDesk) -> None:
    visitor = ConsoleVisitor.log_in(world_desk)
    visitor.client.cookies.clear()
    headers = PAGE | {"Origin": "https://operators.test"}
    reply = visitor.client.post("/login", data={"token": "swl_wrong"}, headers=headers)
    assert reply.status_code == 401
    assert "UNAUTHENTICATED" in reply.text
    assert "swl_wrong" not in reply.text
    assert (
        visitor.client.post("/login", data={"token": world_desk.tokens[Role.OPERATOR]}, headers=PAGE).status_code == 403
    )


@pytest.fixture
def world_desk(visitor: ConsoleVisitor) -> OperatorDesk:
    return visitor.desk


@pytest.mark.parametrize(
    "path",
    ["licenses/{}", "devices/{}", "decisions/{}", "releases/{}", "tokens/{}", "licenses/{}/suspend"],
)
def test_an_id_that_cannot_be_one_is_a_page(quiet: dict[Role, ConsoleVisitor], path: str) -> None:
    """PostgreSQL takes no NUL as text: it is not asked."""
    found = quiet[Role.OPERATOR].ask(f"/{path.format('a%00b')}")
    assert found.status_code == 400
    assert "text/html" in found.headers["content-type"]
