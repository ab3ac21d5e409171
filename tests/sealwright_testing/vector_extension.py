"""sqlite-vec, out of the environment that ``make python`` makes: also for the box's own Python, which has no wheels."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def vector_extension() -> Path:
    """The file that goes into images."""
    (found,) = REPOSITORY.glob(".venv/lib/python3.*/site-packages/sqlite_vec/vec0.so")
    return found
