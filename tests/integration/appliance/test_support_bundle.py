"""The support bundle of a box with a TPM, a release and a lease; and of one whose state volume is closed."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.boot_result import load_boot_result
from sealwright_appliance.files import write_durably
from sealwright_policies.support import BoxPart, parse_support_bundle
from sealwright_policies.support_words import support_lines
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.running_box import RunningBox, running_box
from sealwright_testing.simulated_box import SimulatedVendor


@pytest.fixture(scope="module")
def served(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningBox, str]]:
    """A box that serves under a lease, and its administrator's key."""
    with running_box(vendor, tmp_path_factory.mktemp("box")) as box:
        yield box, box.serve()


def ask(box: RunningBox, key: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    with box.http() as client:
        return client.post("/admin/support", headers=headers)


def part(box: RunningBox, key: str = "") -> BoxPart:
    reply = ask(box, key)
    assert reply.status_code == httpx.codes.OK, reply.text
    return parse_support_bundle(reply.content).box


def test_it_says_what_runs_and_under_what(served: tuple[RunningBox, str]) -> None:
    """A right boot: nothing is missing, and nothing is found."""
    box, key = served
    told = part(box, key)
    identity, release = box.simulated.store.load_identity(), box.simulated.vendor.release
    assert identity is not None
    assert told.missing == []
    assert told.license_id == identity.license_id
    assert told.release is not None
    assert told.release.release_id == release.release_id
    assert told.tpm is not None
    assert told.tpm.tier is TpmTier.SOFTWARE
    assert bytes.fromhex(told.tpm.manufacturer).strip(b"\0") == b"IBM"
    assert told.tpm.clock_ms > 0
    assert told.appraisal is not None
    assert told.appraisal.findings == []
    assert [one.name for one in told.domains or []] == [one.name for one in release.manifest.domains]


def test_what_was_measured_behind_the_log_is_found(served: tuple[RunningBox, str]) -> None:
    """By the TPM, whatever the log says; told in words to whoever reads it."""
    box, key = served
    box.simulated.extend(12, bytes(32))
    reply = ask(box, key)
    told = parse_support_bundle(reply.content)
    assert told.box.appraisal is not None
    assert told.box.tpm is not None
    (found,) = told.box.appraisal.findings
    assert (found.code, found.pcr, found.found) == ("EVENT_LOG_REPLAY_MISMATCH", 12, told.box.tpm.pcrs["12"])
    assert any(line.startswith("boot      PCR 12: EVENT_LOG_REPLAY_MISMATCH (the log") for line in support_lines(told))


def test_a_damaged_log_leaves_the_rest(served: tuple[RunningBox, str]) -> None:
    box, key = served
    log = box.simulated.paths.firmware_log
    content = log.read_bytes()
    log.write_bytes(b"no log")
    try:
        told = part(box, key)
    finally:
        log.write_bytes(content)
    assert told.missing == ["appraisal"]
    assert told.tpm is not None


def test_a_box_whose_state_volume_is_closed_asks_for_no_key(served: tuple[RunningBox, str]) -> None:
    """There is none to hold one against; it tells nothing of the customer's, and not often."""
    box, key = served
    assert ask(box).status_code == httpx.codes.FORBIDDEN
    paths = box.simulated.paths
    open_ = load_boot_result(paths)
    closed = {"state": BoxState.LOCKED, "code": BoxCode.STATE_VOLUME, "state_volume_open": False}
    write_durably(paths.boot_result, document_bytes(open_.model_copy(update=closed)), mode=0o644)
    box.start_agent_behind_unlock()
    told = part(box)
    assert (told.boot.state, told.boot.code) == ("locked", "STATE_VOLUME")
    assert told.tpm is not None
    assert (told.license_id, told.keys, told.alarms, told.metering, told.lease) == (None, None, None, None, None)
    assert told.machine is not None
    assert told.machine.state_bytes is None
    assert {ask(box, key).status_code for _ in range(4)} == {httpx.codes.OK, httpx.codes.TOO_MANY_REQUESTS}
