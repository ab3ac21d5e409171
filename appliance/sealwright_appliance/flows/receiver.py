"""The receiving side of flows (policies/spec/domain-flow.md, 2, 5, 7 and 8).

Nothing is answered that the administrator does not expect. Keys and verified senders are in memory: after a restart the
sender offers anew, and what was received so far is gone on with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from sealwright_appliance.attempt_limiter import AttemptLimiter
from sealwright_appliance.customer_evidence import ALL, EACH
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles, IncomingFile
from sealwright_appliance.flows.errors import FlowError, refusing
from sealwright_appliance.flows.journal import FlowJournal
from sealwright_appliance.flows.party import OwnSide
from sealwright_policies.appraisal.box_evidence import NONCE_SIZE
from sealwright_policies.domains.fields import Name
from sealwright_policies.errors import FormatError
from sealwright_policies.flows.content import FrameCipher, frame_count
from sealwright_policies.flows.documents import FlowHello, FlowId, FlowOffer, FlowStatement, FlowTerms, FlowWelcome
from sealwright_policies.flows.payloads import receipt_payload, receiver_payload
from sealwright_policies.flows.record import FlowRole
from sealwright_policies.flows.verification import fingerprint_of, verify_offer
from sealwright_policies.metering.receipt import Seconds
from sealwright_policies.wire.encoding import Document, document_bytes, parse_json
from sealwright_policies.wire.messages import DeviceId

EXPECTATIONS_LIMIT = 64 * 1024
EXPECTED_MOST = 64
EXPECTED_S = 24 * 3600
NONCE_S = 600.0
ACCEPTED_MOST = 16


class Expectation(Document):
    """A flow that the administrator expects."""

    source: Name
    target: Name
    device_id: DeviceId
    """Of the sender."""


class Expected(Document):
    """The same, and until when."""

    expectation: Expectation
    until: Seconds
    flow_id: FlowId | None = None
    """The flow whose offer was taken for it last: what came of any other is dropped."""


class ExpectedFile(Document):
    """What is expected, on the state volume."""

    version: Annotated[int, Field(ge=1, le=1)]
    expected: Annotated[list[Expected], Field(max_length=EXPECTED_MOST)]


class Acceptance(Document):
    """The answer to an offer."""

    flow_id: str
    next_frame: int
    frames: int
    certificate: str
    """The sender's certificate, DER, hexadecimal: who may connect."""


class Checked(Document):
    """How far the check of a whole file is, in bytes."""

    checked: int
    size: int


@dataclass
class _Answered:
    hello: FlowHello
    at: float


@dataclass
class _Accepted:
    hello: FlowHello
    terms: FlowTerms
    terms_bytes: bytes
    sender: FlowStatement
    cipher: FrameCipher
    incoming: IncomingFile


