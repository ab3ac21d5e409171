"""What workloads have written: adapters that are served, metrics that the customer sees (policies/spec/domain.md, 7).

:mod:`.unlock` takes both at the start of the box, as root, once nothing unseals any more. They were written by a
program that has read sealed data and may have been subverted by it: nothing is parsed here but the metrics, and of
these a closed set of numbers is told. An adapter is read by the engine alone, in its sandbox; one may have come from
another box (policies/spec/domain-flow.md, 1).
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from sealwright_appliance.files import write_durably
from sealwright_appliance.flows.domain_files import CONTENT, DomainFiles
from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import put_date, since
from sealwright_appliance.status import PayloadState, PayloadStatus, WorkloadStatus
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.errors import OperationError, SealwrightError
from sealwright_policies.flows.documents import MADE_ENDINGS, FileKind, made_name
from sealwright_policies.workloads import METRICS_LIMIT, AdapterPlan, ReleaseWorkloads, parse_metrics

ADAPTER = "adapter"
"""Kind of a payload that is none of the release's: it was made in the box."""
OWN_ADAPTERS = "own-adapters"
"""Kind of what stands for all adapters of a model that are trained on examples of the customer."""
ADAPTER_FILE = "adapter.gguf"
ADAPTER_LIMIT = 64 * 1024 * 1024
"""Bytes; it lies in memory while the box runs."""
METRICS_SUFFIX = ".metrics.json"
READABLE, SEARCHABLE = 0o444, 0o755
"""By the engine, whose user systemd draws. The folder above is root's alone."""


def lay_out_adapters(
    paths: Paths,
    files: DomainFiles,
    payloads: Sequence[PayloadStatus],
    plans: ReleaseWorkloads,
    say: Callable[[str], None],
) -> list[PayloadStatus]:
    """Lay each adapter that is there, and whose model is open, where its engine finds it.

    One that a workload of its domain has written here goes before those that came from other boxes.
    """
    models = {
        one.payload_id: one for one in payloads if one.kind == PayloadKind.MODEL and one.state is PayloadState.OPEN
    }
    laid: list[PayloadStatus] = []
    for name, plan in plans.adapters.items():
        if (base := models.get(plan.base)) is None:
            continue
        if plan.trainer is not None:
            laid.append(_own_adapters(paths, name, plan, base))
            continue
        laid_out = paths.payloads / name / ADAPTER_FILE
        try:
            found = _made_here(paths, name, plan) or _received(files, name, plan)
            if found is None:
                continue
            write_durably(laid_out, found.content, mode=READABLE)
            put_date(laid_out, found.since)
            laid_out.parent.chmod(SEARCHABLE)
        except (SealwrightError, OSError) as error:
            say(f"adapter {name}: {error}")
            continue
        laid.append(
            PayloadStatus(
                payload_id=name,
                kind=ADAPTER,
                domain=plan.domain,
                file_name=ADAPTER_FILE,
                partition_id=base.partition_id,
                base=plan.base,
                state=PayloadState.OPEN,
            )
        )
    return laid


def _own_adapters(paths: Paths, name: str, plan: AdapterPlan, base: PayloadStatus) -> PayloadStatus:
    """Those of the customer lie on the state volume: the engine's unit binds them in."""
    (paths.payloads / name).mkdir(parents=True, exist_ok=True)
    return PayloadStatus(
        payload_id=name,
        kind=OWN_ADAPTERS,
        domain=plan.domain,
        file_name="",
        partition_id=base.partition_id,
        base=plan.base,
        state=PayloadState.OPEN,
    )


@dataclass(frozen=True, slots=True)
class _Adapter:
    """An adapter that can be served, and since when its days count."""

    content: bytes
    since: int | None


def _made_here(paths: Paths, name: str, plan: AdapterPlan) -> _Adapter | None:
    source = made_file(paths, plan.domain, name, FileKind.ADAPTER)
    content = read_result(source, ADAPTER_LIMIT)
    return None if content is None else _Adapter(content, since(source))


def _received(files: DomainFiles, name: str, plan: AdapterPlan) -> _Adapter | None:
    """The latest that came from another box, where a workload wrote it for this member."""
    came = [
        one
        for one in files.placed()
        if (one.file.domain, one.file.kind) == (plan.domain, FileKind.ADAPTER)
        and one.file.flow_id is not None
        and one.file.name == made_name(name, FileKind.ADAPTER, one.file.digest)
    ]
    if not came:
        return None
    latest = max(came, key=lambda one: (one.file.at, one.file.name))
    content = read_result(latest.folder / CONTENT, ADAPTER_LIMIT)
    if content is None or hashlib.sha256(content).hexdigest() != latest.file.digest:
        raise OperationError(f"{latest.folder} is not the file that came.")
    return _Adapter(content, files.seen(latest))


def made_file(paths: Paths, domain: str, name: str, kind: FileKind) -> Path:
    """Where a workload writes what is to be served or to flow.

    Args:
        domain: of the workload.
        name: id of an adapter, or of the workload.
        kind: what it is.
    """
    return paths.results / domain / f"{name}{MADE_ENDINGS[kind]}"


def describe_workloads(
    paths: Paths,
    payloads: Sequence[PayloadStatus],
    plans: ReleaseWorkloads,
    say: Callable[[str], None],
    without_place: Mapping[str, str],
) -> tuple[WorkloadStatus, ...]:
    """The open workloads, and what those of earlier boots tell the customer, if their domain lets them.

    Args:
        without_place: why workloads of a domain are not started: no volume for results, no data sets.
    """
    return tuple(
        WorkloadStatus(
            payload_id=one.payload_id,
            domain=one.domain,
            sentence=without_place.get(one.domain, ""),
            metrics=_metrics(paths, one.payload_id, plans, say),
        )
        for one in payloads
        if one.kind == PayloadKind.WORKLOAD and one.state is PayloadState.OPEN
    )


def _metrics(paths: Paths, name: str, plans: ReleaseWorkloads, say: Callable[[str], None]) -> dict[str, float]:
    plan = plans.workloads.get(name)
    if plan is None or not plan.metrics:
        return {}
    try:
        content = read_result(paths.results / plan.domain / f"{name}{METRICS_SUFFIX}", METRICS_LIMIT)
        return {} if content is None else parse_metrics(content).told()
    except SealwrightError:
        # Not the error's words: they may quote what was written.
        say(f"workload {name}: its metrics are malformed.")
        return {}


def read_result(path: Path, limit: int) -> bytes | None:
    """A file that a workload has made; None if there is none.

    Raises:
        OperationError: no file but something else, longer than ``limit`` bytes, or the disk refuses.
    """
    with opened_result(path, limit) as file:
        content = None if file is None else file.read(limit + 1)
    if content is not None and len(content) > limit:
        raise _too_long(path, limit)
    return content


@contextmanager
def opened_result(path: Path, limit: int) -> Iterator[BufferedReader | None]:
    """The same, opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise OperationError(f"{path} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OperationError(f"{path} is not a file.")
        if found.st_size > limit:
            raise _too_long(path, limit)
        yield file


def _too_long(path: Path, limit: int) -> OperationError:
    return OperationError(f"{path} is longer than {limit} bytes.")
