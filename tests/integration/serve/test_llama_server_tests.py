"""llama.cpp's own server tests as a judge: each passes against a box, or stands in a table with the reason.

Their source is that of the engine, unpacked for this run; :mod:`sealwright_testing.llama_server_tests` has them ask the
gateway, in front of models of random weights.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import gguf
import pytest

from sealwright_appliance.tls import CERTIFICATE_FILE
from sealwright_policies.outflow import TOP_LOGPROBS_MOST, OutflowPolicy
from sealwright_testing.judge import run_judge
from sealwright_testing.llama import unpack_server_tests
from sealwright_testing.llama_server_table import Ended, Table
from sealwright_testing.llama_server_tests import BOX_VARIABLE, REPORT_NAME, Box, write_box
from sealwright_testing.models.random_gguf import TOOL_TEMPLATE, RandomShape, write_random_gguf
from sealwright_testing.serving import ServingBox, serving_box

pytestmark = pytest.mark.timeout(1200)

TABLE = Path(__file__).parent / "llama_server/differences.toml"
CHATS, VECTORS = "llama-test-model", "vectors"
"""The first one's name is in one of their tests."""
POLICY = OutflowPolicy(embeddings=True, top_logprobs=TOP_LOGPROBS_MOST, answer_tokens=1_000_000, budgets=())


@pytest.fixture(scope="module")
def table() -> Table:
    return Table.load(TABLE)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their folder ``tests``."""
    folder = tmp_path_factory.mktemp("llama") / "tests"
    unpack_server_tests(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One that chats, with a template for functions which it never calls, and one that gives embeddings."""
    folder = tmp_path_factory.mktemp("models")
    shapes = {
        # So many words that hardly any reply ends before its limit.
        CHATS: RandomShape(
            width=256, feed_forward=512, layers=2, heads=4, kv_heads=2, vocabulary=8000, context=2048,
            template=TOOL_TEMPLATE,
        ),
        VECTORS: RandomShape(
            width=256, feed_forward=512, layers=2, heads=4, kv_heads=2, vocabulary=1000, context=8192,
            pooling=gguf.PoolingType.MEAN,
        ),
    }  # fmt: skip
    for name, shape in shapes.items():
        write_random_gguf(folder / f"{name}.gguf", shape)
    return {name: folder / f"{name}.gguf" for name in shapes}


def run_their_tests(table: Table, sources: Path, box: ServingBox, place: Path) -> list[Ended]:
    """All files that the table does not leave out, in a pytest of their own with their own configuration."""
    certificate = str(box.paths.tls / CERTIFICATE_FILE)
    write_box(place, Box(box.url, certificate, box.api_key, CHATS, VECTORS, table.texts))
    left_out = [f"--deselect=unit/{test}" for test in table.left_out]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Their fixtures then take the server for one that runs already.
    variables = {BOX_VARIABLE: str(place), "DEBUG_EXTERNAL": "1"}
    done = run_judge(
        [
            sys.executable, "-m", "pytest", "-p", "sealwright_testing.llama_server_tests", "-p", "no:cacheprovider",
            "-q", "--tb=short", "--timeout=300", f"--basetemp={place.parent / 'theirs'}", *left_out,
            *(f"unit/{file}" for file in table.passing),
        ],
        sources,
        inherited | variables,
    )  # fmt: skip
    # 1: some failed, as the table says.
    assert done.returncode in (0, 1), done.stdout[-4000:]
    lines = place.with_name(REPORT_NAME).read_text(encoding="utf-8").splitlines()
    return [Ended.model_validate(json.loads(line)) for line in lines]


def test_their_tests_pass_or_stand_in_the_table(
    table: Table, sources: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    """In both directions: none of those that have to pass fails, and each difference is still one, with its answer."""
    with serving_box(models, policy=POLICY) as box:
        ended = run_their_tests(table, sources, box, tmp_path / "box.json")
    complaints = table.complaints(ended)
    assert not complaints, "\n".join(complaints)


def test_all_of_their_files_are_known(table: Table, sources: Path) -> None:
    """A file that a new release brings has to be run, or to be left out with a reason."""
    assert table.unknown_files([path.name for path in (sources / "unit").glob("test_*.py")]) == set()
