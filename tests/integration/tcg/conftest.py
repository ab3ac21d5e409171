"""A real software TPM for the tests of this folder, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tpm2_pytss import ESAPI

from sealwright_testing.swtpm import SoftwareTpm


@pytest.fixture(scope="session")
def software_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """A running TPM with SHA-1, SHA-256 and SHA-384 banks."""
    tpm = SoftwareTpm.manufacture(tmp_path_factory.mktemp("tpm") / "tpm", pcr_banks="sha1,sha256,sha384")
    with tpm:
        yield tpm


@pytest.fixture
def esapi(software_tpm: SoftwareTpm) -> Iterator[ESAPI]:
    """A connection; there is no resource manager, so tests flush what they load."""
    with ESAPI(software_tpm.tcti) as connection:
        yield connection
