"""The shipped domains compiled into a folder, and the tools root whose programs judge them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_image.compiler import compile_freestanding
from sealwright_image.mkosi import PROGRAMS
from sealwright_image.run import Tools
from sealwright_policies.domains.compiler import compile_domains
from sealwright_testing.domain_texts import ROOT_HASHES, examples
from sealwright_testing.tools_root import ToolsRoot


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of an image that holds nothing but what the domains compile to."""
    root = tmp_path_factory.mktemp("compiled")
    for path, content in compile_domains(examples(), ROOT_HASHES).items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return root


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The box's launcher."""
    program = tmp_path_factory.mktemp("launcher") / "sealwright-launch"
    compile_freestanding(PROGRAMS / "launch.c", program, Tools())
    return program


@pytest.fixture(scope="session")
def tools() -> ToolsRoot:
    return ToolsRoot.find()
