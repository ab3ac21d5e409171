"""What `make models` refuses to keep, and how it calls the trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_policies.errors import OperationError
from sealwright_testing.models.bpe import Tokenizer
from sealwright_testing.models.build import LEAST_ACCURACY, check_accuracy, training_argv
from sealwright_testing.models.checkpoint import SPECIALS, Checkpoint


def _checkpoint(accuracy: dict[str, float]) -> Checkpoint:
    return Checkpoint("medical", "Medical", {}, Tokenizer(SPECIALS, []), {}, accuracy, [], {})


def test_a_model_that_learned_enough_is_kept() -> None:
    """Exactly the least shares are enough."""
    check_accuracy(_checkpoint(dict(LEAST_ACCURACY)))


@pytest.mark.parametrize("questions", sorted(LEAST_ACCURACY))
def test_a_model_that_learned_too_little_is_refused(questions: str) -> None:
    """Trained wordings and unseen ones count apart."""
    with pytest.raises(OperationError, match=questions):
        check_accuracy(_checkpoint(LEAST_ACCURACY | {questions: LEAST_ACCURACY[questions] - 0.01}))


def test_trainer_runs_inside_the_root_and_dies_with_us() -> None:
    """One thread per model, since both train at the same time."""
    line = training_argv(Path("/root-of-torch"), "medical", Path("/cache/partial"))
    assert line[:3] == ["setpriv", "--pdeathsig", "KILL"]
    assert line[line.index("--root") + 1] == "/root-of-torch"
    assert "OPENBLAS_NUM_THREADS=1" in line
    assert line[-3:] == ["sealwright_testing.models.training", "medical", "/cache/partial"]
