"""Texts of a release's domains, held against its manifest: files that somebody has, and what owners have signed.

A manifest lists a digest of each domain and of its text only what is in the summary (spec/manifest.md, 2). Pure:
reading files is the caller's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sealwright_policies.appraisal.reference_values import Manifest
from sealwright_policies.domains.canonical import domain_digest, parse_canonical_form
from sealwright_policies.domains.model import Domain
from sealwright_policies.domains.reader import DomainFile
from sealwright_policies.errors import RejectionCode, VerificationError

TABLES: Final = ("run", "api", "retention", "metering")
"""Of which a summary says nothing."""


@dataclass(frozen=True, slots=True)
class HeldText:
    """A text whose digest is the manifest's."""

    source: str
    """Where it stands, for people."""
    domain: Domain

    def tables(self) -> dict[str, dict[str, Any]]:
        """What it says in :data:`TABLES`, every key with its value."""
        values = self.domain.model_dump(mode="json", include=set(TABLES))
        return {name: values[name] for name in TABLES}

    def lines(self) -> list[str]:
        """The same for people, as it could stand in the file."""
        name = self.domain.name
        said = {
            table: ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
            for table, values in self.tables().items()
        }
        return [
            f"text      domain {name}: {self.source}",
            *(f"{table:<9} domain {name}: {words}" for table, words in said.items()),
        ]


def hold_texts(manifest: Manifest, files: Iterable[DomainFile]) -> Mapping[str, HeldText]:
    """The texts that are known of a verified release, by domain.

    Raises:
        VerificationError: MANIFEST_MISMATCH, a file is of another text than the release's domain; DOMAIN_UNKNOWN, the
            release has no such domain. Names all of them, with the code of the first.
    """
    listed = {one.name: one for one in manifest.domains}
    held = {
        one.name: HeldText("as its owner has signed it", parse_canonical_form(one.signed.canonical_form))
        for one in manifest.domains
        if one.signed is not None
    }
    problems: list[tuple[RejectionCode, str]] = []
    for file in files:
        name, digest = file.domain.name, domain_digest(file.domain).hex()
        if name not in listed:
            problems.append((RejectionCode.DOMAIN_UNKNOWN, f"{file.file}: the release has no domain {name}."))
        elif listed[name].digest != digest:
            sentence = (
                f"{file.file}: says something else than domain {name} of the release, by its digest {digest}; the"
                f" release, made with Sealwright {manifest.tools.sealwright}, has {listed[name].digest}."
            )
            problems.append((RejectionCode.MANIFEST_MISMATCH, sentence))
        else:
            held[name] = HeldText(f"that of {file.file}", file.domain)
    if problems:
        raise VerificationError(problems[0][0], " ".join(sentence for _, sentence in problems))
    return held
