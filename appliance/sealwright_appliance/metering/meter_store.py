"""Journal and receipts on the state volume, so that a power cut between any two steps loses and doubles nothing.

    metering/journal.json        the open interval
    metering/receipts/…          closed receipts that the service has not acknowledged

A receipt is written before the journal goes on behind it: if only the first came to pass, :meth:`MeterStore.load` goes
on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from sealwright_appliance.files import read_file, remove_durably, write_durably
from sealwright_appliance.metering.journal import JOURNAL_LIMIT, Journal, behind
from sealwright_policies.errors import FormatError
from sealwright_policies.metering.receipt import RECEIPT_LIMIT, SealedReceipt, parse_receipt
from sealwright_policies.wire.encoding import Document, document_bytes, parse_json

SETTINGS_LIMIT = 4096


class MeteringSettings(Document):
    """``metering/settings.json``: the customer's choice."""

    version: Annotated[int, Field(ge=1, le=1)] = 1
    names: bool = False
    """Whether the vendor gets the names of API keys instead of pseudonyms."""


@dataclass(frozen=True, slots=True)
class MeterStore:
    """The folder ``metering``."""

    folder: Path

    def load(self) -> Journal | None:
        """The journal, None if there is none or it cannot be read: then a new chain begins, and the service asks why.

        Raises:
            OperationError: the disk refuses.
        """
        content = read_file(self._journal, JOURNAL_LIMIT)
        if content is None:
            return None
        try:
            journal = parse_json(Journal, content, limit=JOURNAL_LIMIT)
        except FormatError:
            return None
        for sealed in self.receipts():
            receipt = sealed.receipt
            if (receipt.chain_id, receipt.sequence) == (journal.chain_id, journal.sequence):
                journal = behind(journal, sealed)  # power failed between the two
                self.write(journal)
        return journal

    def write(self, journal: Journal) -> None:
        """Keep the journal."""
        write_durably(self._journal, document_bytes(journal))

    def add(self, sealed: SealedReceipt) -> None:
        """Keep a closed receipt."""
        write_durably(self._receipt(sealed), sealed.content)

    def receipts(self) -> list[SealedReceipt]:
        """All that are kept, the oldest chain first, each in order. One that cannot be read is left where it is."""
        found: list[SealedReceipt] = []
        for path in self._receipts.glob("*.json"):
            content = read_file(path, RECEIPT_LIMIT)
            try:
                found.append(parse_receipt(content or b""))
            except FormatError:
                continue
        begun: dict[str, tuple[int, int]] = {}
        for one in found:
            closed = one.receipt.closed
            when = (closed.reset_count, closed.clock_ms)
            begun[one.receipt.chain_id] = min(when, begun.get(one.receipt.chain_id, when))
        return sorted(found, key=lambda one: (begun[one.receipt.chain_id], one.receipt.chain_id, one.sequence))

    def count(self) -> int:
        """Number of receipts that are kept."""
        return sum(1 for _ in self._receipts.glob("*.json"))

    def remove(self, sealed: SealedReceipt) -> None:
        """Forget a receipt that was acknowledged."""
        remove_durably(self._receipt(sealed))

    def settings(self) -> MeteringSettings:
        """The customer's choice; pseudonyms where there is none, or none that can be read."""
        content = read_file(self.folder / "settings.json", SETTINGS_LIMIT)
        try:
            return parse_json(MeteringSettings, content or b"{}", limit=SETTINGS_LIMIT)
        except FormatError:
            return MeteringSettings()

    def write_settings(self, settings: MeteringSettings) -> None:
        """Keep it."""
        write_durably(self.folder / "settings.json", document_bytes(settings))

    @property
    def _journal(self) -> Path:
        return self.folder / "journal.json"

    @property
    def _receipts(self) -> Path:
        return self.folder / "receipts"

    def _receipt(self, sealed: SealedReceipt) -> Path:
        return self._receipts / f"{sealed.receipt.chain_id}-{sealed.sequence:012}.json"
