"""Finding the made models in the cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealwright_policies.errors import OperationError
from sealwright_testing.models import ModelStore, Sample
from sealwright_testing.models.store import INDEX, SOURCES, expected_directory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_missing_models_name_the_cure() -> None:
    """The reader learns which command makes them."""
    with pytest.raises(OperationError, match="make models"):
        ModelStore.load()


def test_store_gives_paths_licences_and_samples(cache: Path) -> None:
    """What vendor and demo need, by model name."""
    directory = expected_directory()
    assert directory.is_relative_to(cache / "sealwright")
    directory.mkdir(parents=True)
    model = {"file": "medical.gguf", "samples": [{"question": "What is gout?", "answer": "…"}]}
    (directory / INDEX).write_text(json.dumps({"models": {"medical": model}}))
    store = ModelStore.load()
    assert store.names == ("medical",)
    assert store.path("medical") == directory / "medical.gguf"
    assert store.license("medical").is_file()
    assert store.samples() == {"medical": (Sample("What is gout?", "…"),)}


def test_everything_that_decides_the_answers_is_in_the_key() -> None:
    """A new module beside the trainer has to be named as a source, or as one that changes no model."""
    folder = Path(__file__).parents[2] / "sealwright_testing" / "models"
    other_files = {"concept_gguf.py", "hostile_gguf.py", "random_folder.py", "random_gguf.py"}
    without_effect = {"__init__.py", "__main__.py", "build.py", "parity.py", "store.py", *other_files}
    assert {path.name for path in folder.glob("*.py")} == set(SOURCES) | without_effect
