"""The keeper's loop where nothing goes well; renewals are tests/integration/chain."""

from __future__ import annotations

import itertools
import threading

from sealwright_appliance.boot import BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.lease_keeper import TICK_EVERY_S, Actions, LeaseKeeper
from sealwright_appliance.status import BootResult
from sealwright_appliance.status_board import StatusBoard

NO_TPM = "device:/nonexistent"


def test_a_box_without_activation_goes_on_when_its_tpm_does_not_answer() -> None:
    """The hour stays due and nothing else is: it looks again and does not end."""
    boot = BootResult(state=BoxState.WAITING_FOR_ACTIVATION, sentence="It waits.", at=0, payloads=[])
    board = StatusBoard(boot, Console(()), lambda: 0.0)
    looks = itertools.count()
    keeper = LeaseKeeper(
        board,
        Actions(lambda _: None, lambda: None, lambda _: None),
        threading.Lock(),
        NO_TPM,
        None,
        steady=lambda: next(looks) * TICK_EVERY_S,
        look_every_s=0.0,
    )
    runs = threading.Thread(target=keeper.run)
    runs.start()
    runs.join(timeout=1)
    assert runs.is_alive()
    assert "TPM" in board.status.renewal
    keeper.stop.set()
    runs.join()
