"""Whether the copying of a model is seen: made-up traces through the box's own rules (policies/spec/outflow.md, 4).

The thresholds in :mod:`sealwright_appliance.outflow.extraction` were chosen on seeds below :data:`MEASURED`; what is
reported is of other seeds. A trace is seen if it ever comes to an alarm; one of somebody who only uses the model must
not. ``outflow_roc_…`` are points of the curve: what is seen, and falsely seen, with thresholds so many times as high.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor

from sealwright_testing.bench import Figure, figure
from sealwright_testing.extraction_scores import Scored, score
from sealwright_testing.extraction_traces import COPYING, EVADING, NORMAL, Kind, restart_every_s, trace

MEASURED = 10_000
"""First of the seeds."""
TRACES_NORMAL = 60
"""Of each kind."""
TRACES_COPYING = 30
DAYS = 2
TIMES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


def measure() -> Iterator[Figure]:
    """All figures."""
    with ProcessPoolExecutor() as workers:
        normal, copying, evading = (
            {name: list(workers.map(_scored, [(group, name, MEASURED + n) for n in range(count)], chunksize=5))
             for name in kinds}
            for group, kinds, count in (("normal", NORMAL, TRACES_NORMAL), ("copying", COPYING, TRACES_COPYING),
                                        ("evading", EVADING, TRACES_COPYING))
        )  # fmt: skip
    yield _share("outflow_detected_percent", _all(copying), f"{len(_all(copying))} traces that copy")
    yield _share("outflow_false_alarm_percent", _all(normal), f"{len(_all(normal))} traces of {DAYS} days that do not")
    for name, found in (copying | evading).items():
        yield _share(f"outflow_detected_percent_{_word(name)}", found, "evades by design" if name in evading else name)
        before = [one.tokens_before for one in found if one.highest >= 1]
        if before:
            yield figure(f"outflow_tokens_before_alarm_{_word(name)}", before, "tokens",
                         against=f"of {statistics.median(one.tokens for one in found):.0f}")  # fmt: skip
    for name, found in normal.items():
        yield figure(
            f"outflow_highest_score_{_word(name)}", [one.highest for one in found], "1 is an alarm", against=name
        )
    for times in TIMES:
        yield _share(f"outflow_roc_detected_percent_at_{times}", _all(copying), "thresholds times that", times)
        yield _share(f"outflow_roc_false_alarm_percent_at_{times}", _all(normal), "thresholds times that", times)


def _scored(which: tuple[str, str, int]) -> Scored:
    group, name, seed = which
    kinds: Mapping[str, Kind] = {"normal": NORMAL, "copying": COPYING, "evading": EVADING}[group]
    return score(trace(kinds[name], seed, DAYS), restart_every_s(name))


def _all(found: Mapping[str, list[Scored]]) -> list[Scored]:
    return [one for group in found.values() for one in group]


def _share(name: str, found: list[Scored], against: str, threshold: float = 1.0) -> Figure:
    return figure(name, [100 * sum(one.highest >= threshold for one in found) / len(found)], "%", against=against)


def _word(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_")
