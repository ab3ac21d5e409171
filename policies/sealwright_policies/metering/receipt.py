"""The metering receipt and its place in a chain (policies/spec/metering.md, 1 and 2). Counts only, never content."""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints, model_validator

from sealwright_policies.errors import FormatError
from sealwright_policies.wire.encoding import KIB, Document, Identifier, Sha256Hex, document_bytes, parse_json
from sealwright_policies.wire.framing import framed_digest
from sealwright_policies.wire.messages import DeviceId

RECEIPT_LABEL = "sealwright/v1/metering-receipt"
CHAIN_LABEL = "sealwright/v1/metering-chain"
RECEIPT_LIMIT = 512 * KIB
"""Bytes of one receipt; :data:`ROWS_MOST` of the longest rows stay below it."""
ROWS_MOST = 1000
MODELS_MOST = 64
OTHER_KEYS = "*"
"""Alias of all keys beyond :data:`ROWS_MOST`."""
ALIAS_KEY_SIZE = 32
_ALIAS_BYTES = 10
_PLAIN_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,64}")

Count = Annotated[int, Field(ge=0, lt=2**48)]
Seconds = Annotated[int, Field(ge=0, lt=253_402_300_800)]
"""Since the epoch, before the year 10000."""
ChainId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Alias = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,64}$")]


class Point(Document):
    """A moment on the TPM's axis."""

    reset_count: Annotated[int, Field(ge=0, lt=2**32)]
    clock_ms: Annotated[int, Field(ge=0, lt=2**63)]
    ticks: Annotated[int, Field(ge=0, lt=2**63)]

    def is_after(self, other: Point) -> bool:
        """Whether it cannot have been before or at another: a reset may take Clock back, never the ticks."""
        order = (self.reset_count, self.clock_ms) > (other.reset_count, other.clock_ms)
        return order or self.ticks > other.ticks


class ModelUsage(Document):
    """What is told of a model, whoever asked."""

    model: Identifier
    partition_id: Sha256Hex
    lease_ms: Count
    """How long it was served under a lease."""
    copying_alarms: Count
    """How often the use of a key came to a higher level of what looks like copying it."""


class UsageRow(Document):
    """What one API key had of one model."""

    model: Identifier
    alias: Alias
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    busy_ms: Count


class Receipt(Document):
    """What a box served between two points."""

    version: Annotated[int, Field(ge=1, le=1)]
    device_id: DeviceId
    license_id: Identifier
    chain_id: ChainId
    sequence: Annotated[int, Field(ge=1, lt=2**48)]
    previous: Sha256Hex
    lease_number: Annotated[int, Field(ge=0, lt=2**63)]
    opened: Point
    closed: Point
    opened_at: Seconds
    closed_at: Seconds
    running_ms: Count
    models: Annotated[list[ModelUsage], Field(max_length=MODELS_MOST)]
    rows: Annotated[list[UsageRow], Field(max_length=ROWS_MOST)]

    @model_validator(mode="after")
    def _is_ordered(self) -> Receipt:
        """One order, so that the same counts have one spelling."""
        models = [one.model for one in self.models]
        if models != sorted(set(models)):
            raise ValueError("models are not strictly ascending")
        keys = [(row.model, row.alias) for row in self.rows]
        if keys != sorted(set(keys)):
            raise ValueError("rows are not strictly ascending")
        if not {row.model for row in self.rows} <= set(models):
            raise ValueError("a row is of no model of the receipt")
        if self.opened.is_after(self.closed):
            raise ValueError("it was closed before it was opened")
        return self


@dataclass(frozen=True, slots=True)
class SealedReceipt:
    """A receipt, its bytes, and the digest by which it is known."""

    receipt: Receipt
    content: bytes
    digest: str

    @property
    def sequence(self) -> int:
        """Its number in the chain."""
        return self.receipt.sequence


def seal_receipt(receipt: Receipt) -> SealedReceipt:
    """Encode a receipt."""
    content = document_bytes(receipt)
    return SealedReceipt(receipt, content, receipt_digest(content))


def parse_receipt(content: bytes) -> SealedReceipt:
    """Read a receipt in its one encoding.

    Raises:
        FormatError: any other bytes, also those that only say the same.
    """
    receipt = parse_json(Receipt, content, limit=RECEIPT_LIMIT)
    if document_bytes(receipt) != content:
        raise FormatError("Receipt: not in canonical encoding.")
    return SealedReceipt(receipt, content, receipt_digest(content))


def receipt_digest(content: bytes) -> str:
    """SHA-256 by which the next receipt, the head and the service know these bytes; lower-case hex."""
    return framed_digest(RECEIPT_LABEL, content).hex()


def chain_start(chain_id: str, device_id: str, license_id: str) -> str:
    """``previous`` of a chain's first receipt; lower-case hex."""
    fields = (bytes.fromhex(chain_id), device_id.encode("ascii"), license_id.encode("ascii"))
    return framed_digest(CHAIN_LABEL, *fields).hex()


def pseudonym(alias_key: bytes, name: str) -> str:
    """What the vendor sees of a key's name: the same for the same name of one box, and no way back."""
    mac = hmac.digest(alias_key, name.encode("utf-8"), "sha256")[:_ALIAS_BYTES]
    return "key-" + b32encode(mac).decode("ascii").lower()


def shown_alias(alias_key: bytes, name: str, *, named: bool) -> str:
    """The alias of a key: its name where the customer wants names sent and it is a plain one, else a pseudonym."""
    is_plain = _PLAIN_NAME.fullmatch(name) is not None and name != OTHER_KEYS
    return name if named and is_plain else pseudonym(alias_key, name)


def total_bytes(receipts: Sequence[SealedReceipt]) -> int:
    """Bytes of receipts together."""
    return sum(len(one.content) for one in receipts)
