"""Where the image's packages come from: the mirror that the tools root was made from, or the product's own.

The tools root's list came from the build host's own apt configuration, so that no mirror is named in the repository.
"""

from __future__ import annotations

from dataclasses import dataclass

from sealwright_policies.errors import OperationError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
"""Inside the tools root."""
SECURITY_SUFFIX = "-security"


@dataclass(frozen=True, slots=True)
class Source:
    """One line of a sources.list."""

    address: str
    suite: str
    components: tuple[str, ...]


def parse_sources(listing: str) -> list[Source]:
    """The ``deb`` lines of a sources.list, options in brackets skipped."""
    sources = []
    for line in listing.splitlines():
        words = [word for word in line.split() if not (word.startswith("[") or word.endswith("]"))]
        if len(words) >= 4 and words[0] == "deb":
            sources.append(Source(words[1], words[2], tuple(words[3:])))
    return sources


def debian_sources(listing: str, mirror: str | None) -> str:
    """The deb822 text for mkosi's sandbox.

    Args:
        listing: sources.list of the tools root.
        mirror: Takes the place of every address but that of security updates, which mirrors seldom carry.

    Raises:
        OperationError: the listing names no source.
    """
    sources = parse_sources(listing)
    if not sources:
        raise OperationError("The tools root names no package source.", cure="Run `make setup`.")
    return "\n".join(_stanza(source, mirror) for source in sources)


def _stanza(source: Source, mirror: str | None) -> str:
    address = source.address if mirror is None or source.suite.endswith(SECURITY_SUFFIX) else mirror
    return (
        f"Types: deb\nURIs: {address}\nSuites: {source.suite}\n"
        f"Components: {' '.join(source.components)}\nSigned-By: {KEYRING}\n"
    )
