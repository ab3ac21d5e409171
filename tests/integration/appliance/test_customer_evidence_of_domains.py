"""What `sealwright-box verify` says of the domains of a running box, their texts, and whom its gateway may call."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sealwright_appliance import customer_evidence
from sealwright_appliance.attempt_limiter import Rate
from sealwright_appliance.boot import BoxState
from sealwright_policies.domains.held_texts import TABLES
from sealwright_testing.domain_texts import SERVING, domain_text, open_anywhere, replaced
from sealwright_testing.flows import domains
from sealwright_testing.running_box import RunningBox, running_box
from sealwright_testing.simulated_box import SimulatedVendor

MEDICAL = open_anywhere(domain_text("medical", more=SERVING + "\n[retention]\nprompts_days = 7\n"))
FINANCE = open_anywhere(domain_text("finance"))
PEERS = ("10.20.0.0/24", "fd5e:a1ed::/64")


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """Of a release with two domains and two networks of other boxes."""
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"), domains(FINANCE, MEDICAL), peers=PEERS)
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def box(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBox]:
    """All tests ask it from one address."""
    with pytest.MonkeyPatch.context() as patched, running_box(vendor, tmp_path_factory.mktemp("box")) as running:
        patched.setattr(customer_evidence, "EACH", Rate(at_once=20, every_s=20.0))
        code = vendor.issue().activation_code
        assert running.post("/activation", claim_code=running.claim_code, activation_code=code).status_code == 200
        running.start_agent(BoxState.UNLOCKED, "The payloads are open.")
        yield running


def verify(box: RunningBox, *more: str | Path) -> subprocess.CompletedProcess[str]:
    vendor = box.simulated.vendor
    files = ("--service", vendor.service_file, "--manifest-key", vendor.image / "manifest-key.pem")
    known = ("--fingerprint", box.fingerprint, "--tier", "software")
    return box.command("verify", box.url, *map(str, (*files, *known, *more)))


def folder(directory: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (directory / f"{name}.toml").write_text(text)
    return directory


def test_texts_that_are_those_of_the_release_are_shown(box: RunningBox, tmp_path: Path) -> None:
    texts = folder(tmp_path, medical=f"# as the vendor gave it to us\n{MEDICAL}")
    done = verify(box, "--domains", texts)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert f"text      domain medical: that of {texts / 'medical.toml'}" in said
    assert "retention domain medical: prompts_days = 7, results_days = 0, logs_days = 0" in said
    assert any(line.startswith("api       domain medical: completions = true, embeddings = true") for line in said)
    (without,) = (line for line in said if line.startswith("text      domain finance: "))
    assert "not held against any" in without

    document = json.loads(verify(box, "--domains", texts, "--json").stdout)
    found = {one["name"]: one["text"] for one in document["domains"]}
    assert found["finance"] is None
    assert found["medical"].keys() == {"source", *TABLES}
    assert found["medical"]["api"]["logprobs"] == 5


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"medical": replaced(MEDICAL, "prompts_days = 7", "prompts_days = 0")}, "MANIFEST_MISMATCH"),
        ({"medical": MEDICAL, "finance": replaced(FINANCE, "somebody", "somebody else")}, "MANIFEST_MISMATCH"),
        ({"medical": MEDICAL, "registry": domain_text("registry")}, "DOMAIN_UNKNOWN"),
    ],
)
def test_a_text_that_is_not_the_boxs_fails_and_pins_nothing(
    box: RunningBox, texts: dict[str, str], code: str, tmp_path: Path
) -> None:
    pin = tmp_path / "box.pin"
    refused = verify(box, "--domains", folder(tmp_path, **texts), "--pin", pin)
    assert refused.returncode == 10, refused.stdout
    assert code in refused.stderr
    assert not pin.exists()


def test_a_folder_without_domains_is_a_mistake(box: RunningBox, tmp_path: Path) -> None:
    assert verify(box, "--domains", tmp_path).returncode == 2


def test_whom_the_gateway_may_call_is_shown(box: RunningBox) -> None:
    said = [line for line in verify(box).stdout.splitlines() if line.startswith("peers ")]
    more = "the gateway may call ports 8443 and 8444 there, and 8444 is open to it"
    assert said == [f"peers     {one}: {more}" for one in PEERS]
    assert json.loads(verify(box, "--json").stdout)["peers"] == list(PEERS)


def test_what_the_box_itself_sends_is_shown(box: RunningBox) -> None:
    """The port is that of this vendor's service."""
    said = verify(box).stdout.splitlines()
    told = [line.removeprefix("egress    the box itself: ") for line in said if line.startswith("egress    the box ")]
    assert told == json.loads(verify(box, "--json").stdout)["egress"]
    assert f"port {urlsplit(box.simulated.vendor.service.url).port}/tcp" in told[0]
