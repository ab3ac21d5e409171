"""What one box demands of another before a byte of a file goes over; for real TPMs see tests/integration/flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sealwright_policies.appraisal.reference_values import QUOTE_SET
from sealwright_policies.errors import FormatError, VerificationError
from sealwright_policies.flows.documents import FlowStatement, FlowTerms, FlowWelcome
from sealwright_policies.flows.payloads import receipt_payload
from sealwright_policies.flows.verification import content_key_policy, verify_receipt
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.messages import Purpose
from sealwright_testing.domain_texts import replaced
from sealwright_testing.evidence_factory import userspace_events
from sealwright_testing.flow_texts import ANY_TPM, RECORDS, TRAINING
from sealwright_testing.flows import CONTENT_KEY, NONCE_A, NONCE_B, Exchange, Party, chained_box
from sealwright_testing.license_world import LicenseWorld

RETENTION = "\n[retention]\nresults_days = {}\n"


@pytest.fixture
def exchange(world: LicenseWorld) -> Exchange:
    """Two boxes of one release whose domains chain."""
    return Exchange.between(world)


def two_boxes(world: LicenseWorld, records: str = RECORDS, training: str = TRAINING, **changes: Any) -> Exchange:
    """Two boxes of one release that says something else, whatever its build thought of that."""
    box = chained_box(records, training, **changes)
    sender, receiver = (Party(world, box, number, (records, training)) for number in (1, 2))
    return Exchange(sender, receiver)


def refused(exchange: Exchange, code: str) -> None:
    """Each side refuses the other."""
    with pytest.raises(VerificationError, match=code):
        exchange.verify_receiver()
    with pytest.raises(VerificationError, match=code):
        exchange.verify_offer()


def test_two_boxes_whose_domains_chain_believe_each_other(exchange: Exchange) -> None:
    receiver = exchange.verify_receiver()
    sender, terms = exchange.verify_offer()
    assert receiver.box.device.device_id == exchange.receiver.device.device_id
    assert sender.box.device.device_id == exchange.sender.device.device_id
    assert terms == exchange.terms()


def test_the_wrapped_key_is_for_the_receivers_storage_key(exchange: Exchange) -> None:
    wrapped = exchange.offer().wrapped
    blob = (wrapped.public, wrapped.duplicate, wrapped.encrypted_seed)
    assert exchange.receiver.device.import_share(*blob) == CONTENT_KEY
    with pytest.raises(ValueError, match="INTEGRITY"):
        exchange.sender.device.import_share(*blob)


@pytest.mark.parametrize(
    ("records", "training", "code"),
    [
        (replaced(RECORDS, '["raw"]', '["metrics"]'), TRAINING, "DOMAIN_NOT_CHAINED"),
        (RECORDS, replaced(TRAINING, '["raw"]', '["metrics"]'), "DOMAIN_NOT_CHAINED"),
        (RECORDS, replaced(TRAINING, '"confidential"', '"internal"'), "DOMAIN_EXCEEDS_LEVEL"),
        (RECORDS, TRAINING + RETENTION.format(1), "DOMAIN_EXCEEDS_CHAIN"),
        (RECORDS + RETENTION.format(999), TRAINING + RETENTION.format(999), "DOMAIN_EXCEEDS_LEVEL"),
        (RECORDS, replaced(TRAINING, '"1.0"', '"1.3"'), "VERSION_BELOW_FLOOR"),
        (RECORDS, replaced(TRAINING, '"2.0"', '"1.2"'), "RELEASE_NOT_ALLOWED"),
        (RECORDS, replaced(TRAINING, ANY_TPM[1], '["discrete"]'), "TIER_NOT_ALLOWED"),
        (RECORDS, replaced(TRAINING, "features = []", 'features = ["training"]'), "NOT_ENTITLED"),
    ],
)
def test_domains_that_say_no_let_nothing_pass(world: LicenseWorld, records: str, training: str, code: str) -> None:
    refused(two_boxes(world, records, training), code)


def test_a_licence_feature_is_shown_by_the_device_certificate(world: LicenseWorld) -> None:
    """Each side demands it of the other."""
    exchange = two_boxes(world, RECORDS, replaced(TRAINING, "features = []", 'features = ["training"]'))
    exchange.receiver.features = ("training",)
    exchange.verify_receiver()
    with pytest.raises(VerificationError, match="NOT_ENTITLED"):
        exchange.verify_offer()
    exchange.sender.features = ("serving", "training")
    exchange.verify_offer()


def test_a_release_without_the_domains_is_refused(world: LicenseWorld) -> None:
    """A third box of the same vendor whose image was built for something else."""
    exchange = Exchange.between(world)
    other = chained_box(TRAINING)
    other.manifest_key = exchange.sender.box.manifest_key
    other.__post_init__()
    exchange.receiver = Party(world, other, 3)
    with pytest.raises(VerificationError, match=r"DOMAIN_UNKNOWN.*the other box"):
        exchange.verify_receiver()
    exchange = Exchange(Party(world, other, 3), Party(world, exchange.sender.box, 2))
    with pytest.raises(VerificationError, match=r"DOMAIN_UNKNOWN.*the other box"):
        exchange.verify_offer()


def test_a_release_that_means_something_else_by_the_name_is_refused(world: LicenseWorld) -> None:
    """Its domain of the same name would chain as well, and be within the other; but it is another one."""
    exchange = Exchange.between(world)
    tighter = replaced(TRAINING, '"2.0"', '"1.9"')
    other = chained_box(RECORDS, tighter)
    other.manifest_key = exchange.sender.box.manifest_key
    other.__post_init__()
    exchange.receiver = Party(world, other, 3, (RECORDS, tighter))
    with pytest.raises(VerificationError, match=r"MANIFEST_MISMATCH.*this box"):
        exchange.verify_receiver()
    exchange.receiver.texts = (RECORDS, TRAINING)
    with pytest.raises(VerificationError, match=r"MANIFEST_MISMATCH.*the other box"):
        exchange.verify_receiver()


def test_a_release_of_another_vendor_is_refused(world: LicenseWorld) -> None:
    exchange = Exchange.between(world)
    exchange.receiver = Party(world, chained_box(), 2)
    with pytest.raises(VerificationError, match="DOCUMENT_SIGNATURE"):
        exchange.verify_receiver()


def test_a_box_that_was_changed_is_refused(exchange: Exchange) -> None:
    """Whatever else ran before the system was up is in its quote."""
    changed: dict[str, Any] = {"userspace": [(11, "planted"), *userspace_events()]}
    with pytest.raises(VerificationError, match="BOOT_PHASE"):
        exchange.verify_receiver(exchange.welcome(**changed))
    with pytest.raises(VerificationError, match="BOOT_PHASE"):
        exchange.verify_offer(exchange.offer(**changed))


def test_somebody_in_between_is_refused(exchange: Exchange) -> None:
    """He passes on what the true box says, and has another TLS certificate."""
    with pytest.raises(VerificationError, match=r"QUALIFYING_DATA_MISMATCH.*in between"):
        exchange.verify_receiver(fingerprint=bytes(32))
    with pytest.raises(VerificationError, match=r"QUALIFYING_DATA_MISMATCH.*in between"):
        exchange.verify_offer(fingerprint=bytes(32))
    with pytest.raises(VerificationError, match=r"QUALIFYING_DATA_MISMATCH.*in between"):
        exchange.verify_offer(own_fingerprint=bytes(32))


def test_another_box_than_the_named_one_is_refused(exchange: Exchange) -> None:
    with pytest.raises(VerificationError, match="DEVICE_UNKNOWN"):
        exchange.verify_receiver(device_id="a" * 52)
    exchange.receiver = exchange.sender
    with pytest.raises(VerificationError, match="DEVICE_UNKNOWN"):
        exchange.verify_receiver()


def test_a_device_certificate_that_has_ended_is_refused(exchange: Exchange) -> None:
    exchange.now += 4000
    refused(exchange, "LEASE_EXPIRED")


def again(exchange: Exchange, welcome: FlowWelcome) -> FlowWelcome:
    """A welcome of another day: made for another nonce."""
    payload = welcome.party.box.evidence.payload
    return welcome.model_copy(update={"party": exchange.receiver.show(NONCE_B, payload)})


def other_answer(_: Exchange, welcome: FlowWelcome) -> FlowWelcome:
    """The same, with a nonce of somebody else's for the offer."""
    return welcome.model_copy(update={"nonce": bytes(32)})


