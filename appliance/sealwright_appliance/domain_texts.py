"""What the domains of the release say at this start, and what stays closed by it (policies/spec/domain-flow.md, 12)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from sealwright_appliance.boot import BoxCode, Obstacle
from sealwright_appliance.domain_opening import obstacle_to_domain, rights_of
from sealwright_appliance.flows.closed_files import obstacle_to_file, settle_files, wider
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_volumes import MIB, ResultVolumes, days_aside
from sealwright_appliance.status import WHOLE, KeptClosed
from sealwright_policies.domains.entrusted import EntrustedText
from sealwright_policies.errors import SealwrightError
from sealwright_policies.wire.lease import Lease
from sealwright_policies.workloads import ReleaseWorkloads

CURE = (
    "It opens again under a release whose domain is within that one, such as the one before, until its days are over."
)
ASIDE = "Another volume is in their place, as not all of them had room in it or could be read."
ASIDE_CURE = "They open again under a release that gives them {} MiB as before, until their days are over."
ROOM = "They take {} MiB of the state volume, and go when their days are over{}."


@dataclass(frozen=True, slots=True)
class DomainTexts:
    """Of one start."""

    known: Collection[str]
    """Domains of the release."""
    texts: Mapping[str, EntrustedText]
    """What they say; those whose form and manifest do not agree are left out, and those that may not be opened here:
    nothing is opened under a text that is not there."""
    refused: Mapping[str, Obstacle]
    """Why those may not."""

    @classmethod
    def load(cls, paths: Paths, lease: Lease, say: Callable[[str], None], damaged: Mapping[str, str]) -> DomainTexts:
        """Read them from the root, and judge whether this box may open them.

        Args:
            paths: of the box.
            lease: by which it is open.
            say: tells what cannot be read.
            damaged: domains whose folder cannot be used, and why.
        """
        own, rights = OwnDomains(paths), rights_of(paths, lease, say)
        texts: dict[str, EntrustedText] = {}
        refused: dict[str, Obstacle] = {}
        for name in own.names():
            try:
                text = own.text(name)
                obstacle = obstacle_to_domain(text.domain, own.release.manifest.product_version, rights)
            except SealwrightError as error:
                say(f"domain {name}: {error}")
                continue
            if obstacle is None and name in damaged:
                obstacle = Obstacle(BoxCode.STATE_VOLUME, damaged[name])
            if obstacle is None:
                texts[name] = text
            else:
                refused[name] = obstacle
        return cls(own.names(), texts, refused)

    def settle_files(self, files: DomainFiles, say: Callable[[str], None]) -> dict[str, str]:
        """Close and open files; domains of which nothing may be shown or served, and why."""
        unsettled = settle_files(files, self.known, self.texts, say)
        sentences = {one: f"A data set of domain {one} could not be closed." for one in unsettled}
        return sentences | self.refusals

    @property
    def refusals(self) -> dict[str, str]:
        """Domains that may not be opened here, and why."""
        return {name: obstacle.sentence for name, obstacle in self.refused.items()}

    def kept_closed(self, paths: Paths, files: DomainFiles) -> tuple[KeptClosed, ...]:
        """What stays closed, by domain and reason."""
        whole = (
            KeptClosed(domain=name, what=WHOLE, code=str(obstacle.code), sentence=obstacle.sentence)
            for name, obstacle in self.refused.items()
        )
        return (*whole, *self._files(files), *self._results(ResultVolumes(paths.results)))

    @property
    def _judged(self) -> set[str]:
        """Domains whose files and results are judged one by one."""
        return set(self.known).difference(self.refused)

    def _files(self, files: DomainFiles) -> Iterator[KeptClosed]:
        why = Counter(
            (one.file.domain, obstacle)
            for one in files.closed()
            if one.file.domain in self._judged
            and (obstacle := obstacle_to_file(files, one, self.texts.get(one.file.domain))) is not None
        )
        for (domain, obstacle), count in sorted(why.items(), key=lambda one: (one[0][0], one[0][1].sentence)):
            what = "1 file" if count == 1 else f"{count} files"
            yield KeptClosed(domain=domain, what=what, code=obstacle.code, sentence=f"{obstacle.sentence} {CURE}")

    def _results(self, volumes: ResultVolumes) -> Iterator[KeptClosed]:
        for one in volumes.closed(self._judged):
            now, cure = self.texts.get(one.domain), CURE
            if (obstacle := wider(one.text, now)) is None:
                obstacle, cure = Obstacle(BoxCode.RESULTS_ASIDE, ASIDE), ASIDE_CURE.format(one.size // MIB)
            days = days_aside(one.text, None if now is None else now.domain.retention.results_days)
            room = ROOM.format(-(-one.taken // MIB), "" if days is None else f" ({days} at most)")
            yield KeptClosed(
                domain=one.domain,
                what="results",
                code=obstacle.code,
                sentence=f"{obstacle.sentence} {cure} {room}",
            )


def without(plans: ReleaseWorkloads, domains: Collection[str]) -> ReleaseWorkloads:
    """Plans in which domains have no adapters that are served: they may not be opened, or a file not be closed."""
    kept = {name: plan for name, plan in plans.adapters.items() if plan.domain not in domains}
    return plans.model_copy(update={"adapters": kept})


def without_files(plans: ReleaseWorkloads) -> ReleaseWorkloads:
    """Plans that read nothing of what lies on the state volume: nobody knows who has put it there."""
    workloads = {name: plan.model_copy(update={"metrics": False}) for name, plan in plans.workloads.items()}
    return plans.model_copy(update={"workloads": workloads, "adapters": {}, "results": {}})
