"""The record on the partition ``binding``: the state volume's sealed key and the customer's approvals.

Implements policies/spec/binding.md. The partition is read before anything is unsealed and its owner can write it, so
there is no file system on it and no driver of the kernel that would read one: two slots, written in turn, each with a
digest. Nothing in it is trusted; :mod:`.state_volume` asks the TPM.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from sealwright_appliance.files import overwrite, read_at
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.wire.encoding import (
    Bytes4K,
    Bytes4M,
    Document,
    NameHex,
    document_bytes,
    parse_json,
)
from sealwright_policies.wire.framing import BINDING_LABEL, framed_digest
from sealwright_policies.wire.service import Pem
from sealwright_policies.wire.state_approval import MOST_APPROVALS, StateApproval
from sealwright_policies.wire.wipe_order import WipeOrder
from sealwright_policies.wire.withdrawal import MOST_WITHDRAWALS, Withdrawal

SLOT_SIZE = 8 * 1024 * 1024
CONTENT_LIMIT = 4 * 1024 * 1024
LAST_SEQUENCE = 2**63 - 1
_HEAD = struct.Struct(">24sQI32s")
_MAGIC = BINDING_LABEL.encode("ascii").ljust(24, b"\0")


class StateBinding(Document):
    """The record."""

    version: Annotated[int, Field(ge=1, le=1)]
    srk_name: NameHex
    """Of the storage key that the object is sealed to; names a moved disk, and defends nothing (spec, 2)."""
    customer_key: Pem
    public: Bytes4K
    private: Bytes4K
    """TPM2B_PUBLIC and TPM2B_PRIVATE of key ‖ SHA-256(header)."""
    approvals: Annotated[list[StateApproval], Field(max_length=MOST_APPROVALS)]
    pending_header: Bytes4M | None
    """The state volume's header until it is written there (spec, 3)."""
    wipe_order: WipeOrder | None = None
    """To be carried out at the next unlock (spec, 4)."""
    withdrawals: Annotated[list[Withdrawal], Field(max_length=MOST_WITHDRAWALS)] = Field(default_factory=list)
    """Releases whose approvals are not taken any more (spec, 5)."""

    @model_serializer(mode="wrap")
    def _without_empty(self, described: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An image that knows no withdrawals reads a record that has none."""
        fields: dict[str, Any] = described(self)
        return {name: value for name, value in fields.items() if name != "withdrawals" or value}


@dataclass(frozen=True, slots=True)
class Slot:
    """One of the two places, well-formed."""

    sequence: int
    content: bytes


def slot_size(head: bytes) -> int:
    """Bytes of a slot in use, by its first 68.

    Raises:
        FormatError: never written, or half written.
    """
    if len(head) != _HEAD.size:
        raise FormatError("binding slot: cut off")
    magic, sequence, length, _ = _HEAD.unpack(head)
    if magic != _MAGIC or not 1 <= sequence <= LAST_SEQUENCE or not 1 <= length <= CONTENT_LIMIT:
        raise FormatError("binding slot: not a slot")
    return _HEAD.size + int(length)


def parse_slot(data: bytes, place: int) -> Slot:
    """Parse a slot of :func:`slot_size` bytes.

    Raises:
        FormatError: anything but a whole slot of this place.
    """
    if len(data) != slot_size(data[: _HEAD.size]):
        raise FormatError("binding slot: cut off")
    _, sequence, _, digest = _HEAD.unpack_from(data)
    content = data[_HEAD.size :]
    if sequence % 2 != place or digest != _digest(sequence, content):
        raise FormatError("binding slot: its digest or place does not fit")
    return Slot(sequence, content)


def slot_bytes(slot: Slot) -> bytes:
    """A slot as it stands on the disk."""
    digest = _digest(slot.sequence, slot.content)
    return _HEAD.pack(_MAGIC, slot.sequence, len(slot.content), digest) + slot.content


def load_binding(device: Path) -> StateBinding | None:
    """The record, None if none was ever written whole.

    Raises:
        FormatError: a whole slot holds something else.
        OperationError: the disk refuses.
    """
    slot = _newest(device)
    return None if slot is None else parse_json(StateBinding, slot.content, limit=CONTENT_LIMIT)


def store_binding(device: Path, binding: StateBinding) -> None:
    """Replace the record, so that after a power cut there is the old one or the new.

    Raises:
        OperationError: the disk refuses.
    """
    _store(device, binding, room=0)


def store_and_forget(device: Path, binding: StateBinding) -> None:
    """Replace the record in both slots, with zeros behind it, so that nothing of earlier ones is left.

    Raises:
        OperationError: the disk refuses.
    """
    for _ in range(2):
        _store(device, binding, room=_HEAD.size + CONTENT_LIMIT)


def _store(device: Path, binding: StateBinding, room: int) -> None:
    """Write the other slot, and zeros behind it up to ``room`` bytes.

    Raises:
        OperationError: the disk refuses.
    """
    newest = _newest(device)
    sequence = 1 if newest is None else newest.sequence + 1
    content = document_bytes(binding)
    if sequence > LAST_SEQUENCE or len(content) > CONTENT_LIMIT:
        raise OperationError(f"{device} cannot take another record.")
    overwrite(device, sequence % 2 * SLOT_SIZE, slot_bytes(Slot(sequence, content)).ljust(room, b"\0"))


def erase_binding(device: Path) -> None:
    """Leave no record, the older one first: after a power cut meanwhile the newer one is found, as before.

    Raises:
        OperationError: the disk refuses.
    """
    newest = _newest(device)
    last = newest.sequence % 2 if newest is not None else 0
    for place in (1 - last, last):
        overwrite(device, place * SLOT_SIZE, bytes(_HEAD.size + CONTENT_LIMIT))


def _newest(device: Path) -> Slot | None:
    slots: list[Slot] = []
    for place in (0, 1):
        offset = place * SLOT_SIZE
        try:
            size = slot_size(read_at(device, offset, _HEAD.size))
            slots.append(parse_slot(read_at(device, offset, size), place))
        except FormatError:
            continue  # never written, or the power failed meanwhile: the other one counts
    return max(slots, key=lambda slot: slot.sequence, default=None)


def _digest(sequence: int, content: bytes) -> bytes:
    return framed_digest(BINDING_LABEL, sequence.to_bytes(8, "big"), content)
