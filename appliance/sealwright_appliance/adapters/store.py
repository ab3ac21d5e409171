"""Adapters on the state volume: plain files, whole after a power cut at any moment (policies/spec/own-adapters.md, 4).

``kept/`` has what is known of each adapter, and its examples and checkpoint until it is trained; ``served/MEMBER/`` the
trained ones, where their engine opens them. What ``ADAPTER.json`` does not speak of is a rest, and is removed.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path

from sealwright_appliance.adapters.examples import BYTES_MOST
from sealwright_appliance.adapters.messages import (
    CHECKPOINT_MOST,
    RECORD_LIMIT,
    AdapterState,
    KeptAdapter,
    TrainingCounts,
    TrainingFailure,
    parse_kept_adapter,
)
from sealwright_appliance.adapters.refusals import AdapterCode, AdapterError
from sealwright_appliance.adapters.weights import WEIGHTS_MOST
from sealwright_appliance.files import KEPT_FREE, free_bytes, read_file, remove_durably, write_durably
from sealwright_policies.errors import FormatError, OperationError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.workloads import AdapterPlan

UNTRAINED = (AdapterState.QUEUED, AdapterState.TRAINING)
READABLE = 0o444
"""By the engine, whose user systemd draws."""
ROOM = 2 * CHECKPOINT_MOST + WEIGHTS_MOST + BYTES_MOST
"""Bytes of a training at most: a checkpoint is written beside the one before."""


class AdapterStore:
    """Those in a folder; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._kept = folder / "kept"
        self._served = folder / "served"
        self._lock = threading.Lock()
        self.trainings = TrainingCounts()

    def all(self) -> list[KeptAdapter]:
        """Every adapter, the oldest first.

        Raises:
            AdapterError: there is no folder, or one cannot be read.
        """
        with self._lock:
            return self._all()

    def add(self, adapter: KeptAdapter, examples: bytes, most: int) -> None:
        """Keep what is to become an adapter.

        Args:
            most: adapters of its member.

        Raises:
            AdapterError: there is no room for it, or one of its name.
        """
        with self._lock:
            others = [one for one in self._all() if one.member == adapter.member]
            if any(one.name == adapter.name for one in others):
                raise AdapterError(AdapterCode.EXISTS)
            if len(others) >= most:
                raise AdapterError(AdapterCode.FULL)
            if free_bytes(self._kept) < ROOM + KEPT_FREE:
                raise AdapterError(AdapterCode.DISK_FULL)
            try:
                write_durably(self._examples(adapter.adapter_id), examples)
                self._write(adapter)
            except OperationError:
                raise AdapterError(AdapterCode.DISK_FULL) from None

    def next(self) -> KeptAdapter | None:
        """The one to train: the oldest that is neither ready nor failed."""
        return next((one for one in self.all() if one.state in UNTRAINED), None)

    def material(self, adapter_id: str) -> tuple[bytes, bytes]:
        """Examples and checkpoint; empty where there is none."""
        examples = read_file(self._examples(adapter_id), BYTES_MOST * 2)
        return examples or b"", read_file(self._checkpoint(adapter_id), CHECKPOINT_MOST) or b""

    def checkpoint(self, adapter_id: str, content: bytes, percent: int) -> None:
        """Keep how far a training has come. Whoever only lists does not wait while the disk takes the checkpoint.

        Raises:
            AdapterError: the adapter was deleted.
        """
        write_durably(self._checkpoint(adapter_id), content)
        with self._lock:
            try:
                adapter = self._one(adapter_id)
            except AdapterError:
                remove_durably(self._checkpoint(adapter_id))
                raise
            self._write(adapter.model_copy(update={"percent": percent, "attempts": 0}))

    def begun(self, adapter_id: str) -> None:
        """Note that it is being trained."""
        with self._lock:
            self._write(self._one(adapter_id).model_copy(update={"state": AdapterState.TRAINING}))

    def ended(self, adapter_id: str, most: int) -> None:
        """Note that its trainer has ended too soon; after so many times at the same place it has failed."""
        with self._lock:
            adapter = self._one(adapter_id)
            adapter = adapter.model_copy(update={"attempts": adapter.attempts + 1})
            self._write(adapter)
        if adapter.attempts >= most:
            self.failed(adapter_id, TrainingFailure.ENDED)

    def failed(self, adapter_id: str, failure: TrainingFailure) -> None:
        """There will be none."""
        with self._lock:
            update = {"state": AdapterState.FAILED, "failure": failure}
            self._write(self._one(adapter_id).model_copy(update=update))
            self.trainings = TrainingCounts(finished=self.trainings.finished, failed=self.trainings.failed + 1)
            self._forget_material(adapter_id)

    def ready(self, adapter_id: str, file: bytes, losses: tuple[float, float]) -> None:
        """Keep the trained adapter, and nothing else of the training."""
        with self._lock:
            adapter = self._one(adapter_id)
            write_durably(self._file(adapter), file, mode=READABLE)
            update = {"state": AdapterState.READY, "percent": 100, "loss_before": losses[0], "loss_after": losses[1]}
            self._write(adapter.model_copy(update=update))
            self.trainings = TrainingCounts(finished=self.trainings.finished + 1, failed=self.trainings.failed)
            self._forget_material(adapter_id)

    def delete(self, adapter_id: str) -> None:
        """Forget an adapter.

        Raises:
            AdapterError: there is none of this id.
        """
        with self._lock:
            adapter = self._one(adapter_id)
            remove_durably(self._record(adapter_id))
            self._forget_material(adapter_id)
            remove_durably(self._file(adapter))

    def tidy(self, plans: dict[str, AdapterPlan], now: int | None) -> list[str]:
        """Remove what a power cut has left, and adapters that are over or of no domain of this release; their ids.

        Args:
            plans: of this release.
            now: of the calendar of retention; None: nobody knows, and none is over.
        """
        with self._lock:
            adapters = self._all()
            over = [one for one in adapters if now is not None and one.expires <= now]
            gone = [one for one in adapters if one in over or one.member not in plans]
            for one in gone:
                remove_durably(self._record(one.adapter_id))
            left = {one.adapter_id: one for one in adapters if one not in gone}
            for path in list(self._kept.iterdir()):
                known = left.get(path.name.partition(".")[0])
                if path.suffix != ".json" and (known is None or known.state not in UNTRAINED):
                    remove_durably(path)
            ready = {self._file(one) for one in left.values() if one.state is AdapterState.READY}
            for path in list(self._served.glob("*/*")):
                if path not in ready:
                    remove_durably(path)
        return [one.adapter_id for one in gone]

    def _all(self) -> list[KeptAdapter]:
        return sorted(self._read(), key=lambda one: (one.created, one.adapter_id))

    def _read(self) -> Iterator[KeptAdapter]:
        if not self._kept.is_dir():
            raise AdapterError(AdapterCode.UNAVAILABLE)
        for path in list(self._kept.glob("adapter-*.json")):
            try:
                content = read_file(path, RECORD_LIMIT)
                if content is not None:
                    yield parse_kept_adapter(content)
            except (OperationError, FormatError):
                raise AdapterError(AdapterCode.UNAVAILABLE) from None

    def _one(self, adapter_id: str) -> KeptAdapter:
        content = read_file(self._record(adapter_id), RECORD_LIMIT)
        if content is None:
            raise AdapterError(AdapterCode.UNKNOWN)
        return parse_kept_adapter(content)

    def _write(self, adapter: KeptAdapter) -> None:
        write_durably(self._record(adapter.adapter_id), document_bytes(adapter))

    def _forget_material(self, adapter_id: str) -> None:
        remove_durably(self._examples(adapter_id))
        remove_durably(self._checkpoint(adapter_id))

    def _record(self, adapter_id: str) -> Path:
        return self._kept / f"{adapter_id}.json"

    def _examples(self, adapter_id: str) -> Path:
        return self._kept / f"{adapter_id}.examples"

    def _checkpoint(self, adapter_id: str) -> Path:
        return self._kept / f"{adapter_id}.checkpoint"

    def _file(self, adapter: KeptAdapter) -> Path:
        return self._served / adapter.member / f"{adapter.adapter_id}.gguf"


def new_id() -> str:
    """An id that nobody guesses."""
    return f"adapter-{secrets.token_hex(12)}"
