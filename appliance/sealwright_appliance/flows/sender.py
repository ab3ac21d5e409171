"""The sending side of flows (policies/spec/domain-flow.md, 2, 4, 7 and 8).

What is under way is a file each, so that a flow is gone on with after a restart: its id and content key stay, nonces
and evidence are made anew.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, remove_durably, write_durably
from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.errors import FlowError, refusing
from sealwright_appliance.flows.journal import FlowJournal
from sealwright_appliance.flows.party import OwnSide
from sealwright_policies.appraisal.box_evidence import NONCE_SIZE
from sealwright_policies.domains.canonical import domain_digest
from sealwright_policies.domains.fields import Name
from sealwright_policies.errors import FormatError
from sealwright_policies.flows.content import CONTENT_KEY_SIZE, FrameCipher, frame_count
from sealwright_policies.flows.documents import (
    FileKind,
    FileName,
    FlowHello,
    FlowId,
    FlowOffer,
    FlowStatement,
    FlowTerms,
    FlowWelcome,
)
from sealwright_policies.flows.payloads import sender_payload
from sealwright_policies.flows.permission import require_chained
from sealwright_policies.flows.record import FlowRole, SealedRecord
from sealwright_policies.flows.verification import VerifiedPeer, verify_receipt, verify_receiver
from sealwright_policies.tcg.keywrap import wrap_sealed_object
from sealwright_policies.wire.encoding import Bytes4K, Document, document_bytes, parse_json
from sealwright_policies.wire.messages import DeviceId, ImportBlob

OUTGOING_LIMIT = 4096
OUTGOING_MOST = 64


class FlowOrder(Document):
    """What an administrator has ordered."""

    source: Name
    kind: FileKind
    name: FileName
    target: Name
    device_id: DeviceId
    """Of the receiver."""


class Outgoing(Document):
    """A flow that is not over, on the state volume."""

    version: Annotated[int, Field(ge=1, le=1)]
    flow_id: FlowId
    order: FlowOrder
    content_key: Annotated[Bytes4K, Field(min_length=CONTENT_KEY_SIZE, max_length=CONTENT_KEY_SIZE, repr=False)]


@dataclass
class _Session:
    """One try at a flow."""

    outgoing: Outgoing
    file: DomainFile
    hello: FlowHello
    peer: VerifiedPeer | None = None
    terms: bytes = b""


@dataclass
class FlowSender:
    """Sends files of this box's domains. One call at a time; the endpoints see to that."""

    side: OwnSide
    files: DomainFiles
    journal: FlowJournal
    folder: Path
    certificate: Path
    """The box's own TLS certificate, PEM, on the state volume."""
    _sessions: dict[str, _Session] = field(default_factory=dict)

    def begin(self, order: FlowOrder) -> _Session:
        """Begin a flow, or go on with it.

        Raises:
            FlowError: the file, a domain, or their chain is not there, or the box may not open one.
            OperationError: the disk refuses.
        """
        self.side.require_open(order.source, order.target)
        file = self.files.find(order.source, order.kind, order.name)
        pair = self.side.domains.pair(order.source, order.target)
        with refusing():
            require_chained(pair, order.kind.form)
        outgoing = next((one for one in self.under_way() if one.order == order), None) or self._new(order)
        hello = FlowHello(
            nonce=os.urandom(NONCE_SIZE),
            device_id=self.side.ourselves.device_id,
            source=order.source,
            target=order.target,
        )
        session = _Session(outgoing, file, hello)
        self._sessions[outgoing.flow_id] = session
        return session

    def offer(self, flow_id: str, welcome: FlowWelcome, fingerprint: bytes) -> FlowOffer:
        """Verify the receiver, and offer it the file.

        Args:
            flow_id: of :meth:`begin`.
            welcome: the receiver's answer.
            fingerprint: SHA-256 of the certificate that the receiver shows in TLS, DER; 32 bytes. By the gateway's
                word: the receiver's evidence fails if it is another.

        Raises:
            FlowError: the receiver is not believed, or may not have the file.
            OperationError: from the TPM or the disk.
        """
        session = self._session(flow_id)
        order, file = session.outgoing.order, session.file
        us = self.side.ourselves
        with refusing():
            peer = verify_receiver(
                welcome, session.hello, us, device_id=order.device_id, form=order.kind.form,
                fingerprint=fingerprint, now=self.side.now(),
            )  # fmt: skip
        pair = peer.pair
        terms = document_bytes(
            FlowTerms(
                version=1, flow_id=flow_id, form=order.kind.form, kind=order.kind, name=order.name, digest=file.digest,
                size=file.size, at=self.side.now(),
                sender=us.side(order.source, domain_digest(pair.source)),
                receiver=peer.side(order.target, domain_digest(pair.target)),
            )
        )  # fmt: skip
        blob = wrap_sealed_object(peer.srk, session.outgoing.content_key, peer.key_policy)
        wrapped = ImportBlob(public=blob.public_2b, duplicate=blob.duplicate_2b, encrypted_seed=blob.encrypted_seed_2b)
        party = self.side.show(welcome.nonce, sender_payload(self.side.fingerprint, fingerprint, terms, wrapped), pair)
        session.peer, session.terms = peer, terms
        certificate = (read_file(self.certificate, OUTGOING_LIMIT) or b"").decode("ascii", errors="replace")
        return FlowOffer(nonce=welcome.nonce, terms=terms, wrapped=wrapped, certificate=certificate, party=party)

    def frame(self, flow_id: str, number: int) -> bytes:
        """One frame, encrypted.

        Raises:
            FlowError: nothing has been offered, or there is no such frame.
            OperationError: the disk refuses.
        """
        session = self._session(flow_id)
        if session.peer is None:
            raise FlowError(409, "FLOW_UNKNOWN", "Nothing has been offered yet.")
        file = session.file
        cipher = FrameCipher.of_file(flow_id, file.digest, file.size, session.outgoing.content_key)
        if not 0 <= number < cipher.count:
            raise FlowError(404, "FLOW_CONTENT", f"The file has {cipher.count} frames.")
        with refusing():
            return cipher.seal(number, self.files.read_frame(file, number))

    def finish(self, flow_id: str, receipt: FlowStatement) -> SealedRecord:
        """Take the receiver's word that it has the file; the flow is over.

        Raises:
            FlowError: it is not its word.
            OperationError: the disk refuses.
        """
        session = self._session(flow_id)
        if session.peer is None:
            raise FlowError(409, "FLOW_UNKNOWN", "Nothing has been offered yet.")
        with refusing():
            verify_receipt(receipt, session.terms, session.peer, nonce=session.hello.nonce)
            record = self.journal.append(FlowRole.SENT, session.terms, receipt)
        remove_durably(self._file(flow_id))
        del self._sessions[flow_id]
        return record

    def withdraw(self, order: FlowOrder) -> str:
        """Give a flow up, and forget its key; its id. What the receiver has by now stays there.

        Raises:
            FlowError: there is none.
            OperationError: the disk refuses.
        """
        outgoing = next((one for one in self.under_way() if one.order == order), None)
        if outgoing is None:
            raise FlowError(404, "FLOW_UNKNOWN", "This box sends nothing like that.")
        remove_durably(self._file(outgoing.flow_id))
        self._sessions.pop(outgoing.flow_id, None)
        return outgoing.flow_id

    def under_way(self) -> list[Outgoing]:
        """Flows that are not over; what cannot be read is passed over."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(parse_json(Outgoing, read_file(path, OUTGOING_LIMIT) or b"", limit=OUTGOING_LIMIT))
            except FormatError:
                continue
        return found

    def _new(self, order: FlowOrder) -> Outgoing:
        if len(self.under_way()) >= OUTGOING_MOST:
            raise FlowError(409, "TOO_MANY_FLOWS", f"{OUTGOING_MOST} flows are under way already.")
        made = Outgoing(version=1, flow_id=os.urandom(16).hex(), order=order, content_key=os.urandom(CONTENT_KEY_SIZE))
        write_durably(self._file(made.flow_id), document_bytes(made))
        return made

    def _session(self, flow_id: str) -> _Session:
        session = self._sessions.get(flow_id)
        if session is None:
            raise FlowError(404, "FLOW_UNKNOWN", "No flow of this id has been begun since the box started.")
        return session

    def _file(self, flow_id: str) -> Path:
        return self.folder / f"{flow_id}.json"


def frames_of(file: DomainFile) -> int:
    """How many frames it has."""
    return frame_count(file.size)
