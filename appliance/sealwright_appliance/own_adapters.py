"""Which of the customer's adapters an engine opens: those that there are as it starts (spec/own-adapters.md, 6).

Names alone are looked at here, which is root's: the files are the adapter service's, and are read by the engine.
"""

from __future__ import annotations

import re
from pathlib import Path

from sealwright_appliance.files import write_durably
from sealwright_appliance.paths import Paths
from sealwright_policies.workloads import ReleaseWorkloads

FILE = re.compile(r"adapter-[0-9a-f]{24}\.gguf")
VARIABLE = "SEALWRIGHT_ADAPTER="
NONE_APPLIED = "--lora-init-without-apply"
"""What a request does not ask for changes nothing in its answer."""


def adapter_names(folder: Path) -> list[str]:
    """Files of trained adapters, sorted."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(name for name in names if FILE.fullmatch(name))


def with_adapters(environment: str, seen_at: Path, names: list[str]) -> str:
    """An engine's environment file with these adapters.

    Args:
        seen_at: the folder as the engine sees it.
    """
    words = f"{NONE_APPLIED} --lora {','.join(str(seen_at / name) for name in names)}" if names else ""
    return re.sub(rf"^{VARIABLE}.*$", f"{VARIABLE}{words}", environment, flags=re.MULTILINE)


def name_own_adapters(paths: Paths, payload_id: str, plans: ReleaseWorkloads) -> None:
    """Name an engine's adapters anew; nothing where they are not the customer's."""
    plan = plans.adapters.get(payload_id)
    if plan is None or plan.trainer is None:
        return
    path = paths.engine_environments / payload_id
    names = adapter_names(paths.served_adapters(payload_id))
    text = with_adapters(path.read_text("utf-8"), paths.payloads / payload_id, names)
    write_durably(path, text.encode("utf-8"))
