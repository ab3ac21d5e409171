"""Data sets that came to the box, where workloads see them (policies/spec/domain-flow.md, 1).

Their folder is the agent's, who could put a link to somewhere else in its place while systemd makes the mounts of a
workload. So :mod:`.unlock` binds it to a place of root's, once nothing unseals any more and before there is an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from sealwright_appliance import volumes
from sealwright_appliance.paths import Paths
from sealwright_appliance.run import run
from sealwright_policies.errors import OperationError
from sealwright_policies.flows.documents import FileKind

OWN, LISTED = 0o700, 0o755
"""The agent's and root's alone, and what workloads read below it, whose users systemd draws."""


def bind_data_sets(paths: Paths, domains: Collection[str], execute: Callable[..., str] = run) -> dict[str, str]:
    """Bind the data sets of domains, read-only; why it could not be done, by domain."""
    problems: dict[str, str] = {}
    for domain in sorted(domains):
        try:
            execute(volumes.bind(_own_folder(paths.domain_files, domain), _place(paths, domain)))
        except OperationError as error:
            problems[domain] = str(error)
        except OSError as error:
            problems[domain] = f"The data sets of domain {domain} cannot be shown: {error.strerror}."
    return problems


def _own_folder(top: Path, domain: str) -> Path:
    """The folder of a domain's data sets, made if nothing has come yet; the one above is made with its key."""
    folder = top / domain / FileKind.DATA_SET.value
    for one in (top, folder.parent, folder):
        if one.is_symlink():
            raise OperationError(f"{one} is a link: it is left alone.", cure="Install the box anew.")
    folder.mkdir(exist_ok=True)
    folder.parent.chmod(OWN)
    folder.chmod(LISTED)
    return folder


def _place(paths: Paths, domain: str) -> Path:
    place = paths.data_sets / domain
    paths.data_sets.mkdir(mode=OWN, parents=True, exist_ok=True)
    place.mkdir(exist_ok=True)
    return place
