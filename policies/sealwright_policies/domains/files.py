"""Domain files on disk: one with all that it names, or a folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sealwright_policies.cli_files import read_file
from sealwright_policies.domains.chain import Domains, verify_domains
from sealwright_policies.domains.reader import DOMAIN_FILE_LIMIT, DomainFile, parse_domain
from sealwright_policies.errors import FormatError, UsageError

FILES_MOST = 256
"""In one folder."""


def load_domain(path: Path) -> DomainFile:
    """Read and parse one file.

    Raises:
        UsageError, FormatError: it cannot be read; malformed, or its name is not that of its domain.
    """
    source = parse_domain(read_file(path, max_size=DOMAIN_FILE_LIMIT), str(path))
    if path.name != f"{source.domain.name}.toml":
        line = source.line(("name",))
        raise FormatError(
            f"{path}: line {line}: name: domain {source.domain.name} stands in {source.domain.name}.toml."
        )
    return source


def load_folder(folder: Path) -> tuple[DomainFile, ...]:
    """All domains of a folder, by name.

    Raises:
        UsageError: there are none, or too many.
        FormatError: as :func:`load_domain`.
    """
    files = sorted(folder.glob("*.toml"))
    if not 1 <= len(files) <= FILES_MOST:
        raise UsageError(f"{folder}: holds {len(files)} domain files (*.toml); 1 to {FILES_MOST} are expected")
    return tuple(load_domain(path) for path in files)


def load_with_named(path: Path) -> tuple[DomainFile, ...]:
    """A domain, first, those that it names, and those that they name, from one folder; what is missing is left out.

    Raises:
        UsageError, FormatError: as :func:`load_domain`.
    """
    first = load_domain(path)
    found = {first.domain.name: first}
    waiting = [first]
    while waiting:
        domain = waiting.pop(0).domain
        for name in (*(one.source for one in domain.chain), *(one.to for one in domain.flow)):
            beside = path.parent / f"{name}.toml"
            if name not in found and beside.is_file():
                found[name] = load_domain(beside)
                waiting.append(found[name])
    return tuple(found.values())


def load_files(path: Path) -> tuple[DomainFile, ...]:
    """A folder's domains, or a file's with those that it names.

    Raises:
        UsageError, FormatError: as :func:`load_domain`.
    """
    return load_folder(path) if path.is_dir() else load_with_named(path)


def load_verified(path: Path) -> Domains:
    """As :func:`load_files`, judged.

    Raises:
        UsageError, FormatError: as :func:`load_domain`.
        VerificationError: they are refused as a set.
    """
    return verify_domains(load_files(path))


def by_name(files: Iterable[DomainFile]) -> dict[str, DomainFile]:
    """Domains by their names."""
    return {one.domain.name: one for one in files}
