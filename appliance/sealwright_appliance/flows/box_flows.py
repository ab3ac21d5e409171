"""Flows of one box: its files, both sides, the records, and what an administrator sees of them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.flows.closed_files import obstacle_to_file
from sealwright_appliance.flows.domain_files import CLOSED_SENTENCE, DomainFile, DomainFiles, IncomingFile
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.journal import FlowJournal, readable
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.flows.party import OwnSide
from sealwright_appliance.flows.receiver import Checked, Expectation, Expected, FlowReceiver
from sealwright_appliance.flows.retention import RemovedFile, Retention
from sealwright_appliance.flows.sender import FlowOrder, FlowSender
from sealwright_appliance.renewal import Renewal
from sealwright_appliance.retention_days import LEAST_DAYS
from sealwright_appliance.status import WHOLE, KeptClosed, PayloadState
from sealwright_appliance.status_board import StatusBoard
from sealwright_appliance.tls import CERTIFICATE_FILE
from sealwright_appliance.tpm_device import open_tpm
from sealwright_policies.domains.entrusted import EntrustedText
from sealwright_policies.domains.fields import Name
from sealwright_policies.domains.model import Chain, Flow
from sealwright_policies.errors import FormatError, VerificationError
from sealwright_policies.flows.content import FRAME_SIZE
from sealwright_policies.flows.documents import SIZE_MOST, FileKind, FileName, FlowTerms, is_made_name
from sealwright_policies.flows.record import FlowRole
from sealwright_policies.wire.encoding import Document, Sha256Hex, document_bytes

IMPORTS_MOST = 16
ADAPTER_OVER = Obstacle(BoxCode.RETENTION, "The days for which its domain keeps results are over.")


class ImportOrder(Document):
    """A file that the customer puts in."""

    domain: Name
    kind: FileKind
    name: FileName
    size: Annotated[int, Field(ge=0, le=SIZE_MOST)]
    digest: Sha256Hex


class RemoveOrder(Document):
    """A file that is to go before its days are over."""

    domain: Name
    kind: FileKind
    name: FileName


class ClosedFile(Document):
    """A file that is not opened: its domain says something else than when it came, or does not open here."""

    file: DomainFile
    code: str
    sentence: str


class DomainView(Document):
    """A domain of the release, and the files that lie in it."""

    name: str
    level: str
    flows: tuple[Flow, ...]
    chains: tuple[Chain, ...]
    kept_days: int
    files: list[DomainFile]
    closed: list[ClosedFile]


class DomainsView(Document):
    """``GET /domains``."""

    domains: list[DomainView]
    kept_closed: tuple[KeptClosed, ...]
    """What stays closed, in sum; results are told of here alone."""
    removed: list[RemovedFile]
    """What went, the latest at the end."""


class UnderWay(Document):
    """A flow that this box sends and that is not over."""

    flow_id: str
    order: FlowOrder


class RecordView(Document):
    """A record, as far as people read it."""

    sequence: int
    digest: str
    role: FlowRole
    terms: FlowTerms


class FlowsView(Document):
    """``GET /flows``."""

    device_id: str
    expected: list[Expected]
    sending: list[UnderWay]
    records: list[RecordView]
    problem: str
    """Why the records cannot be read; empty if they can."""


@dataclass
class BoxFlows:
    """All of it. Safe to use from several threads: one call at a time."""

    own: OwnDomains
    board: StatusBoard
    files: DomainFiles
    journal: FlowJournal
    sender: FlowSender
    receiver: FlowReceiver
    retention: Retention
    reported: Path
    """How far the licence service has the records."""
    lock: threading.Lock
    _imports: dict[str, IncomingFile] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        renewal: Renewal,
        board: StatusBoard,
        tpm_lock: threading.Lock,
        calendar: Callable[[], int],
        forget_results: Callable[[int], Sequence[str]],
        *,
        are_open: bool,
    ) -> BoxFlows:
        """Wire them for an activated box.

        Args:
            forget_results: as the volume service does it.
            are_open: whether unlocking has opened what domains have here.
        """
        paths, identity = renewal.paths, renewal.identity
        own, files = OwnDomains(paths), DomainFiles.of_boot(paths, are_open=are_open)
        flows, kept = (paths.flows, paths.retention) if files.is_open else (paths.closed, paths.closed)
        journal = FlowJournal(flows / "records", identity.device_id, identity.license_id)
        side = OwnSide(renewal, board, tpm_lock, own, calendar)
        certificate = paths.identity / "tls" / CERTIFICATE_FILE
        sender = FlowSender(side, files, journal, flows / "outgoing", certificate)
        receiver = FlowReceiver(side, files, journal, flows / "expected.json")
        lock = threading.Lock()

        def clock_ms() -> int:
            with tpm_lock, open_tpm(paths.tcti) as tpm:
                return tpm.read_clock().clock_ms

        def forget(now: int) -> None:
            for adapter in forget_results(now):
                board.set_payload(adapter, PayloadState.CLOSED, ADAPTER_OVER)

        retention = Retention(own.kept_days, files, kept, clock_ms, side.service_time, lock, forget)
        return cls(own, board, files, journal, sender, receiver, retention, flows / "reported.json", lock)

    def domains(self) -> DomainsView:
        """What there is."""
        held = self.files.all_files()
        views = []
        for name in self.own.names():
            domain, text = self.own.load(name), self.own.text(name)
            files = [one for one in held if one.domain == name]
            views.append(
                DomainView(
                    name=name, level=domain.level.value, flows=domain.flow, chains=domain.chain,
                    kept_days=max(domain.retention.results_days, LEAST_DAYS), files=files,
                    closed=self._closed(name, text),
                )
            )  # fmt: skip
        return DomainsView(domains=views, kept_closed=self.board.status.kept_closed, removed=self.retention.removed())

    def _closed(self, name: str, text: EntrustedText) -> list[ClosedFile]:
        kept_closed = self.board.status.kept_closed
        whole = next((one for one in kept_closed if (one.domain, one.what) == (name, WHOLE)), None)
        return [
            ClosedFile(file=one.file, code=why.code, sentence=why.sentence)
            for one in self.files.closed()
            if one.file.domain == name and (why := whole or obstacle_to_file(self.files, one, text)) is not None
        ]

    def flows(self) -> FlowsView:
        """What is expected, under way and over."""
        records, problem = readable(self.journal) if self.files.is_open else ([], CLOSED_SENTENCE)
        return FlowsView(
            device_id=self.journal.device_id,
            expected=self._expected(),
            sending=[UnderWay(flow_id=one.flow_id, order=one.order) for one in self.sender.under_way()],
            records=[
                RecordView(sequence=one.record.sequence, digest=one.digest, role=one.record.role, terms=one.terms)
                for one in records
            ],
            problem=problem,
        )

    def withdraw(self, order: FlowOrder | None, expectation: Expectation | None) -> list[str]:
        """Give up what was ordered, the one or the other; ids of the flows that were under way for it.

        Raises:
            FlowError: it is not, or not one of the two is named.
            OperationError: the disk refuses.
        """
        if order is not None and expectation is None:
            return [self.sender.withdraw(order)]
        if expectation is not None and order is None:
            return self.receiver.withdraw(expectation)
        raise FlowError(400, "FLOW_MISMATCH", "Name what is sent, or what is expected.")

    def remove(self, order: RemoveOrder) -> list[DomainFile]:
        """Remove a file that was put in or received, whole, kept closed or half put in; what went.

        Raises:
            FlowError: there is none; it is being sent; or a workload of this box has made it, and the next start would
                keep it again.
            OperationError: the TPM or the disk refuses.
        """
        self.files.require_open()
        put_in = [one for one in self.files.begun() if one.file.flow_id is None]
        held = [*self.files.placed(), *self.files.closed(), *put_in]
        found = [one for one in held if _is_named(one.file, order)]
        what = f"{order.kind.value} {order.name} of domain {order.domain}"
        if not found:
            raise FlowError(404, "FILE_UNKNOWN", f"There is no {what}; what a flow has begun is given up with cancel.")
        if any(
            (one.order.source, one.order.kind, one.order.name) == (order.domain, order.kind, order.name)
            for one in self.sender.under_way()
        ):
            raise FlowError(409, "FILE_IN_USE", f"The {what} is being sent; give that up first (cancel).")
        for one in found:
            if one.file.flow_id is None and is_made_name(one.file.name, one.file.kind, one.file.digest):
                sentence = (
                    f"A workload of this box has made the {what}; it goes with its results, when their days are over."
                )
                raise FlowError(409, "FILE_IN_USE", sentence)
            self.retention.remove(one)
        return [one.file for one in found]

    def begin_import(self, order: ImportOrder) -> tuple[str, int]:
        """Let the customer put a file in; its id and the frame that comes next.

        Raises:
            FlowError: there is no such domain, no room, or a file of that name; the domain lets nobody put it in, or
                the box may not open it.
            OperationError: the disk refuses.
        """
        self.receiver.side.require_open(order.domain)
        let_in = self.own.load(order.domain).run.imports
        if order.kind is FileKind.ADAPTER:
            raise FlowError(403, "DOMAIN_FORBIDS", "An adapter is made in a box: an engine reads it, whatever it says.")
        if order.kind.value not in let_in:
            sentence = f"Domain {order.domain} lets nobody put in {order.kind.value} (run.imports)."
            raise FlowError(403, "DOMAIN_FORBIDS", sentence)
        file = DomainFile(
            version=1, domain=order.domain, kind=order.kind, name=order.name, digest=order.digest, size=order.size,
            at=self.receiver.side.now(),
        )  # fmt: skip
        import_id = hashlib.sha256(document_bytes(order)).hexdigest()[:32]
        put_in = [one.folder.name for one in self.files.begun() if one.file.flow_id is None]
        if len(put_in) >= IMPORTS_MOST and f"import-{import_id}" not in put_in:
            sentence = f"{IMPORTS_MOST} files are half put in: go on with one of them, or remove one (domain remove)."
            raise FlowError(409, "TOO_MANY_IMPORTS", sentence)
        incoming = self.files.incoming(f"import-{import_id}", file, self.own.text(order.domain))
        if len(self._imports) >= IMPORTS_MOST:  # of some that were removed
            self._imports.pop(next(iter(self._imports)))
        self._imports[import_id] = incoming
        return import_id, incoming.next_frame

    def take_import(self, import_id: str, number: int, plain: bytes) -> int:
        """Take a part of a file; the number of the next.

        Raises:
            FlowError: it is of another size, or one before it is missing.
            OperationError: the disk refuses.
        """
        incoming = self._import(import_id)
        if len(plain) != min(FRAME_SIZE, incoming.file.size - number * FRAME_SIZE):
            raise FlowError(400, "FLOW_CONTENT", f"Part {number} has not the size that it must have.")
        incoming.append(number, plain)
        return incoming.next_frame

    def check_import(self, import_id: str) -> Checked:
        """Hash what was put in, a piece of it: how far it is.

        Raises:
            FlowError: something is missing.
            OperationError: the disk refuses.
        """
        incoming = self._import(import_id)
        return Checked(checked=incoming.check(), size=incoming.file.size)

    def finish_import(self, import_id: str) -> DomainFile:
        """Make what was checked a file of the domain.

        Raises:
            FlowError: it is not checked to its end, or is not the file that was announced.
            OperationError: the disk refuses.
        """
        incoming = self._import(import_id)
        incoming.verify()
        incoming.put_in_place()
        del self._imports[import_id]
        return incoming.file

    def _import(self, import_id: str) -> IncomingFile:
        incoming = self._imports.get(import_id)
        if incoming is None:
            raise FlowError(404, "FLOW_UNKNOWN", "No file of this id is being put in since the box started.")
        return incoming

    def _expected(self) -> list[Expected]:
        try:
            return self.receiver.expected()
        except (FormatError, VerificationError):
            return []


def _is_named(file: DomainFile, order: RemoveOrder) -> bool:
    return (file.domain, file.kind, file.name) == (order.domain, order.kind, order.name)