@pytest.mark.parametrize("change", [again, other_answer])
def test_a_welcome_that_was_made_for_another_hello_is_refused(
    exchange: Exchange, change: Callable[[Exchange, FlowWelcome], FlowWelcome]
) -> None:
    with pytest.raises(VerificationError, match="QUALIFYING_DATA_MISMATCH"):
        exchange.verify_receiver(change(exchange, exchange.welcome()))


def test_an_offer_whose_terms_or_key_were_changed_is_refused(exchange: Exchange) -> None:
    offer = exchange.offer()
    changed = {
        "terms": document_bytes(exchange.terms(name="another.csv")),
        "wrapped": exchange.offer().wrapped,
        "nonce": NONCE_A,
    }
    for name, value in changed.items():
        with pytest.raises(VerificationError, match="QUALIFYING_DATA_MISMATCH"):
            exchange.verify_offer(offer.model_copy(update={name: value}))


def wrong_terms(exchange: Exchange) -> dict[str, FlowTerms]:
    """Terms that a sender signs, and a receiver does not take."""
    sender, receiver = exchange.sender.side(0), exchange.receiver.side(1)
    return {
        "to another": exchange.terms(receiver=receiver.model_copy(update={"device_id": "a" * 52})),
        "from another": exchange.terms(sender=sender.model_copy(update={"device_id": "a" * 52})),
        "other domain": exchange.terms(receiver=receiver.model_copy(update={"domain": "clinic"})),
        "other digest": exchange.terms(sender=sender.model_copy(update={"domain_digest": "00" * 32})),
        "other licence": exchange.terms(receiver=receiver.model_copy(update={"license_id": "license-2"})),
    }


