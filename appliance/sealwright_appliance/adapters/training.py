"""One training: an adapter's examples go to the trainer of its model, and come back as numbers.

The trainer is a workload of the release, in its own root and without a network or a place to write to
(policies/spec/own-adapters.md, 5). systemd starts one for each connection; what it needs comes over that, and what it
has to say goes back, bounded. So a power cut costs what was learned since the last checkpoint, which lies here.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sealwright_appliance.adapters.examples import HELD_OUT
from sealwright_appliance.adapters.messages import (
    FRAME_LIMIT,
    LOSS_DIGITS,
    AdapterState,
    KeptAdapter,
    Trained,
    TrainingFailure,
    TrainingJob,
    parse_trainer_word,
)
from sealwright_appliance.adapters.refusals import AdapterError
from sealwright_appliance.adapters.store import AdapterStore
from sealwright_appliance.adapters.weights import adapter_file, weights_size
from sealwright_appliance.local_messages import framed, received, received_document
from sealwright_policies.engines import LayerShapes
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.wire.encoding import document_bytes

ATTEMPTS_MOST = 3
"""Of a trainer that ends without a word of how far it is."""
SILENCE_MOST_S = 3600.0
"""Between two words of a trainer: a step of a large model takes minutes."""
UNFINISHED = 99
"""Percent at most, until there is an adapter."""
PAUSE_S = 5.0
"""Before the next look, where there is nothing to train or no trainer."""


class SilentTrainerError(Exception):
    """Control flow: the connection ended before there was an adapter."""


@dataclass
class Training:
    """Trains one adapter after the other."""

    store: AdapterStore
    socket_of: Callable[[str], Path]
    """Where a member's trainer is found."""
    shapes_of: Callable[[str], LayerShapes | None]
    """Of a model."""
    wanted: threading.Event = field(default_factory=threading.Event)
    """There is something to train, or to stop."""
    _progress: tuple[str, int] = ("", 0)
    _running: tuple[str, socket.socket] | None = None

    def percent(self, adapter: KeptAdapter) -> int:
        """How far it is now."""
        adapter_id, percent = self._progress
        is_running = adapter.state is AdapterState.TRAINING and adapter_id == adapter.adapter_id
        return percent if is_running else adapter.percent

    def stop(self, adapter_id: str) -> None:
        """End the training of an adapter that nobody wants any more."""
        if (running := self._running) is not None and running[0] == adapter_id:
            with suppress(OSError):
                running[1].shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Train for ever."""
        while True:
            self.wanted.clear()
            adapter = None
            with suppress(AdapterError):
                adapter = self.store.next()
            if adapter is None or not self.train(adapter):
                self.wanted.wait(PAUSE_S)

    def train(self, adapter: KeptAdapter) -> bool:
        """Train one, as far as its trainer gets; False if there is no trainer now."""
        with suppress(AdapterError, OperationError):  # deleted meanwhile, or the disk is full: the next look decides
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(SILENCE_MOST_S)
                    try:
                        connection.connect(str(self.socket_of(adapter.member)))
                    except OSError:
                        return False
                    self._running = (adapter.adapter_id, connection)
                    self._trained(adapter, connection)
            except SilentTrainerError:
                self.store.ended(adapter.adapter_id, ATTEMPTS_MOST)
            except AdapterError:
                raise
            except FormatError:
                self.store.failed(adapter.adapter_id, TrainingFailure.MALFORMED)
            finally:
                self._running = None
        return True

    def _trained(self, adapter: KeptAdapter, connection: socket.socket) -> None:
        shapes = self.shapes_of(adapter.model)
        if shapes is None:
            raise FormatError("Nobody knows what this model is made of.")
        self.store.begun(adapter.adapter_id)
        self._progress = (adapter.adapter_id, adapter.percent)
        examples, checkpoint = self.store.material(adapter.adapter_id)
        job = TrainingJob(model=adapter.model, held_out=HELD_OUT, examples=len(examples), checkpoint=len(checkpoint))
        try:
            connection.sendall(framed(document_bytes(job), examples, checkpoint))
            while True:
                word = parse_trainer_word(self._received(received_document, connection, FRAME_LIMIT))
                self._progress = (adapter.adapter_id, max(min(word.percent, UNFINISHED), self._progress[1]))
                if word.checkpoint is not None:
                    content = self._received(received, connection, word.checkpoint)
                    self.store.checkpoint(adapter.adapter_id, content, self._progress[1])
                if word.trained is not None:
                    numbers = self._received(received, connection, weights_size(word.trained.adapter, shapes))
                    file = adapter_file(word.trained.adapter, numbers, shapes)
                    self.store.ready(adapter.adapter_id, file, _losses(word.trained))
                    return
        except OSError:
            raise SilentTrainerError from None

    @staticmethod
    def _received(take: Callable[[socket.socket, int], bytes], connection: socket.socket, size: int) -> bytes:
        try:
            return take(connection, size)
        except FormatError:
            raise SilentTrainerError from None


def _losses(trained: Trained) -> tuple[float, float]:
    """Rounded."""
    before, after = (float(f"{loss:.{LOSS_DIGITS}g}") for loss in (trained.loss_before, trained.loss_after))
    return before, after
