"""The box in Prometheus' text format (docs/serving.md): what the status says, as numbers. No prompt, name or token.

Written by hand: a dozen gauges are no reason for another library in the box.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sealwright_appliance.adapters.messages import AdapterState
from sealwright_appliance.serve.adapters import AdapterCounts
from sealwright_appliance.serve.engine_room import Presence
from sealwright_appliance.serve.queued_engine import Load

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MIB = 1024 * 1024
IN_MEMORY = (Presence.LOADED, Presence.LEAVING)
STATES = ("starting", "waiting-for-activation", "locked", "unlocked", "serving", "ended", "activated")
OF_A_MODEL: tuple[tuple[str, str, str, Callable[[Load], float]], ...] = (
    ("model_ready", "gauge", "1 for a model that answers.", lambda load: int(load.ready)),
    ("model_loaded", "gauge", "1 for a model in memory.", lambda load: int(load.presence in IN_MEMORY)),
    ("model_memory_bytes", "gauge", "What it takes there.", lambda load: load.memory_mib * MIB),
    ("model_loads_total", "counter", "How often it was loaded for a request.", lambda load: load.loads),
    ("model_unloads_total", "counter", "How often it made room for another.", lambda load: load.unloads),
    ("model_load_seconds_total", "counter", "What these loads took together.", lambda load: load.loading_s),
    ("replies_running", "gauge", "Replies that are made now.", lambda load: load.running),
    ("requests_waiting", "gauge", "Requests in the queue.", lambda load: load.waiting),
)


def metrics_text(
    status: Mapping[str, Any], loads: Mapping[str, Load], room_mib: int, adapters: AdapterCounts | None
) -> str:
    """All metrics of a status document, and of the engines by model.

    Args:
        room_mib: memory of all engines together.
        adapters: None: there are none, or nobody tells.
    """
    lines = ["# HELP sealwright_box_state What the box does: 1 for its state.", "# TYPE sealwright_box_state gauge"]
    lines += [f'sealwright_box_state{{state="{state}"}} {int(status["state"] == state)}' for state in STATES]
    budget, lease = status.get("budget"), status.get("lease")
    if budget is not None:
        for name, what in (
            ("license_left", "Seconds until the licence ends, or its grace."),
            ("budget_left", "Seconds of running time that the licence leaves this box."),
            ("lease_left", "Seconds until the lease ends."),
        ):
            lines += _gauge(f"sealwright_{name}_seconds", what, budget[f"{name}_s"])
        what = "Days ahead of the nearest end that is warned of: 30, 7 or 1; 0: none."
        lines += _gauge("sealwright_warning_level_days", what, budget["level_days"] or 0)
    what = "API keys whose requests look like the copying of a model."
    lines += _gauge("sealwright_extraction_alarms", what, status["extraction_alarms"])
    if lease is not None:
        lines += _gauge("sealwright_lease_number", "Number of the lease.", lease["number"])
    lines += ["# HELP sealwright_payload_open 1 for a payload that is open.", "# TYPE sealwright_payload_open gauge"]
    for payload in status["payloads"]:
        is_open = int(payload["state"] not in {"closed", "failed"})
        lines.append(f'sealwright_payload_open{{payload="{payload["payload_id"]}"}} {is_open}')
    lines += _gauge("sealwright_engine_room_bytes", "Memory that engines may have together.", room_mib * MIB)
    for name, kind, what, value in OF_A_MODEL:
        lines += [f"# HELP sealwright_{name} {what}", f"# TYPE sealwright_{name} {kind}"]
        lines += [f'sealwright_{name}{{model="{model}"}} {value(load)}' for model, load in sorted(loads.items())]
    if adapters is not None:
        lines += _of_adapters(adapters)
    return "\n".join(lines) + "\n"


def _of_adapters(counts: AdapterCounts) -> list[str]:
    lines = ["# HELP sealwright_adapters The customer's adapters.", "# TYPE sealwright_adapters gauge"]
    lines += [f'sealwright_adapters{{state="{state}"}} {counts.states.get(state, 0)}' for state in AdapterState]
    name = "sealwright_adapter_trainings_total"
    lines += [f"# HELP {name} Trainings that have ended since their service was started.", f"# TYPE {name} counter"]
    ended = {"finished": counts.trainings.finished, "failed": counts.trainings.failed}
    return lines + [f'{name}{{result="{result}"}} {count}' for result, count in ended.items()]


def _gauge(name: str, what: str, value: int) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} gauge", f"{name} {value}"]
