"""One product with a small OS part, and one image built from it, shared by the tests that only read it."""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from sealwright_image.cli import main
from sealwright_image.config import Config, load_config
from sealwright_image.pipeline import BuiltImage, build_image
from sealwright_image.progress import Progress
from sealwright_testing.image_inputs import ServiceKeys, write_model, write_product, write_service
from sealwright_testing.small_os import cache_with_tools, small_os

PAYLOADS = ("medical", "finance")
MODEL_BYTES = 2_000_000


@dataclass(frozen=True, slots=True)
class Product:
    """A product folder that can be built in seconds."""

    folder: Path
    service: ServiceKeys
    cache: Path
    """For XDG_CACHE_HOME."""

    @property
    def config(self) -> Config:
        return load_config(self.folder / "product.toml")

    def build(self, output: Path, *, force: bool = False) -> BuiltImage:
        progress = Progress(io.StringIO())
        return build_image(self.config, output, progress, force=force, os_source=small_os(self.folder))


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Product:
    folder = tmp_path_factory.mktemp("product")
    assert main(["keygen", str(folder / "keys")]) == 0
    service = write_service(folder / "license-service.json")
    for payload in PAYLOADS:
        write_model(folder / f"{payload}.gguf", MODEL_BYTES)
    (folder / "LICENSE.txt").write_text("Apache-2.0, see the model card\n")
    write_product(folder, *PAYLOADS, head="[state]\nsize_mib = 128")
    return Product(folder, service, cache_with_tools(folder))


@pytest.fixture(scope="session")
def image(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built image; read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(product.cache))
        return product.build(tmp_path_factory.mktemp("image") / "out").output


@pytest.fixture(autouse=True)
def own_cache(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds of these tests cache nothing where real ones look; other tests of the same process keep the real cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(product.cache))


@pytest.fixture
def copy(image: Path, tmp_path: Path) -> Path:
    """A copy of the image that a test may damage."""
    subprocess.run(["cp", "-a", "--sparse=always", image, tmp_path / "out"], check=True)
    return tmp_path / "out"
