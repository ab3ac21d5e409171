"""Every parser of the project that reads bytes or text from outside, with inputs that it takes, for fuzzing.

A new parser belongs here; tests/unit/testing/test_fuzz.py finds one that does not. LEFT_OUT names those that read what
the build host itself has made, or single hashes.
"""

from __future__ import annotations

from pathlib import Path

from sealwright_testing.license_world import LicenseWorld
from sealwright_testing.parsers.adapters import of_adapters
from sealwright_testing.parsers.documents import of_documents
from sealwright_testing.parsers.files import of_certificates, of_disks, of_exports, of_texts
from sealwright_testing.parsers.flows import of_flows
from sealwright_testing.parsers.messages import of_messages
from sealwright_testing.parsers.parser import Parser
from sealwright_testing.parsers.signed import of_signed
from sealwright_testing.parsers.tpm import of_tpm

__all__ = ["LEFT_OUT", "Parser", "all_parsers"]

LEFT_OUT = (
    *("parse_features", "parse_list", "parse_modules_dep", "parse_needed", "parse_sources"),
    "verify_inclusion",
)


def all_parsers(vectors: Path, folder: Path) -> list[Parser]:
    """The list.

    Args:
        vectors: tests/vectors.
        folder: an empty one, for a service that makes inputs.
    """
    world = LicenseWorld.create(folder / "service")
    try:
        return [
            *of_tpm(vectors, world),
            *of_messages(world),
            *of_flows(world),
            *of_documents(),
            *of_adapters(),
            *of_signed(vectors, world),
            *of_exports(world, folder),
            *of_certificates(world),
            *of_disks(folder),
            *of_texts(),
        ]
    finally:
        world.store.close()
