"""What boxes say to each other, and what they keep of it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from pydantic import BaseModel

from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.peer_link import parse_peer_address
from sealwright_policies.domains.canonical import canonical_form, parse_canonical_form
from sealwright_policies.domains.entrusted import entrusted_bytes, entrusted_text, parse_entrusted
from sealwright_policies.flows.documents import FLOW_MESSAGE_LIMIT, FlowHello, FlowOffer, FlowStatement, FlowWelcome
from sealwright_policies.flows.record import parse_record
from sealwright_policies.flows.report import FlowReport
from sealwright_policies.flows.verification import parse_terms
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_testing.domain_texts import parse
from sealwright_testing.flow_texts import RECORDS
from sealwright_testing.flow_vectors import record_of, terms
from sealwright_testing.flows import Exchange
from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.parsers.parser import Parser, of_text


def of_flows(world: LicenseWorld) -> Iterable[Parser]:
    """Any machine that reaches the port may send them."""
    exchange = Exchange.between(world)
    welcome, offer = exchange.welcome(), exchange.offer()

    def judge_welcome(raw: bytes) -> object:
        return exchange.verify_receiver(parse_json(FlowWelcome, raw, limit=FLOW_MESSAGE_LIMIT))

    def judge_offer(raw: bytes) -> object:
        return exchange.verify_offer(parse_json(FlowOffer, raw, limit=FLOW_MESSAGE_LIMIT))

    yield Parser("flow welcome", judge_welcome, (document_bytes(welcome),))
    yield Parser("flow offer", judge_offer, (document_bytes(offer),))
    receipt = document_bytes(exchange.receipt(offer.terms))
    yield Parser("FlowStatement", partial(_parse_document, FlowStatement), (receipt,))
    report = FlowReport(
        device_id=exchange.hello.device_id, license_id="license-1", release_id="7e" * 32, nonce=bytes(32),
        records=[record_of().content], evidence=offer.party.box.evidence,
    )  # fmt: skip
    yield Parser("FlowReport", partial(_parse_document, FlowReport), (document_bytes(report),))
    yield Parser("FlowHello", partial(_parse_document, FlowHello), (document_bytes(exchange.hello),))
    yield Parser("flow terms", parse_terms, (document_bytes(terms()),))
    yield Parser("flow record", parse_record, (record_of().content,))
    addresses = (b"https://192.0.2.7:8443", b"https://[::1]")
    yield Parser("peer address", of_text(parse_peer_address), addresses, ApiError)
    records = parse(RECORDS).domain
    entrusted = entrusted_bytes(entrusted_text("records", {"records": records}))
    yield Parser("entrusted text", parse_entrusted, (entrusted,))
    yield Parser("canonical form", parse_canonical_form, (canonical_form(records),))


def _parse_document(kind: type[BaseModel], raw: bytes) -> object:
    return parse_json(kind, raw, limit=FLOW_MESSAGE_LIMIT)
