"""What operators change: once, only as they saw it, within their licences, and with an entry in the journal."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from sealwright_licensing.metering_records import MeteringChain
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.records import ActivationCodeRecord, License
from sealwright_policies.errors import RejectionCode
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.license_checks import count
from sealwright_testing.license_world import PRODUCT, LicenseWorld
from sealwright_testing.operator_desk import OPERATOR, OperatorDesk, Reply, problem_code

WANTED = {"product": PRODUCT, "tiers": ["software"], "seats": 2, "days": 30, "note": "病房 3"}


@pytest.fixture
def desk(world: LicenseWorld) -> OperatorDesk:
    return OperatorDesk.open(world)


def post(desk: OperatorDesk, path: str, body: Any = None, *, key: str = "", tag: str = "", **more: Any) -> Reply:
    """Ask for a change."""
    headers = ({"Idempotency-Key": key} if key else {}) | ({"If-Match": tag} if tag else {})
    content = {} if body is None else {"json": body}
    return desk.ask(path, method=more.pop("method", "POST"), headers=headers, **content, **more)


def test_a_licence_that_is_issued_opens_a_box(desk: OperatorDesk) -> None:
    issued = post(desk, "/licenses", WANTED, key="key-0001")
    assert issued.status_code == 201
    shown = issued.json()["license"]
    assert {name: shown[name] for name in WANTED if name != "days"} == {n: v for n, v in WANTED.items() if n != "days"}
    assert shown["expires_at"] - shown["starts_at"] == 30 * 86_400
    first, second = issued.json()["activation_codes"]
    assert first != second
    desk.world.enroll(desk.world.device(), first)
    assert desk.get(f"/licenses/{shown['license_id']}")["seats_taken"] == 1


def test_the_same_request_again_issues_nothing(desk: OperatorDesk) -> None:
    """The answer names the licence and shows no code; another body under that key is refused, another asker is not."""
    issued = post(desk, "/licenses", WANTED, key="key-0001").json()
    again = post(desk, "/licenses", WANTED, key="key-0001")
    assert again.status_code == 200
    assert again.json() == {"license": issued["license"], "activation_codes": []}
    changed = post(desk, "/licenses", WANTED | {"seats": 3}, key="key-0001")
    assert problem_code(changed, 409) == "IDEMPOTENCY_KEY_REUSED"
    other = desk.token("other", Role.OPERATOR)
    assert post(desk, "/licenses", WANTED, key="key-0001", token=other).status_code == 201
    assert count(desk.world, License) == 2


def test_a_change_that_is_sent_again_is_known_by_its_key_before_its_tag(desk: OperatorDesk) -> None:
    license_, _ = desk.world.issue()
    path = f"/licenses/{license_.license_id}"
    tag = desk.ask(path).headers["ETag"]
    answers = [post(desk, f"{path}/renew", {"days": 10}, key="key-0001", tag=tag) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json()["expires_at"] == answers[1].json()["expires_at"] == license_.expires_at + 10 * 86_400


def test_of_eight_at_once_one_issues(desk: OperatorDesk) -> None:
    seen: list[int] = []

    def run() -> None:
        seen.append(post(desk, "/licenses", WANTED, key="key-0001").status_code)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [200] * 7 + [201]
    assert count(desk.world, License) == 1


def test_what_must_not_happen_twice_needs_a_key(desk: OperatorDesk) -> None:
    license_, _ = desk.world.issue()
    for path, body in (
        ("/licenses", WANTED),
        (f"/licenses/{license_.license_id}/codes", None),
        (f"/licenses/{license_.license_id}/renew", {"days": 1}),
    ):
        for key in ("", "short", "a b c d e", "x" * 129):
            assert problem_code(post(desk, path, body, key=key), 400) == "MALFORMED"
    assert count(desk.world, License) == 1


def test_codes_and_renewals_are_made_once(desk: OperatorDesk) -> None:
    license_, _ = desk.world.issue()
    path = f"/licenses/{license_.license_id}"
    code = post(desk, f"{path}/codes", key="key-code-1").json()["activation_code"]
    assert code
    assert post(desk, f"{path}/codes", key="key-code-1").json()["activation_code"] is None
    assert count(desk.world, ActivationCodeRecord) == 2
    for _ in range(2):
        renewed = post(desk, f"{path}/renew", {"days": 10}, key="key-renew").json()
        assert renewed["expires_at"] == license_.expires_at + 10 * 86_400


def test_a_change_that_fails_uses_up_no_key(desk: OperatorDesk) -> None:
    license_, _ = desk.world.issue()
    path = f"/licenses/{license_.license_id}"
    post(desk, f"{path}/revoke")
    assert problem_code(post(desk, f"{path}/renew", {"days": 10}, key="key-renew"), 409) == "NOT_POSSIBLE"
    assert problem_code(post(desk, f"{path}/renew", {"days": 10}, key="key-renew"), 409) == "NOT_POSSIBLE"


def test_terms_and_status_change(desk: OperatorDesk) -> None:
    license_, _ = desk.world.issue()
    path = f"/licenses/{license_.license_id}"
    changed = post(desk, path, {"seats": 7, "domains": ["b", "a"], "overage": "1.5"}, method="PATCH").json()
    assert (changed["seats"], changed["domains"], changed["seat_limit"]) == (7, ["a", "b"], 10)
    assert post(desk, f"{path}/set-floor", {"version": "2.1"}).json()["version_floor"] == "2.1"
    assert problem_code(post(desk, f"{path}/set-floor", {"version": "2.0"}), 409) == "NOT_POSSIBLE"
    assert post(desk, f"{path}/set-floor", {"version": "2.0", "lower": True}).status_code == 200
    assert post(desk, f"{path}/suspend").json()["status"] == "suspended"
    assert post(desk, f"{path}/reinstate", {}).json()["status"] == "active"
    assert post(desk, f"{path}/revoke").json()["status"] == "revoked"
    assert problem_code(post(desk, f"{path}/reinstate"), 409) == "NOT_POSSIBLE"
    assert problem_code(post(desk, path, {}, method="PATCH"), 409) == "NOT_POSSIBLE"


def test_a_change_is_refused_if_somebody_was_faster(desk: OperatorDesk) -> None:
    """If-Match names what one saw; what came between is seen in the transaction itself."""
    license_, _ = desk.world.issue()
    path = f"/licenses/{license_.license_id}"
    tag = desk.ask(path).headers["etag"]
    suspend_license(desk.world.store, OPERATOR, license_.license_id, now=desk.world.now)
    assert problem_code(post(desk, f"{path}/revoke", tag=tag), 412) == "PRECONDITION_FAILED"
    assert problem_code(post(desk, f"{path}/revoke", tag="W/x"), 400) == "MALFORMED"
    assert desk.get(path)["status"] == "suspended"
    assert post(desk, f"{path}/revoke", tag=desk.ask(path).headers["etag"]).status_code == 200


def test_a_device_is_transferred_retired_and_resumed(desk: OperatorDesk) -> None:
    box = EnrolledDevice.enroll(desk.world)
    path = f"/devices/{box.device.device_id}"
    assert post(desk, f"{path}/resume").json()["status"] == "live"
    moved = post(desk, f"{path}/transfer", {"at_once": True}, key="key-transfer")
    assert (moved.status_code, moved.json()["device"]["status"]) == (201, "retired")
    again = post(desk, f"{path}/transfer", {"at_once": True}, key="key-transfer")
    assert (again.status_code, again.json()["activation_code"]) == (200, None)
    desk.world.enroll(desk.world.device(1), moved.json()["activation_code"])
    assert problem_code(post(desk, f"{path}/retire"), 404) == "DEVICE_UNKNOWN"
    other = f"/devices/{desk.world.device(1).device_id}"
    assert problem_code(post(desk, f"{other}/approve-firmware", {"digest": "5e" * 32}), 409) == "NOT_POSSIBLE"
    assert post(desk, f"{other}/retire").json()["status"] == "retired"


def test_a_release_is_withdrawn(desk: OperatorDesk) -> None:
    box = EnrolledDevice.enroll(desk.world)
    (release,) = desk.get("/releases")["items"]
    assert post(desk, f"/releases/{release['release_id']}/withdraw").json()["withdrawn"] is True
    denied(RejectionCode.RELEASE_NOT_ALLOWED, box.ask)


def test_who_did_what_stands_in_the_journal(desk: OperatorDesk) -> None:
    license_, _ = desk.world.issue()
    post(desk, f"/licenses/{license_.license_id}/suspend")
    desk.world.now += 1
    post(desk, f"/licenses/{license_.license_id}/set-floor", {"version": "2"})
    listed = desk.get(f"/operations?subject={license_.license_id}&actor_kind=token")["items"]
    assert [(one["operation"], one["actor"]) for one in listed] == [
        ("license.set-floor", "operator"), ("license.suspend", "operator"),
    ]  # fmt: skip
    assert listed[0]["detail"] == {"from": "0", "to": "2"}


def test_a_bound_token_changes_its_licences_alone(desk: OperatorDesk) -> None:
    own, _ = desk.world.issue()
    other, (other_code,) = desk.world.issue()
    desk.world.enroll(desk.world.device(1), other_code)
    token = desk.token("bound", Role.OPERATOR, licenses=[own.license_id])
    assert post(desk, f"/licenses/{own.license_id}/suspend", token=token).status_code == 200
    assert problem_code(post(desk, f"/licenses/{other.license_id}/suspend", token=token), 404) == "LICENSE_UNKNOWN"
    foreign = f"/devices/{desk.world.device(1).device_id}/retire"
    assert problem_code(post(desk, foreign, token=token), 404) == "DEVICE_UNKNOWN"
    assert problem_code(post(desk, "/licenses", WANTED, key="key-0001", token=token), 403) == "FORBIDDEN"
    for path, body in (("renew", {"days": 10}), ("set-floor", {"version": "0", "lower": True})):
        answer = post(desk, f"/licenses/{own.license_id}/{path}", body, key="key-0002", token=token)
        assert problem_code(answer, 403) == "FORBIDDEN", path
    widened = post(desk, f"/licenses/{own.license_id}", {"seats": 9}, method="PATCH", token=token)
    assert problem_code(widened, 403) == "FORBIDDEN"
    assert desk.get(f"/licenses/{other.license_id}")["status"] == "active"


def test_a_bound_token_settles_no_metering_of_another_licence(desk: OperatorDesk) -> None:
    """The device has come to its licence; what it served before was counted under another one."""
    (own, (code,)), (other, _) = desk.world.issue(), desk.world.issue()
    device = desk.world.device()
    desk.world.enroll(device, code)
    chains = [MeteringChain(device.device_id, one * 32, license_.license_id, "", 0, 0, "", 0, 0, 0, True, 0)
              for one, license_ in (("a", own), ("b", other))]  # fmt: skip
    with desk.world.store.write() as transaction:
        for chain in chains:
            transaction.add(chain)
    token = desk.token("bound", Role.OPERATOR, licenses=[own.license_id])
    paths = [f"/metering/{device.device_id}/{one.chain_id}/settle" for one in chains]
    assert post(desk, paths[0], {"count": True}, token=token).json() == {"receipts": 0, "counted": True, "left": 0}
    assert problem_code(post(desk, paths[1], {"count": True}, token=token), 404) == "METERING_CHAIN"


def test_bodies_are_strict(desk: OperatorDesk) -> None:
    bodies: tuple[Any, ...] = (
        WANTED | {"unknown": 1},
        WANTED | {"seats": "2"},
        WANTED | {"seats": 0},
        WANTED | {"seats": 2**64},
        WANTED | {"tiers": []},
        WANTED | {"tiers": ["gold"]},
        WANTED | {"note": "\0"},
        WANTED | {"features": ["A B"]},
        {"tiers": ["software"]},
        [],
    )
    for body in bodies:
        assert problem_code(post(desk, "/licenses", body, key="key-0001"), 400) == "MALFORMED", body
    assert problem_code(post(desk, "/licenses", WANTED | {"lease_days": 1, "renew_after_s": 86_401}, key="key-0001"),
                        409) == "NOT_POSSIBLE"  # fmt: skip
    assert count(desk.world, License) == 0