@dataclass
class FlowReceiver:
    """Receives files into this box's domains. One call at a time; the endpoints see to that."""

    side: OwnSide
    files: DomainFiles
    journal: FlowJournal
    expectations: Path
    limiter: AttemptLimiter = field(default_factory=lambda: AttemptLimiter(each=EACH, everybody=ALL))
    steady: Callable[[], float] = time.monotonic
    _answered: dict[bytes, _Answered] = field(default_factory=dict)
    _accepted: dict[str, _Accepted] = field(default_factory=dict)

    def expect(self, wanted: Expectation) -> Expected:
        """Let a sender come for the next day.

        Raises:
            FlowError: the domains are closed, the release lets nothing flow that way, the box may not open one of the
                two, or too much is expected.
            OperationError: the disk refuses.
        """
        self.files.require_open()
        self.side.require_open(wanted.source, wanted.target)
        pair = self.side.domains.pair(wanted.source, wanted.target)
        if not any(one.source == wanted.source for one in pair.target.chain):
            raise FlowError(
                403,
                "DOMAIN_NOT_CHAINED",
                f"Domain {wanted.target} of this release takes nothing from {wanted.source}.",
            )
        expected = self.expected()
        flow_id = next((one.flow_id for one in expected if one.expectation == wanted), None)
        made = Expected(expectation=wanted, until=self.side.now() + EXPECTED_S, flow_id=flow_id)
        others = [one for one in expected if one.expectation != wanted]
        if len(others) >= EXPECTED_MOST:
            raise FlowError(409, "TOO_MANY_FLOWS", f"{EXPECTED_MOST} flows are expected already.")
        self._keep([*others, made])
        return made

    def expected(self) -> list[Expected]:
        """What is expected now."""
        content = read_file(self.expectations, EXPECTATIONS_LIMIT)
        if content is None:
            return []
        now = self.side.now()
        held = parse_json(ExpectedFile, content, limit=EXPECTATIONS_LIMIT).expected
        return [one for one in held if now < one.until <= now + EXPECTED_S]

    def admit(self, peer: str) -> None:
        """Let an address say hello, expected or not. Waits for no other call.

        Raises:
            FlowError: it asks too often.
        """
        if not self.limiter.admit(peer, self.steady()):
            raise FlowError(429, "RATE_LIMITED", "The box was asked for evidence too often; ask again in a minute.")

    def welcome(self, hello: FlowHello) -> FlowWelcome:
        """Show the sender, whose address was admitted, what it would send to.

        Raises:
            FlowError: nobody expects it, or the box may not open what it would go to.
            OperationError: from the TPM or the disk.
        """
        self._require_expected(hello)
        self.side.require_open(hello.source, hello.target)
        pair = self.side.domains.pair(hello.source, hello.target)
        nonce = os.urandom(NONCE_SIZE)
        party = self.side.show(hello.nonce, receiver_payload(self.side.fingerprint, nonce, hello), pair)
        self._forget_old()
        self._answered[nonce] = _Answered(hello, self.steady())
        return FlowWelcome(nonce=nonce, party=party)

    def accept(self, offer: FlowOffer) -> Acceptance:
        """Verify the sender and what it offers; from here on frames are taken.

        Raises:
            FlowError: it is not believed, may not send this, the file is there already, or the id is of another flow.
            FormatError: a certificate or a key that is none.
            OperationError: from the TPM or the disk.
        """
        self._forget_old()
        answered = self._answered.pop(offer.nonce, None)
        if answered is None:
            raise FlowError(403, "NONCE_INVALID", "This offer answers no welcome of the last ten minutes.")
        hello = answered.hello
        self._require_expected(hello)
        certificate = der_of(offer.certificate)
        with refusing():
            _, terms = verify_offer(
                offer, hello, self.side.ourselves, fingerprint=fingerprint_of(certificate),
                own_fingerprint=self.side.fingerprint, now=self.side.now(),
            )  # fmt: skip
            self.journal.require_same(FlowRole.RECEIVED, terms)
        self._drop_older(hello, terms.flow_id)
        text = self.side.domains.text(terms.receiver.domain)
        incoming = self.files.incoming(terms.flow_id, self._file(terms), text)
        evidence = offer.party.box.evidence
        said = FlowStatement(nonce=offer.nonce, payload=evidence.payload, quote=evidence.quote, pcrs=evidence.pcrs)
        cipher = FrameCipher.of(terms, self.side.open_key(offer.wrapped))
        if len(self._accepted) >= ACCEPTED_MOST:
            self._accepted.pop(next(iter(self._accepted)))
        self._accepted[terms.flow_id] = _Accepted(hello, terms, offer.terms, said, cipher, incoming)
        return Acceptance(
            flow_id=terms.flow_id,
            next_frame=incoming.next_frame,
            frames=frame_count(terms.size),
            certificate=certificate.hex(),
        )

    def take(self, flow_id: str, number: int, frame: bytes) -> int:
        """Take a frame; the number of the next.

        Raises:
            FlowError: it is not authentic, or one before it is missing.
            OperationError: the disk refuses.
        """
        accepted = self._of(flow_id)
        with refusing():
            plain = accepted.cipher.open(number, frame)
        accepted.incoming.append(number, plain)
        return accepted.incoming.next_frame

    def check(self, flow_id: str) -> Checked:
        """Hash what was received, a piece of it: how far it is.

        Raises:
            FlowError: something is missing.
            OperationError: the disk refuses.
        """
        incoming = self._of(flow_id).incoming
        return Checked(checked=incoming.check(), size=incoming.file.size)

    def finish(self, flow_id: str) -> FlowStatement:
        """Write the record of what was checked, and only then let the file be seen.

        Raises:
            FlowError: it is not checked to its end, or is not the file that was announced.
            OperationError: from the TPM or the disk.
        """
        accepted = self._of(flow_id)
        accepted.incoming.verify()
        receipt = self.side.state(accepted.hello.nonce, receipt_payload(accepted.terms_bytes))
        accepted.incoming.require_place()
        with refusing():
            self.journal.append(FlowRole.RECEIVED, accepted.terms_bytes, accepted.sender)
        accepted.incoming.put_in_place()
        del self._accepted[flow_id]
        self._keep([one for one in self.expected() if not _is_of(one, accepted.hello)])
        return receipt

    def withdraw(self, wanted: Expectation) -> list[str]:
        """Expect it no longer; ids of the flows that were under way for it, of which nothing is kept.

        Raises:
            FlowError: it is not expected.
            OperationError: the disk refuses.
        """
        expected = self.expected()
        kept = [one for one in expected if one.expectation != wanted]
        if kept == expected:
            raise FlowError(404, "FLOW_UNKNOWN", "This box expects no flow like that.")
        self._keep(kept)
        ended = {one.flow_id for one in expected if one.expectation == wanted and one.flow_id is not None}
        for flow_id, one in list(self._accepted.items()):
            if expectation_of(one.hello) == wanted:
                ended.add(flow_id)
                del self._accepted[flow_id]
        self._answered = {nonce: one for nonce, one in self._answered.items() if expectation_of(one.hello) != wanted}
        self._drop_ended(kept)
        return sorted(ended)

    def _require_expected(self, hello: FlowHello) -> None:
        if not any(_is_of(one, hello) for one in self.expected()):
            raise FlowError(
                403, "DOMAIN_FORBIDS", "This box expects no flow like that. Its administrator has to (domain receive)."
            )

    def _drop_older(self, hello: FlowHello, flow_id: str) -> None:
        """One half file for each expectation: a sender that begins anew and anew does not fill the volume."""
        expected = self.expected()
        if any(_is_of(one, hello) and one.flow_id != flow_id for one in expected):
            expected = [one.model_copy(update={"flow_id": flow_id}) if _is_of(one, hello) else one for one in expected]
            self._keep(expected)
        for known, one in list(self._accepted.items()):
            if known != flow_id and expectation_of(one.hello) == expectation_of(hello):
                del self._accepted[known]
        self._drop_ended(expected)

    def _drop_ended(self, expected: list[Expected]) -> None:
        under_way = {one.flow_id for one in expected if one.flow_id is not None}
        self.files.drop_half_received(under_way | set(self._accepted))

    def _file(self, terms: FlowTerms) -> DomainFile:
        return DomainFile(
            version=1, domain=terms.receiver.domain, kind=terms.kind, name=terms.name, digest=terms.digest,
            size=terms.size, at=self.side.now(), flow_id=terms.flow_id,
        )  # fmt: skip

    def _of(self, flow_id: str) -> _Accepted:
        accepted = self._accepted.get(flow_id)
        if accepted is None:
            raise FlowError(409, "FLOW_UNKNOWN", "No offer of this flow has been accepted since the box started.")
        return accepted

    def _keep(self, expected: list[Expected]) -> None:
        write_durably(self.expectations, document_bytes(ExpectedFile(version=1, expected=expected)))

    def _forget_old(self) -> None:
        """None that is younger: nobody's hellos push out another's. The limiter bounds how many there are."""
        oldest = self.steady() - NONCE_S
        self._answered = {nonce: one for nonce, one in self._answered.items() if one.at > oldest}


def _is_of(one: Expected, hello: FlowHello) -> bool:
    return one.expectation == expectation_of(hello)


def expectation_of(hello: FlowHello) -> Expectation:
    """What has to be expected, for a hello to be answered."""
    return Expectation(source=hello.source, target=hello.target, device_id=hello.device_id)


def der_of(pem: str) -> bytes:
    """One certificate, DER.

    Raises:
        FormatError: it is none.
    """
    try:
        return x509.load_pem_x509_certificate(pem.encode("ascii", errors="replace")).public_bytes(Encoding.DER)
    except ValueError:
        raise FormatError("The sender's TLS certificate cannot be read.") from None
