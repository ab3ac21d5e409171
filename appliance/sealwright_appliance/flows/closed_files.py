"""Files of domains that stay closed: they came under a text that this release's is not within (domain-flow.md, 12).

By :mod:`..unlock`, before anything reads them and before there is an agent; each start judges all of them anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.flows.domain_files import DomainFiles, HeldFile
from sealwright_appliance.flows.strangers import drop, strangers
from sealwright_policies.domains.entrusted import EntrustedText, widenings
from sealwright_policies.domains.model import Import
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.flows.documents import FileKind

NOT_SAID = "What this release says of the domain cannot be read."
NOT_KEPT = "What the domain said when it came was not kept, or cannot be read by this release."
WIDER = "This release's domain is wider than when it came: {}."
NOT_LET_IN = "The domain lets nobody put in data sets any more (run.imports)."


def wider(then: EntrustedText | None, now: EntrustedText | None) -> Obstacle | None:
    """Why what came under a text stays closed; None if it may be opened.

    Args:
        then: the text that was kept with it, if one was.
        now: of this release, if it can be read.
    """
    if now is None:
        return Obstacle(BoxCode.DOMAIN_CHANGED, NOT_SAID)
    if then is None:
        return Obstacle(BoxCode.DOMAIN_CHANGED, NOT_KEPT)
    found = widenings(then, now)
    return Obstacle(BoxCode.DOMAIN_CHANGED, WIDER.format(found[0])) if found else None


def obstacle_to_file(files: DomainFiles, held: HeldFile, now: EntrustedText | None) -> Obstacle | None:
    """Why a file stays closed; None if it may be opened."""
    try:
        then = files.text(held)
    except (FormatError, OperationError):
        then = None
    put_in = held.file.kind is FileKind.DATA_SET and held.file.flow_id is None
    if put_in and now is not None and Import.DATA_SET not in now.domain.run.imports:
        return Obstacle(BoxCode.DOMAIN_CHANGED, NOT_LET_IN)
    return wider(then, now)


def settle_files(
    files: DomainFiles, known: Collection[str], texts: Mapping[str, EntrustedText], say: Callable[[str], None]
) -> set[str]:
    """Drop what is no file, close what may not be opened, open what may be again; domains in which it failed.

    Args:
        files: of the box.
        known: domains of the release; what lies in others nobody can read.
        texts: what they say, as far as it can be read.
        say: tells what could not be done.
    """
    unsettled = {domain for domain in known if not _without_strangers(files, domain, say)}
    for held in (one for one in (*files.placed(), *files.closed()) if one.file.domain in known):
        domain = held.file.domain
        stays = obstacle_to_file(files, held, texts.get(domain)) is not None
        try:
            if stays and not held.is_closed:
                files.close(held)
            elif held.is_closed and not stays:
                files.open(held)
        except OperationError as error:
            say(f"{held.file.kind.value} {held.file.name} of {domain}: {error}")
            unsettled |= {domain} if stays else set()
    return unsettled


def _without_strangers(files: DomainFiles, domain: str, say: Callable[[str], None]) -> bool:
    """Whether nothing but files of this box lies in a domain, now."""
    try:
        for stranger in strangers(files, domain):
            drop(files, domain, stranger)
            place = stranger.relative_to(files.root / domain)
            say(f"domains: {place} of {domain} has no seal of this box: it is removed, and nothing of it is used.")
    except OperationError as error:
        say(f"domains: {domain}: {error}")
        return False
    return True
