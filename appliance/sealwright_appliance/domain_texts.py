"""What the domains of the release say at this start, and what stays closed by it (policies/spec/domain-flow.md, 12)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from sealwright_appliance.flows.closed_files import obstacle_to_file, settle_files, wider
from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_volumes import ResultVolumes
from sealwright_appliance.status import KeptClosed
from sealwright_policies.domains.entrusted import EntrustedText
from sealwright_policies.errors import SealwrightError
from sealwright_policies.workloads import ReleaseWorkloads

CURE = (
    "It opens again under a release whose domain is within that one, such as the one before, until its days are over."
)


@dataclass(frozen=True, slots=True)
class DomainTexts:
    """Of one start."""

    known: Collection[str]
    """Domains of the release."""
    texts: Mapping[str, EntrustedText]
    """What they say; those whose form and manifest do not agree are left out."""

    @classmethod
    def load(cls, paths: Paths, say: Callable[[str], None]) -> DomainTexts:
        """Read them from the root; ``say`` tells what cannot be read."""
        own = OwnDomains(paths)
        texts: dict[str, EntrustedText] = {}
        for name in own.names():
            try:
                texts[name] = own.text(name)
            except SealwrightError as error:
                say(f"domain {name}: {error}")
        return cls(own.names(), texts)

    def settle_files(self, paths: Paths, say: Callable[[str], None]) -> set[str]:
        """Close and open files; domains in which one could not be closed."""
        return settle_files(DomainFiles(paths.domain_files), self.known, self.texts, say)

    def kept_closed(self, paths: Paths) -> tuple[KeptClosed, ...]:
        """What stays closed, by domain and reason."""
        return (*self._files(DomainFiles(paths.domain_files)), *self._results(ResultVolumes(paths.results)))

    def _files(self, files: DomainFiles) -> Iterator[KeptClosed]:
        why = Counter(
            (one.file.domain, obstacle)
            for one in files.closed()
            if one.file.domain in self.known
            and (obstacle := obstacle_to_file(files, one, self.texts.get(one.file.domain))) is not None
        )
        for (domain, obstacle), count in sorted(why.items(), key=lambda one: (one[0][0], one[0][1].sentence)):
            what = "1 file" if count == 1 else f"{count} files"
            yield KeptClosed(domain=domain, what=what, code=obstacle.code, sentence=f"{obstacle.sentence} {CURE}")

    def _results(self, volumes: ResultVolumes) -> Iterator[KeptClosed]:
        for domain, then in volumes.closed(self.known):
            if (obstacle := wider(then, self.texts.get(domain))) is not None:
                yield KeptClosed(
                    domain=domain, what="results", code=obstacle.code, sentence=f"{obstacle.sentence} {CURE}"
                )


def without(plans: ReleaseWorkloads, domains: Collection[str]) -> ReleaseWorkloads:
    """Plans in which domains have no adapters that are served: one of their files could not be closed."""
    kept = {name: plan for name, plan in plans.adapters.items() if plan.domain not in domains}
    return plans.model_copy(update={"adapters": kept})


def without_files(plans: ReleaseWorkloads) -> ReleaseWorkloads:
    """Plans that read nothing of what lies on the state volume: nobody knows who has put it there."""
    workloads = {name: plan.model_copy(update={"metrics": False}) for name, plan in plans.workloads.items()}
    return plans.model_copy(update={"workloads": workloads, "adapters": {}, "results": {}})