@pytest.mark.parametrize("name", ["to another", "from another", "other domain", "other digest", "other licence"])
def test_terms_that_are_of_others_are_refused(exchange: Exchange, name: str) -> None:
    with pytest.raises(VerificationError, match="FLOW_MISMATCH"):
        exchange.verify_offer(exchange.offer(wrong_terms(exchange)[name]))


def test_terms_have_one_spelling_and_a_form_that_fits(exchange: Exchange) -> None:
    with pytest.raises(ValueError, match="data-set flows as raw"):
        exchange.terms(form="adapter")
    adapter = exchange.offer(exchange.terms(form="adapter", kind="adapter"))
    with pytest.raises(VerificationError, match="DOMAIN_NOT_CHAINED"):
        exchange.verify_offer(adapter)


def test_a_storage_key_that_hangs_elsewhere_is_refused(exchange: Exchange) -> None:
    """A key whose private part somebody has outside of the TPM, certified below a parent of his own."""
    welcome = exchange.welcome()
    device = exchange.receiver.device
    payload = welcome.party.box.evidence.payload
    bound = device.bound(nonce=NONCE_A, license_id="license-1", purpose=Purpose.FLOW, payload=payload)
    foreign = device.ak.certify(welcome.party.srk_public, extra=bound, parent=0x4000000B, clock=device.clock)
    party = welcome.party.model_copy(update={"srk_certify": foreign})
    with pytest.raises(VerificationError, match="SRK_HIERARCHY"):
        exchange.verify_receiver(welcome.model_copy(update={"party": party}))


def test_a_receipt_is_for_these_terms_this_boot_and_this_nonce(exchange: Exchange) -> None:
    peer, terms = exchange.verify_receiver(), document_bytes(exchange.terms())
    verify_receipt(exchange.receipt(terms), terms, peer, nonce=NONCE_A)
    other = document_bytes(exchange.terms(name="another.csv"))
    receipt = exchange.receipt(terms)
    changed = (
        exchange.receipt(other),
        exchange.receiver.statement(NONCE_B, receipt_payload(terms)),
        receipt.model_copy(update={"pcrs": receipt.pcrs | {"4": "00" * 32}}),
    )
    for one in changed:
        with pytest.raises(VerificationError, match="FLOW_MISMATCH"):
            verify_receipt(one, terms, peer, nonce=NONCE_A)
    with pytest.raises(VerificationError, match="SIGNATURE_INVALID"):
        verify_receipt(by_another(exchange, terms), terms, peer, nonce=NONCE_A)


def by_another(exchange: Exchange, terms: bytes) -> FlowStatement:
    """The sender's own quote, for its own receipt."""
    quote = exchange.sender.statement(NONCE_A, receipt_payload(terms)).quote
    return exchange.receipt(terms).model_copy(update={"quote": quote})


def test_a_domain_has_one_spelling(exchange: Exchange) -> None:
    welcome = exchange.welcome()
    spaced = [one.replace(b":", b": ", 1) for one in welcome.party.domains]
    party = welcome.party.model_copy(update={"domains": spaced})
    with pytest.raises(FormatError, match="canonical"):
        exchange.verify_receiver(welcome.model_copy(update={"party": party}))


def test_domains_in_another_order_are_refused(exchange: Exchange) -> None:
    welcome: FlowWelcome = exchange.welcome()
    party = welcome.party.model_copy(update={"domains": welcome.party.domains[::-1]})
    with pytest.raises(VerificationError, match="FLOW_MISMATCH"):
        exchange.verify_receiver(welcome.model_copy(update={"party": party}))


@pytest.mark.parametrize("pcr", [0, 2, 4, 7, 9, 11, 12, 13, 14, 15])
def test_a_content_key_opens_on_no_other_firmware_and_in_no_other_release(pcr: int) -> None:
    """A lease binds the same, so a box that could not renew does not open what was sent to it."""
    quoted = {number: bytes([number]) * 32 for number in QUOTE_SET}
    assert content_key_policy(quoted) != content_key_policy(quoted | {pcr: bytes(32) if pcr else b"1" * 32})
