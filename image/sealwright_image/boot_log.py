"""What a machine's event log shows in PCR 4, and the ways to a release's kernel image that follow from it. Pure.

A log is nobody's word: whoever approves a way from one vouches for what is in it. So every event must explain itself.
Short texts and separators do, by their digest; the release's own images do; anything else is code that ran before the
release, and counts only when it is named by its digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from sealwright_policies.appraisal.events import SEPARATORS, SHA256, events_by_pcr, printable, sha256_digests
from sealwright_policies.appraisal.measurements import replay
from sealwright_policies.appraisal.reference_values import BootApplication
from sealwright_policies.errors import FormatError, RejectionCode, VerificationError
from sealwright_policies.tcg.eventlog import Event, EventLog, EventType
from sealwright_policies.tcg.events import parse_image_load

WITH_KERNEL = "-and-kernel"
"""Ends the name of a way on which firmware measures the kernel too."""
_APPLICATION = EventType.EV_EFI_BOOT_SERVICES_APPLICATION
MOST_TEXT = 128
"""Bytes of the longest text. An image's digest is that of a string of bytes too, but never of a short line of ASCII."""
_TEXTS = frozenset({EventType.EV_ACTION, EventType.EV_EFI_ACTION, EventType.EV_OMIT_BOOT_DEVICE_EVENTS})


@dataclass(frozen=True, slots=True)
class Images:
    """Authenticode digests of the release's UKI and of the kernel inside, lower-case hex."""

    uki: str
    kernel: str


@dataclass(frozen=True, slots=True)
class LoggedBoot:
    """The ways that a log shows, and their events in words, in order."""

    ways: tuple[tuple[str, ...], ...]
    """Digests. Two where another system made the log: whether firmware measures the kernel too cannot be seen then."""
    account: tuple[str, ...]


def read_boot(log: EventLog, images: Images, named: AbstractSet[str] = frozenset()) -> LoggedBoot:
    """The ways through PCR 4 of the machine that wrote a log, the release's kernel image at the end of each.

    A log of another system counts up to its first boot application: what firmware does until then it does for every
    system.

    Args:
        log: of a boot of the release, or of another system on the machine.
        images: of the release.
        named: digests of further applications that whoever approves wants to have run before the release.

    Raises:
        FormatError: the log has no SHA-256 digests, or no boot in it.
        VerificationError: ``BOOT_APPLICATION`` if another application followed the release's, or one that is not
            named came before it.
    """
    events = events_by_pcr(log).get(4, [])
    digests = sha256_digests(events)
    if not events or not all(digests):
        raise FormatError("The log does not show PCR 4 with a SHA-256 digest for every event.")
    if images.uki in digests:
        own = len(digests) - 1 - digests[::-1].index(images.uki)
        if digests[own + 1 :] not in ([], [images.kernel]):
            sentence = "The release's kernel image is not the last boot application of the log."
            raise VerificationError(RejectionCode.BOOT_APPLICATION, sentence)
        _require_explained(events[:own], images, named)
        return LoggedBoot((tuple(digests),), tuple(_words(event, images) for event in events))
    first = next((index for index, event in enumerate(events) if event.type is _APPLICATION), None)
    if first is None:
        raise FormatError("The log shows no boot application in PCR 4; it is not of a whole UEFI boot.")
    before = events[:first]
    _require_explained(before, images, named)
    way = (*digests[:first], images.uki)
    account = (*(_words(event, images) for event in before), "then another system; the release would start here")
    return LoggedBoot((way, (*way, images.kernel)), account)


def boot_applications(boot: LoggedBoot, known: Iterable[BootApplication], name: str | None) -> list[BootApplication]:
    """Those of a log's ways that are not known yet, under a name of their own or one after their value."""
    values = {one.pcr4 for one in known}
    found = []
    for way in boot.ways:
        pcr4 = replay(map(bytes.fromhex, way)).hex()
        if pcr4 not in values:
            suffix = "" if way is boot.ways[0] else WITH_KERNEL
            found.append(BootApplication(name=f"{name or f'log-{pcr4[:12]}'}{suffix}", events=list(way), pcr4=pcr4))
    return found


def _require_explained(events: Sequence[Event], images: Images, named: AbstractSet[str]) -> None:
    for event in events:
        digest = event.digests[SHA256].hex()
        if digest in named or digest == images.uki or _explains_itself(event):
            continue
        raise VerificationError(
            RejectionCode.BOOT_APPLICATION,
            f"Event {event.index} {_words(event, images)}. It is not of this release; if you know what it is and want"
            f" it to run before the release, name it: --application {digest}",
        )


def _explains_itself(event: Event) -> bool:
    """Whether the digest, which alone counts, is that of a text or separator that can be read here."""
    is_separator = event.type is EventType.EV_SEPARATOR and event.data in SEPARATORS
    is_text = event.type in _TEXTS and _is_short_ascii(event.data)
    return (is_separator or is_text) and event.digests[SHA256] == hashlib.sha256(event.data).digest()


def _is_short_ascii(data: bytes) -> bool:
    text = data.removesuffix(b"\0")
    return len(text) <= MOST_TEXT and all(0x20 <= byte < 0x7F for byte in text)


def _words(event: Event, images: Images) -> str:
    digest = event.digests[SHA256].hex()
    if digest == images.uki:
        return "starts this release's kernel image"
    if digest == images.kernel:
        return "measures the kernel inside it"
    if _explains_itself(event):
        return "separator" if event.type is EventType.EV_SEPARATOR else f"says {printable(event.data)}"
    return f"is a {event.type_name}{_path(event)} with the digest {digest}"


def _path(event: Event) -> str:
    """What the log says of an image's place; no digest covers it."""
    try:
        path = parse_image_load(event.data).device_path_text if event.type is _APPLICATION else ""
    except FormatError:
        path = ""
    return f" of {path}" if path else ""
