"""Asks the volume service, for the agent."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from sealwright_appliance.engines import ObservedEngine
from sealwright_appliance.volume_messages import MESSAGE_LIMIT, VolumeOperation, VolumeReply, VolumeRequest
from sealwright_appliance.volume_service import received
from sealwright_appliance.workloads import ObservedRun
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes, parse_json

TIMEOUT_S = 600.0
"""Longer than every step of closing a payload may take together (:data:`.volume_service.STOP_TIMEOUT_S`)."""


@dataclass(frozen=True, slots=True)
class VolumeClient:
    """:class:`.volume_service.Volumes` over a socket."""

    path: Path

    def close(self, payload_id: str) -> None:
        """Have a payload closed."""
        self._ask(VolumeOperation.CLOSE, payload_id)

    def is_corrupted(self, payload_id: str) -> bool:
        """Ask whether a payload is damaged; no, if there is nobody to ask."""
        try:
            return self._ask(VolumeOperation.INSPECT, payload_id).corrupted
        except OperationError:
            return False

    def start_engine(self, payload_id: str) -> None:
        """Have an engine started."""
        self._ask(VolumeOperation.START, payload_id)

    def stop_engine(self, payload_id: str) -> None:
        """Have an engine stopped."""
        self._ask(VolumeOperation.STOP, payload_id)

    def engine_of(self, payload_id: str) -> ObservedEngine:
        """Ask what an engine does."""
        reply = self._ask(VolumeOperation.ENGINE, payload_id)
        return ObservedEngine(reply.runs, reply.deaths)

    def run_of(self, payload_id: str) -> ObservedRun | None:
        """Ask how far a workload has come; None if there is nobody to ask."""
        try:
            reply = self._ask(VolumeOperation.RUN, payload_id)
        except OperationError:
            return None
        return None if reply.run is None else ObservedRun(reply.run, reply.results_full)

    def forget(self, now: int) -> tuple[str, ...]:
        """Have removed what is over of the results of workloads."""
        return self._ask(VolumeOperation.FORGET, now=now).forgotten

    def apply_site(self) -> None:
        """Have the site's settings applied."""
        self._ask(VolumeOperation.SITE)

    def restart(self) -> None:
        """Have the box restarted."""
        self._ask(VolumeOperation.RESTART)

    def _ask(self, operation: VolumeOperation, payload_id: str | None = None, *, now: int | None = None) -> VolumeReply:
        request = VolumeRequest(operation=operation, payload_id=payload_id, now=now)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(TIMEOUT_S)
                connection.connect(str(self.path))
                connection.sendall(document_bytes(request))
                connection.shutdown(socket.SHUT_WR)
                reply = parse_json(VolumeReply, received(connection), limit=MESSAGE_LIMIT)
        except OSError as error:
            raise OperationError(f"The volume service does not answer: {error.strerror or error}.") from None
        if reply.error is not None:
            raise OperationError(reply.error)
        return reply
