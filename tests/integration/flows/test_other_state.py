"""A receiver whose state is not the one that the key was wrapped for."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_appliance.flows.errors import FlowError
from sealwright_policies.errors import OperationError
from sealwright_testing.flow_boxes import Boxes, Meeting, put_in


def test_a_key_opens_in_the_receivers_tpm_and_state_alone(boxes: Boxes, tmp_path: Path) -> None:
    """Not in another TPM of the same release; and no more once something else has been measured."""
    put_in(boxes.storage, tmp_path, "sealed.csv", b"rows\n")
    boxes.expect()
    meeting = Meeting(boxes.storage, boxes.compute, "sealed.csv")
    offer = meeting.offer()
    key = boxes.compute.flows.receiver.side.open_key(offer.wrapped)
    assert key == boxes.storage.flows.sender.under_way()[-1].content_key
    with pytest.raises(OperationError):
        boxes.storage.flows.sender.side.open_key(offer.wrapped)
    boxes.compute.running.simulated.measure(11, "planted")
    with pytest.raises(OperationError, match="unseal"):
        boxes.compute.flows.receiver.side.open_key(offer.wrapped)
    with pytest.raises(OperationError, match="unseal"):
        boxes.compute.flows.receiver.accept(offer)
    later = Meeting(boxes.storage, boxes.compute, "sealed.csv")
    with pytest.raises(FlowError) as refused:
        later.offer()
    assert refused.value.code == "BOOT_PHASE"
