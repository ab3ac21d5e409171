"""A small strict-length DER reader (X.690), for certificates that stricter readers refuse, and the way back for ours.

Makers of TPMs have issued roots whose names hold a SET out of DER order, or ECDSA algorithm identifiers with NULL
parameters; ``cryptography`` refuses to load them. Here only lengths and tags are enforced. Nothing is re-encoded:
signatures and fingerprints are checked over the original bytes. It does *not* read BER's indefinite lengths.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sealwright_policies.errors import FormatError

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
UTF8_STRING = 0x0C
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
SEQUENCE = 0x30
SET = 0x31

_MAX_LENGTH_OCTETS = 4
_STRING_CODECS = {0x0C: "utf-8", 0x12: "ascii", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}
"""UTF8String, NumericString, PrintableString, TeletexString (as makers use it), IA5String, BMPString."""


def context(number: int) -> int:
    """Tag of a constructed, context-specific element."""
    return 0xA0 | number


@dataclass(frozen=True, slots=True)
class Element:
    """One tag-length-value. ``raw`` is all of it, ``content`` the value alone."""

    tag: int
    raw: bytes
    content: bytes

    def children(self) -> list[Element]:
        """The elements that make up the content."""
        return list(_elements(self.content))

    def expect(self, tag: int) -> Element:
        """Return the element itself if it has this tag."""
        if self.tag != tag:
            raise FormatError(f"DER: tag {self.tag:#04x} where {tag:#04x} is due.")
        return self


def read_element(data: bytes) -> Element:
    """Read one element that fills all of ``data``."""
    element, rest = _read(data)
    if rest:
        raise FormatError(f"DER: {len(rest)} bytes behind the end.")
    return element


def leading_element(data: bytes) -> Element:
    """Read the first element and ignore what follows: an NV index is often longer than the certificate in it."""
    return _read(data)[0]


def _elements(data: bytes) -> Iterator[Element]:
    while data:
        element, data = _read(data)
        yield element


def _read(data: bytes) -> tuple[Element, bytes]:
    if len(data) < 2:
        raise FormatError("DER: truncated.")
    tag, first = data[0], data[1]
    if tag & 0x1F == 0x1F:
        raise FormatError("DER: tags of several octets are not used in certificates.")
    header, length = 2, first
    if first & 0x80:
        octets = first & 0x7F
        if not 1 <= octets <= _MAX_LENGTH_OCTETS or len(data) < 2 + octets:
            raise FormatError("DER: length not readable.")
        length = int.from_bytes(data[2 : 2 + octets], "big")
        header += octets
        if length < 0x80 or length >> (8 * (octets - 1)) == 0:
            raise FormatError("DER: length not in its shortest form.")
    end = header + length
    if end > len(data):
        raise FormatError("DER: truncated.")
    return Element(tag, data[:end], data[header:end]), data[end:]


def encode(tag: int, *contents: bytes) -> bytes:
    """An element; its content is the given bytes one behind another."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def encode_integer(value: int) -> bytes:
    """An INTEGER that is not negative."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_bits(octets: bytes) -> bytes:
    """A BIT STRING of whole octets."""
    return encode(BIT_STRING, b"\0", octets)


def encode_time(seconds: int) -> bytes:
    """A time since the epoch as certificates want it: UTCTime until 2049 (RFC 5280, 4.1.2.5)."""
    at = time.gmtime(seconds)
    if at.tm_year < 2050:
        return encode(UTC_TIME, time.strftime("%y%m%d%H%M%SZ", at).encode("ascii"))
    return encode(GENERALIZED_TIME, time.strftime("%Y%m%d%H%M%SZ", at).encode("ascii"))


def decode_integer(element: Element) -> int:
    """A signed INTEGER."""
    content = element.expect(INTEGER).content
    if not content:
        raise FormatError("DER: empty INTEGER.")
    return int.from_bytes(content, "big", signed=True)


def decode_boolean(element: Element) -> bool:
    """A BOOLEAN; any octet but zero is true, as some makers write 0x01."""
    content = element.expect(BOOLEAN).content
    if len(content) != 1:
        raise FormatError("DER: BOOLEAN of a wrong length.")
    return content != b"\0"


def decode_bits(element: Element) -> bytes:
    """A BIT STRING of whole octets, as keys and signatures are."""
    content = element.expect(BIT_STRING).content
    if not content or content[0] != 0:
        raise FormatError("DER: BIT STRING not of whole octets.")
    return content[1:]


def decode_flags(element: Element) -> frozenset[int]:
    """Positions of the set bits of a BIT STRING, first bit 0."""
    content = element.expect(BIT_STRING).content
    if not content or content[0] > 7:
        raise FormatError("DER: BIT STRING not readable.")
    bits = content[1:]
    return frozenset(8 * i + j for i, octet in enumerate(bits) for j in range(8) if octet & (0x80 >> j))


def decode_oid(element: Element) -> str:
    """An OBJECT IDENTIFIER in dotted text."""
    content = element.expect(OBJECT_IDENTIFIER).content
    if not content or content[-1] & 0x80 or len(content) > 64:
        raise FormatError("DER: OBJECT IDENTIFIER not readable.")
    arcs: list[int] = []
    value = 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            arcs.append(value)
            value = 0
    first = min(arcs[0] // 40, 2)
    return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def decode_text(element: Element) -> str | None:
    """The text of a string type, None for other types or undecodable octets."""
    codec = _STRING_CODECS.get(element.tag)
    if codec is None:
        return None
    try:
        return element.content.decode(codec)
    except UnicodeDecodeError:
        return None
