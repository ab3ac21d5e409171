"""One gateway with one engine for all tests of this folder, and the model that it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gguf
import openai
import pytest
from playwright.sync_api import Browser, Page

from sealwright_testing.browser import chromium, telephone
from sealwright_testing.models.random_gguf import CALL, TOOL_TEMPLATE, RandomShape, write_random_gguf
from sealwright_testing.serving import ServingBox, serving_box

LOCALES = ("en-GB", "zh-CN")
CONTEXT = 32_768
"""Long enough that a reply of this length still runs when a test looks."""


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights: what it says means nothing, and is the same each time."""
    path = tmp_path_factory.mktemp("model") / "random.gguf"
    shape = RandomShape(width=384, feed_forward=1024, layers=6, heads=6, kv_heads=2, vocabulary=2000, context=CONTEXT)
    write_random_gguf(path, shape)
    return path


@pytest.fixture(scope="session")
def able_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller one of random weights that knows functions."""
    path = tmp_path_factory.mktemp("model") / "able.gguf"
    shape = RandomShape(
        width=256, feed_forward=512, layers=2, heads=4, kv_heads=2, vocabulary=300, context=8192,
        template=TOOL_TEMPLATE, word=CALL,
    )  # fmt: skip
    write_random_gguf(path, shape)
    return path


@pytest.fixture(scope="session")
def vector_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that gives embeddings, the mean of its hidden states."""
    path = tmp_path_factory.mktemp("model") / "vectors.gguf"
    shape = RandomShape(
        width=256, feed_forward=512, layers=2, heads=4, kv_heads=2, vocabulary=1000, context=8192,
        pooling=gguf.PoolingType.MEAN,
    )  # fmt: skip
    write_random_gguf(path, shape)
    return path


@pytest.fixture(scope="module")
def box(random_model: Path) -> Iterator[ServingBox]:
    """A gateway over the model ``random`` and over ``elsewhere``, whose engine a test may be itself."""
    with serving_box({"random": random_model, "elsewhere": None}) as running:
        yield running


@pytest.fixture(scope="module")
def able_box(able_model: Path, random_model: Path) -> Iterator[ServingBox]:
    """A box with a model that knows functions, and one that does not."""
    with serving_box({"able": able_model, "random": random_model}) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real one."""
    with chromium() as running:
        yield running


@pytest.fixture(params=[LOCALES[0], *(pytest.param(one, marks=pytest.mark.long) for one in LOCALES[1:])])
def page(request: pytest.FixtureRequest, browser: Browser, box: ServingBox) -> Iterator[Page]:
    """Of somebody with a telephone who speaks one of the box's languages."""
    with telephone(browser, box.url, request.param) as opened:
        yield opened


@pytest.fixture
def own_box() -> Iterator[ServingBox]:
    """A gateway for one test alone, which is the engine of ``elsewhere`` itself."""
    with serving_box({"elsewhere": None}) as running:
        yield running


@pytest.fixture
def client(box: ServingBox) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with box.openai() as made:
        yield made


@pytest.fixture
def admin(box: ServingBox) -> Iterator[openai.OpenAI]:
    """An administrator's client; no document outlives the test."""
    with box.openai() as client:
        owner = client.with_options(api_key=box.admin_key)
        yield owner
        for one in owner.files.list():
            owner.files.delete(one.id)
