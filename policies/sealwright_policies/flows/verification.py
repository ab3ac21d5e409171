"""What each side demands of the other before a byte of a file goes over (policies/spec/domain-flow.md, 4, 5 and 8)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sealwright_policies.appraisal.box_evidence import TrustAnchors, VerifiedBox, verify_shown
from sealwright_policies.appraisal.reference_values import QUOTE_SET, Manifest
from sealwright_policies.domains.canonical import domain_digest, parse_canonical_form
from sealwright_policies.domains.model import Form
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.flows.documents import (
    TERMS_LIMIT,
    FlowHello,
    FlowOffer,
    FlowParty,
    FlowSide,
    FlowStatement,
    FlowTerms,
    FlowWelcome,
)
from sealwright_policies.flows.payloads import receipt_payload, receiver_payload, sender_payload
from sealwright_policies.flows.permission import (
    DomainPair,
    require_chained,
    require_declared,
    require_opening,
)
from sealwright_policies.tcg.attestation import verify_certify, verify_quote
from sealwright_policies.tcg.policy import EMPTY_POLICY, CommandCode, policy_command_code, policy_pcr
from sealwright_policies.tcg.public import Public, parse_public
from sealwright_policies.tcg.srk import matches_listed_template
from sealwright_policies.wire.encoding import document_bytes, parse_json, pcr_bytes
from sealwright_policies.wire.framing import qualifying_data
from sealwright_policies.wire.messages import Purpose

KEY_SET = (0, 2, 4, 7, 9, 11, 12, 13, 14, 15)
"""PCRs to which the content key is bound: firmware and its drivers, as a lease binds them, and all of the release."""


@dataclass(frozen=True, slots=True)
class Ourselves:
    """What a box knows of itself."""

    anchors: TrustAnchors
    manifest: Manifest
    device_id: str
    license_id: str
    release_id: str

    def side(self, name: str, digest: bytes) -> FlowSide:
        """As terms name it."""
        return FlowSide(
            device_id=self.device_id,
            license_id=self.license_id,
            release_id=self.release_id,
            domain=name,
            domain_digest=digest.hex(),
        )


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """The other box, behind all that section 4 demands."""

    box: VerifiedBox
    ak: Public
    srk: Public
    pair: DomainPair

    @property
    def key_policy(self) -> bytes:
        """Under which a content key is wrapped to it, 32 bytes: its TPM, as it runs now."""
        return content_key_policy(self.box.result.pcrs)

    def side(self, name: str, digest: bytes) -> FlowSide:
        """As terms name it."""
        device = self.box.device
        return FlowSide(
            device_id=device.device_id,
            license_id=device.license_id,
            release_id=self.box.release.release_id,
            domain=name,
            domain_digest=digest.hex(),
        )


def content_key_policy(pcrs: Mapping[int, bytes]) -> bytes:
    """PolicyPCR over :data:`KEY_SET` and PolicyCommandCode(Unseal), 32 bytes."""
    return policy_command_code(policy_pcr(EMPTY_POLICY, {pcr: pcrs[pcr] for pcr in KEY_SET}), CommandCode.UNSEAL)


def verify_receiver(
    welcome: FlowWelcome, hello: FlowHello, us: Ourselves, *, device_id: str, form: Form, fingerprint: bytes, now: int
) -> VerifiedPeer:
    """The sender verifies the receiver.

    Args:
        welcome: as received.
        hello: that it answers.
        us: the sender.
        device_id: of the box that the administrator named.
        form: in which the file flows.
        fingerprint: SHA-256 of the certificate, DER, of the connection; 32 bytes.
        now: seconds since the epoch.

    Raises:
        FormatError, UnsupportedError: a document or structure that is none of ours.
        VerificationError: with the first thing that is wrong.
    """
    payload = receiver_payload(fingerprint, welcome.nonce, hello)
    box = verify_shown(
        welcome.party.box, us.anchors, nonce=hello.nonce, payload=payload, purpose=Purpose.FLOW, now=now
    )  # (1)
    return _verify_peer(welcome.party, box, us, hello, device_id=device_id, form=form, nonce=hello.nonce)


def verify_offer(
    offer: FlowOffer, hello: FlowHello, us: Ourselves, *, fingerprint: bytes, own_fingerprint: bytes, now: int
) -> tuple[VerifiedPeer, FlowTerms]:
    """The receiver verifies the sender and what it offers.

    Args:
        offer: as received; that its nonce was given in answer to ``hello`` is the caller's to know.
        hello: as it was answered.
        us: the receiver.
        fingerprint: SHA-256 of the certificate in the offer, DER; 32 bytes.
        own_fingerprint: of the receiver's own.
        now: seconds since the epoch.

    Raises:
        FormatError, UnsupportedError: a document or structure that is none of ours.
        VerificationError: with the first thing that is wrong.
    """
    payload = sender_payload(fingerprint, own_fingerprint, offer.terms, offer.wrapped)
    box = verify_shown(offer.party.box, us.anchors, nonce=offer.nonce, payload=payload, purpose=Purpose.FLOW, now=now)
    terms = parse_terms(offer.terms)
    peer = _verify_peer(offer.party, box, us, hello, device_id=hello.device_id, form=terms.form, nonce=offer.nonce)
    source, target = (domain_digest(one) for one in (peer.pair.source, peer.pair.target))
    sides = (peer.side(hello.source, source), us.side(hello.target, target))
    if (terms.sender, terms.receiver) != sides:
        raise VerificationError(
            RejectionCode.FLOW_MISMATCH, "The terms name other boxes or domains than those that speak here."
        )
    return peer, terms


def _verify_peer(
    party: FlowParty, box: VerifiedBox, us: Ourselves, hello: FlowHello, *, device_id: str, form: Form, nonce: bytes
) -> VerifiedPeer:
    found = box.device.device_id
    if found == us.device_id or found != device_id:  # (2)
        raise VerificationError(
            RejectionCode.DEVICE_UNKNOWN, f"This is another genuine box: its device is {found}, not {device_id}."
        )
    pair = DomainPair(*map(parse_canonical_form, party.domains))  # (3)
    if (pair.source.name, pair.target.name) != (hello.source, hello.target):
        raise VerificationError(RejectionCode.FLOW_MISMATCH, "The other box speaks of other domains.")
    manifest = box.release.manifest
    for domain in (pair.source, pair.target):
        require_declared(domain, manifest, "the other box")
        require_declared(domain, us.manifest, "this box")
    require_chained(pair, form)  # (4)
    for domain in (pair.source, pair.target):  # (5)
        require_opening(domain, version=manifest.product_version, tier=box.device.tier, features=box.device.features)
    ak, srk = parse_public(party.box.ak_public), parse_public(party.srk_public)  # (6)
    matches_listed_template(srk)
    bound = qualifying_data(
        nonce=nonce,
        device_id=found,
        license_id=box.device.license_id,
        release_id=box.release.release_id,
        purpose=Purpose.FLOW,
        payload=party.box.evidence.payload,
    )
    certify = party.srk_certify
    verify_certify(ak, certify.attest, certify.signature, qualifying_data=bound, public=srk)
    return VerifiedPeer(box, ak, srk, pair)


def parse_terms(content: bytes) -> FlowTerms:
    """Read terms in their one encoding.

    Raises:
        FormatError: any other bytes.
    """
    terms = parse_json(FlowTerms, content, limit=TERMS_LIMIT)
    if document_bytes(terms) != content:
        raise FormatError("FlowTerms: not in canonical encoding.")
    return terms


def verify_receipt(statement: FlowStatement, terms: bytes, peer: VerifiedPeer, *, nonce: bytes) -> None:
    """Demand that a receiver's TPM says that it has what the terms say.

    Args:
        statement: as received.
        terms: as offered.
        peer: as it was verified before the offer.
        nonce: that was sent with the hello, 32 bytes.

    Raises:
        FormatError: a structure that is none.
        VerificationError: FLOW_MISMATCH, or as for a quote.
    """
    shown = pcr_bytes(statement.pcrs)
    if statement.nonce != nonce or statement.payload != receipt_payload(terms) or shown != peer.box.result.pcrs:
        raise VerificationError(RejectionCode.FLOW_MISMATCH, "The receipt is of another flow, or of another boot.")
    verify_statement(statement, peer.ak, parse_terms(terms).receiver)


def verify_statement(statement: FlowStatement, ak: Public, side: FlowSide) -> None:
    """Demand that a statement is by this AK, for this box, licence and release.

    Raises:
        VerificationError: as for a quote.
    """
    bound = qualifying_data(
        nonce=statement.nonce,
        device_id=side.device_id,
        license_id=side.license_id,
        release_id=side.release_id,
        purpose=Purpose.FLOW,
        payload=statement.payload,
    )
    quote = statement.quote
    pcrs = pcr_bytes(statement.pcrs)
    verify_quote(ak, quote.attest, quote.signature, qualifying_data=bound, pcrs=pcrs, selection=QUOTE_SET)


def fingerprint_of(certificate: bytes) -> bytes:
    """SHA-256 of a certificate, DER; 32 bytes."""
    return hashlib.sha256(certificate).digest()
