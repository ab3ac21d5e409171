"""The result of this boot's unlock, as the other processes of the box read it, and what has become of it since."""

from __future__ import annotations

from sealwright_appliance.boot import BoxState
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import BOOT_RESULT_LIMIT, BootResult, BoxStatus
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes, parse_json


def load_boot_result(paths: Paths) -> BootResult:
    """What :mod:`.unlock` wrote in this boot."""
    content = read_file(paths.boot_result, BOOT_RESULT_LIMIT)
    if content is None:
        raise OperationError("The result of unlocking is missing; sealwright-unlock.service has not run.")
    return parse_json(BootResult, content, limit=BOOT_RESULT_LIMIT)


def keep_status(paths: Paths, status: BoxStatus, steady_s: float) -> None:
    """Write the present lease, and the end of serving, into the result: whatever restarts in this boot goes by it.

    Raises:
        SealwrightError: the file cannot be read or written.
    """
    boot = load_boot_result(paths)
    changes: dict[str, object] = {"lease": status.lease}
    if status.state is BoxState.ENDED:
        changes |= {name: getattr(status, name) for name in ("state", "code", "sentence", "payloads")}
        changes |= {"at": status.since, "ended_s": steady_s if boot.ended_s is None else boot.ended_s}
    write_durably(paths.boot_result, document_bytes(boot.model_copy(update=changes)), mode=0o644)
