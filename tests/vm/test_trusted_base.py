"""How much is trusted in the image that is tested, held against the ledger. Boots nothing."""

from __future__ import annotations

import json

import pytest

from sealwright_image.output import TRUSTED_BASE
from sealwright_image.tcb_ledger import growth, load_limits
from sealwright_testing.scene import Scene

pytestmark = pytest.mark.vm


def test_nothing_has_grown_without_an_entry_in_the_ledger(scene: Scene) -> None:
    measured = json.loads((scene.world.vendor.image / TRUSTED_BASE).read_text())
    ledger = load_limits(None)
    assert measured.keys() == ledger.keys()
    assert growth(measured, ledger) == {}
