"""What the box does while its customer has not acknowledged the secrets: says so, and starts serving all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sealwright_appliance.boot import BoxState
from sealwright_appliance.status_board import StatusBoard

RESTART_AFTER_S = 600.0
"""Longest wait of an activated box before it restarts into serving: time to copy the secrets from the page."""


@dataclass
class Handover:
    """Begins with the activation, or with the start of an activated box; ends with the acknowledgement."""

    board: StatusBoard
    restart: Callable[[], None]
    restart_after_s: float = RESTART_AFTER_S
    _ended: threading.Event = field(default_factory=threading.Event)

    def begin(self, *, waiting: bool = True) -> None:
        """The box is activated; in the boot of its activation, plan the restart.

        Args:
            waiting: whether the secrets wait to be acknowledged.
        """
        self.board.set_secrets_waiting(waiting=waiting)
        if not waiting:
            self._ended.set()
        if self.board.status.state is BoxState.WAITING_FOR_ACTIVATION:
            sentence = "The box restarts and serves when its secrets are acknowledged, or in ten minutes without that."
            self.board.change(BoxState.ACTIVATED, sentence)
            threading.Thread(target=self._restart, name="restart", daemon=True).start()

    def acknowledged(self) -> None:
        """The secrets are acknowledged and erased."""
        self.board.set_secrets_waiting(waiting=False)

    def end(self) -> None:
        """The reply to that has left: nothing is in the way of a restart any more."""
        self._ended.set()

    def _restart(self) -> None:
        self._ended.wait(self.restart_after_s)
        self.restart()
