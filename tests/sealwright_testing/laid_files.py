"""Files of domains that are there without a transfer."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.flows.file_seals import FileSeals
from sealwright_policies.domains.entrusted import EntrustedText, entrusted_text
from sealwright_policies.flows.content import FRAME_SIZE, frame_count
from sealwright_policies.flows.documents import FileKind
from sealwright_testing.domain_texts import domain_text, parse

SEALS = FileSeals(bytes(range(32)))
"""Of a box of tests."""


def files_of(root: Path, *domains: str) -> DomainFiles:
    """Files of domains, whose folders are made, as unlocking does."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    for domain in domains:
        (root / domain).mkdir(mode=0o700, exist_ok=True)
    return DomainFiles(root, SEALS)


def text_of(name: str, more: str = "") -> EntrustedText:
    """What a domain of :func:`domain_text` says, which takes nothing from others."""
    return entrusted_text(name, {name: parse(domain_text(name, more=more)).domain})


def lay_in(
    files: DomainFiles, domain: str, name: str, content: bytes, *, text: EntrustedText | None = None, **more: Any
) -> DomainFile:
    """Make a file of a domain without a box, as its agent does. Its domain says the least if no text is given."""
    fields: dict[str, Any] = {
        "version": 1, "domain": domain, "kind": FileKind.DATA_SET, "name": name, "size": len(content), "at": 0,
        "digest": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    said = text or text_of(domain)
    incoming = files.incoming(f"import-{name}", DomainFile(**(fields | more)), said)
    for number in range(frame_count(len(content))):
        incoming.append(number, content[number * FRAME_SIZE :][:FRAME_SIZE])
    incoming.verify()
    incoming.put_in_place()
    return incoming.file
