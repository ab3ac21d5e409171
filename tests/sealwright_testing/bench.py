"""Runs the benchmarks: ``python -m sealwright_testing.bench image licensing memory custody serving outflow sealing``.

Each ``tests/bench/bench_<name>.py`` has ``measure() -> Iterable[Figure]``. The figures go to
``tests/bench/results/<name>.json`` and, as a table, to the terminal. Ratios are measured within one run, both sides
in turns, because absolute speeds of shared machines drift.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).resolve().parents[1] / "bench"
NAMES = ("image", "licensing", "memory", "custody", "serving", "outflow", "sealing")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: the median of ``n`` samples, the lowest and highest of them, and what it is compared with."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    n: int
    against: str


def figure(name: str, samples: Sequence[float], unit: str, *, against: str = "") -> Figure:
    """Sum up samples of one figure."""
    return Figure(name, statistics.median(samples), unit, min(samples), max(samples), len(samples), against)


def ratio(name: str, ours: Sequence[float], theirs: Sequence[float], *, against: str) -> Figure:
    """Sum up pairwise ratios ``ours / theirs`` of samples taken in turns."""
    return figure(name, [a / b for a, b in zip(ours, theirs, strict=True)], "ratio", against=against)


def in_turns(rounds: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Sample several sides in turns, ``rounds`` times each."""
    samples: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for kept, side in zip(samples, sides, strict=True):
            kept.append(side())
    return samples


def write(name: str, figures: Iterable[Figure]) -> Path:
    """Write the figures of one benchmark; returns the file."""
    target = BENCH / "results" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(one) for one in figures], indent=2) + "\n")
    partial.replace(target)
    return target


def table(figures: Iterable[Figure]) -> str:
    """The figures for a terminal."""
    lines = [f"{'figure':<34}{'value':>12} {'unit':<8}{'low':>12}{'high':>12}{'n':>5}  against"]
    lines += [
        f"{one.name:<34}{one.value:>12.4g} {one.unit:<8}{one.low:>12.4g}{one.high:>12.4g}{one.n:>5}  {one.against}"
        for one in figures
    ]
    return "\n".join(lines)


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"bench_{name}.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"no benchmark {name!r}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="sealwright_testing.bench", description="Run benchmarks.")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help=f"which: {', '.join(NAMES)} (default: all)")
    for name in parser.parse_args().names or NAMES:
        print(f"== {name}", flush=True)
        figures = list(_load(name).measure())
        print(table(figures))
        print(f"written to {write(name, figures)}", flush=True)


if __name__ == "__main__":
    main()
