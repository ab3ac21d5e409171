"""Signed checkpoints of the log (policies/spec/transparency.md, 2): C2SP tlog-checkpoint in a C2SP signed note."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.transparency.merkle import HASH_SIZE, MOST_ENTRIES
from sealwright_policies.wire.encoding import canonical_base64

CHECKPOINT_LIMIT = 4096
"""Bytes of the longest note that is read."""
MOST_SIGNATURES = 16
_ED25519 = b"\x01"
"""Signature type of C2SP signed-note."""
_KEY_ID_SIZE = 4

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_SIGNATURE_LINE = re.compile(r"— ([!-*,-~]{1,255}) ([A-Za-z0-9+/=]{1,1024})")
"""Names as C2SP has them, of printable ASCII: no space and no ``+``."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log of some size is: everything before it is fixed by the root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


def log_origin(service_id: str) -> str:
    """The name of a service's log, and the label of its signatures."""
    return f"sealwright/v1/log/{service_id}"


def sign_checkpoint(checkpoint: Checkpoint, *keys: Ed25519PrivateKey) -> str:
    """The checkpoint as a note signed by the log, with each of its keys, the current one last: images know one."""
    lines = [f"— {checkpoint.origin} {_signature(checkpoint, key)}\n" for key in keys]
    return f"{checkpoint.text}\n{''.join(lines)}"


def verify_checkpoint(note: str, key: Ed25519PublicKey, origin: str) -> Checkpoint:
    """Verify a note and return the checkpoint in it.

    Args:
        origin: the log that is expected.

    Raises:
        FormatError: not a note of a checkpoint.
        VerificationError: ``LOG_PROOF_INVALID``: of another log, or not signed by its key.
    """
    found, signatures = _parse_note(note)
    if found.origin != origin:
        raise _untrusted(f"the checkpoint is of the log {found.origin!r}, expected {origin!r}")
    wanted = key_id(origin, key)
    ours = [raw for name, raw in signatures if name == origin and raw[:_KEY_ID_SIZE] == wanted]
    if len(ours) != 1:
        raise _untrusted("the checkpoint is not signed by the log's key")
    try:
        key.verify(ours[0][_KEY_ID_SIZE:], found.text.encode("utf-8"))
    except InvalidSignature as error:
        raise _untrusted("the checkpoint's signature is not by the log's key") from error
    return found


def parse_checkpoint(note: str) -> Checkpoint:
    """The checkpoint in a note that was verified before. Verifies nothing.

    Raises:
        FormatError: not a note of a checkpoint.
    """
    return _parse_note(note)[0]


def key_id(origin: str, key: Ed25519PublicKey) -> bytes:
    """The id of a log's key, 4 bytes, as signature lines begin with it."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return hashlib.sha256(origin.encode("utf-8") + b"\n" + _ED25519 + raw).digest()[:_KEY_ID_SIZE]


def last_key_id(note: str) -> bytes:
    """The id in the last signature line of a note of our own: of the key that was current. Verifies nothing."""
    return _parse_signature(note.removesuffix("\n").rpartition("\n")[2])[1][:_KEY_ID_SIZE]


def _parse_note(note: str) -> tuple[Checkpoint, list[tuple[str, bytes]]]:
    """The checkpoint, and name, key id and signature of each line."""
    if len(note.encode("utf-8", "replace")) > CHECKPOINT_LIMIT:
        raise FormatError(f"Checkpoint: over {CHECKPOINT_LIMIT} bytes.")
    text, separator, tail = note.partition("\n\n")
    lines = tail.split("\n")
    if not separator or lines.pop() != "" or not 1 <= len(lines) <= MOST_SIGNATURES:
        raise FormatError("Checkpoint: not a text, an empty line and signature lines.")
    signatures = [_parse_signature(line) for line in lines]
    return _parse_text(text), signatures


def _parse_text(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 3 or not lines[0].isascii() or not lines[0].isprintable():
        raise FormatError("Checkpoint: not the three lines of origin, size and root.")
    origin, size, root = lines
    if not _SIZE.fullmatch(size) or int(size) >= MOST_ENTRIES:
        raise FormatError("Checkpoint: the size is not a number of entries.")
    raw = _decoded(root)
    if len(raw) != HASH_SIZE:
        raise FormatError("Checkpoint: the root is not a hash.")
    return Checkpoint(origin, int(size), raw)


def _parse_signature(line: str) -> tuple[str, bytes]:
    found = _SIGNATURE_LINE.fullmatch(line)
    if not found:
        raise FormatError("Checkpoint: a signature line is malformed.")
    raw = _decoded(found[2])
    if len(raw) <= _KEY_ID_SIZE:
        raise FormatError("Checkpoint: a signature is too short.")
    return found[1], raw


def _decoded(text: str) -> bytes:
    try:
        return canonical_base64(text)
    except ValueError as error:
        raise FormatError("Checkpoint: not canonical base64.") from error


def _signature(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    signed = key_id(checkpoint.origin, key.public_key()) + key.sign(checkpoint.text.encode("utf-8"))
    return base64.b64encode(signed).decode("ascii")


def _untrusted(sentence: str) -> VerificationError:
    return VerificationError(RejectionCode.LOG_PROOF_INVALID, sentence)
