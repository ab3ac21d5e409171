"""The result of this boot's unlock, as the other processes of the box read it."""

from __future__ import annotations

from sealwright_appliance.files import read_file
from sealwright_appliance.paths import Paths
from sealwright_appliance.status import BOOT_RESULT_LIMIT, BootResult
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import parse_json


def load_boot_result(paths: Paths) -> BootResult:
    """What :mod:`.unlock` wrote in this boot."""
    content = read_file(paths.boot_result, BOOT_RESULT_LIMIT)
    if content is None:
        raise OperationError("The result of unlocking is missing; sealwright-unlock.service has not run.")
    return parse_json(BootResult, content, limit=BOOT_RESULT_LIMIT)
