"""What workloads wrote becomes files of their domain, where this lets them flow (policies/spec/domain-flow.md, 1).

By :mod:`..unlock`, as root and before there is an agent: who sends such a file then as any other, and comes to nothing
else of the results. Which files these are stands in the domain; nothing in them is parsed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sealwright_appliance.flows.domain_files import DomainFile, DomainFiles
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import since
from sealwright_appliance.results import ADAPTER_LIMIT, made_file, opened_result
from sealwright_policies.domains.entrusted import EntrustedText
from sealwright_policies.errors import SealwrightError
from sealwright_policies.flows.content import FRAME_SIZE, frame_count
from sealwright_policies.flows.documents import FileKind, made_name
from sealwright_policies.workloads import ReleaseWorkloads

LIMITS = {FileKind.ADAPTER: ADAPTER_LIMIT, FileKind.RESULTS: 256 * 1024 * 1024}
"""Bytes: a boot waits for it."""


@dataclass(frozen=True, slots=True)
class _Made:
    domain: str
    kind: FileKind
    member: str


def keep_made_files(
    paths: Paths,
    files: DomainFiles,
    plans: ReleaseWorkloads,
    texts: Mapping[str, EntrustedText],
    *,
    now: int,
    say: Callable[[str], None],
) -> None:
    """Copy what workloads of earlier boots wrote, as far as their domains let it flow, to the files of the domains.

    Args:
        paths: of the box.
        files: of the box.
        plans: which files.
        texts: of the domains whose results are open, which these are within.
        now: by the box's clock, seconds.
        say: tells what could not be copied; the next start tries again.
    """
    for made in (one for one in _listed(plans) if one.domain in texts):
        try:
            _keep(paths, files, made, texts[made.domain], now)
        except (SealwrightError, OSError) as error:
            say(f"{made.kind.value} {made.member}: {error}")


def _listed(plans: ReleaseWorkloads) -> Iterator[_Made]:
    for domain, plan in plans.results.items():
        yield from (_Made(domain, FileKind.ADAPTER, name) for name in plan.adapters)
        yield from (_Made(domain, FileKind.RESULTS, name) for name in plan.results)


def _keep(paths: Paths, files: DomainFiles, made: _Made, text: EntrustedText, now: int) -> None:
    source = made_file(paths, made.domain, made.member, made.kind)
    with opened_result(source, LIMITS[made.kind]) as content:
        if content is None:
            return
        digest, size = hashlib.file_digest(content, "sha256").hexdigest(), content.tell()
        file = DomainFile(
            version=1, domain=made.domain, kind=made.kind, name=made_name(made.member, made.kind, digest),
            digest=digest, size=size, at=now,
        )  # fmt: skip
        if any(
            (one.file.domain, one.file.kind, one.file.name) == (file.domain, file.kind, file.name)
            for one in (*files.placed(), *files.closed())
        ):
            return
        incoming = files.incoming(f"made-{digest[:32]}", file, text)
        content.seek(incoming.next_frame * FRAME_SIZE)
        for number in range(incoming.next_frame, frame_count(size)):
            incoming.append(number, content.read(FRAME_SIZE))
        incoming.verify()
    dated = since(source)
    if dated is not None:  # as old as what it was made of, so both go together and it is not made again
        incoming.date(dated)
    incoming.put_in_place()
