"""Two boxes whose domains chain, and a third whose release has other domains: real TPMs, agents and gateways."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealwright_appliance.attempt_limiter import Rate
from sealwright_appliance.flows import receiver
from sealwright_testing.domain_texts import domain_text, open_anywhere
from sealwright_testing.flow_boxes import Boxes, FlowBox, activated_box
from sealwright_testing.flow_texts import RECORDS, TRAINING
from sealwright_testing.flows import domains
from sealwright_testing.simulated_box import SimulatedVendor

MODELS = tuple(open_anywhere(domain_text(name)) for name in ("medical", "finance"))


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedVendor]:
    """A licence service that runs, and a release whose domains chain."""
    made = SimulatedVendor(tmp_path_factory.mktemp("vendor"), domains(*MODELS, RECORDS, TRAINING))
    with made.serving():
        yield made


@pytest.fixture(scope="module")
def boxes(vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boxes]:
    """A storage node and a compute node of one release. All tests ask them from one address."""
    folder = tmp_path_factory.mktemp("boxes")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(receiver, "EACH", Rate(at_once=1000, every_s=1.0))
        patched.setattr(receiver, "ALL", Rate(at_once=1000, every_s=1.0))
        with activated_box(vendor, folder / "storage") as storage, activated_box(vendor, folder / "compute") as compute:
            yield Boxes(storage, compute)


@pytest.fixture(scope="module")
def third(boxes: Boxes, vendor: SimulatedVendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlowBox]:
    """A genuine box of the vendor with a later release, whose domains of the same names do not chain."""
    assert boxes
    other = copy.copy(vendor)
    other.domains = domains(*MODELS, RECORDS.partition("\n[[flow]]")[0], TRAINING.partition("\n[[chain]]")[0])
    other.update("1.3.0")
    with activated_box(other, tmp_path_factory.mktemp("third") / "box") as box:
        yield box


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A data set of three frames that a search of the wire would find."""
    made = tmp_path / "cohort-7.csv"
    made.write_bytes(b"patient 17, ward 3, metformin\n" * 80_000)
    return made
