"""A box straight from the build: boots sealed, attests, unlocks, answers, ends, is wiped; and nobody logs in.

Its power is cut right behind a renewal, too, and its owner hands systemd a credential: that needs no other box.
"""

from __future__ import annotations

import openai
import pytest

from sealwright_testing import customer
from sealwright_testing.models import ModelStore
from sealwright_testing.scene import Scene
from sealwright_testing.smbios import INJECTED, injecting
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam]

RENEWED = "sealwright: renewal: ok"


def test_a_fresh_box_is_activated_and_answers_until_its_licence_is_revoked(scene: Scene) -> None:
    """Enrolment, appraisal, key release, unseal, dm-crypt, verity, engine, API: all of it, and affirming. A revocation
    arrives within a contact interval; the customer's data end as the customer orders."""
    issued = scene.vendor.issue_license("--renew-after", "20")
    box = scene.fresh_box(machine=injecting(TEST_MACHINE)).start()
    placard = customer.read_placard(box)
    secrets = customer.activate(box, placard, issued.activation_code)
    assert secrets["customer_key_pem"].startswith("-----BEGIN")
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)

    words = scene.vendor.device_words(placard.device_id)
    assert "affirming" in words
    with customer.colleague(box, secrets["api_key"], placard.tls_fingerprint) as client:
        for model, samples in ModelStore.load().samples().items():
            for sample in samples[:3]:
                assert customer.ask(client, model, sample.question) == sample.answer
        sample = ModelStore.load().samples()["finance"][0]
        chunks = client.chat.completions.create(
            model="finance", messages=[{"role": "user", "content": sample.question}], temperature=0, stream=True
        )
        assert (
            "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices).strip() == sample.answer
        )
    with (
        pytest.raises(openai.AuthenticationError),
        customer.colleague(box, "sw-" + "x" * 43, placard.tls_fingerprint) as stranger,
    ):
        customer.ask(stranger, "medical", "What is metformin?")

    # The agent is not root, and reads the customer's record all the same.
    assert customer.approvals(box)["releases"] == [customer.status(box)["release"]["release_id"]]

    # The claim is spent: whoever has the codes now gets nothing.
    again = customer.post_activation(box, placard.claim_code, issued.activation_code)
    assert (again.status_code, again.json()["code"]) == (409, "CLAIM_SPENT")
    customer.verify(box, placard, scene.vendor)
    console = box.console.text
    assert "login:" not in console
    assert secrets["api_key"] not in console

    renewals = box.console.text.count(RENEWED)
    box.wait_until(lambda: box.console.text.count(RENEWED) > renewals, "one more renewal")
    cut_off = scene.boxes.enter_context(box.as_cut_off(scene.directory / "cut-off"))

    scene.vendor.revoke(issued.license_id)
    reason = box.expect("sealwright: state ended: (.*)")
    assert reason.startswith("REVOKED")
    with customer.colleague(box, secrets["api_key"], placard.tls_fingerprint) as client:
        refusal = customer.refusal(client, "medical")
    assert (refusal.status_code, refusal.code) == (503, "REVOKED")

    customer.wipe(box, placard, secrets)
    box.expect("sealwright: wipe: done as the customer ordered")
    anew = customer.read_placard(box)
    assert anew.device_id == placard.device_id
    assert anew.tls_fingerprint != placard.tls_fingerprint
    assert anew.claim_code != placard.claim_code
    # systemd would have done as root what SMBIOS says, and no PCR shows it; the signed command line imports nothing.
    # The test image, which imports, does it (redteam/test_inside.py).
    assert INJECTED not in box.console.text
    box.kill()
    serves_alone(cut_off, secrets["api_key"], placard.tls_fingerprint)


def serves_alone(box: VirtualBox, api_key: str, tls_fingerprint: str) -> None:
    """A box whose power was cut behind a renewal, which changed the TPM's counter, has a lease that fits, though its
    service is away."""
    box.with_machine(isolated=True).start()
    box.expect("sealwright: state serving: ", failures="sealwright: state (locked|ended)")
    customer.wait_for_https(box)
    sample = ModelStore.load().samples()["medical"][0]
    with customer.colleague(box, api_key, tls_fingerprint) as client:
        assert customer.ask(client, "medical", sample.question) == sample.answer
    assert customer.status(box)["lease"]["number"] >= 2
