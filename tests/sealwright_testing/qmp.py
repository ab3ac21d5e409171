"""QEMU's machine protocol (QMP), as far as tests need it: commands, and the events that arrive meanwhile."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

_REPLY_TIMEOUT_S = 120.0
_LISTEN_TIMEOUT_S = 30.0
_POLL_S = 0.05


class QmpError(RuntimeError):
    """QEMU refused a command."""


class Qmp:
    """A connection to one QEMU. Used from one thread.

    Attributes:
        events: Every event so far, oldest first, as QEMU sent it.
    """

    def __init__(self, path: Path) -> None:
        self._socket = _connected(path)
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        self._next_message(_REPLY_TIMEOUT_S)
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> Any:
        """Run a command and return its result.

        Raises:
            QmpError: QEMU refused it.
            EOFError: QEMU has gone.
        """
        request = {"execute": command, "arguments": arguments}
        self._socket.settimeout(_REPLY_TIMEOUT_S)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            message = self._next_message(_REPLY_TIMEOUT_S)
            if message is None:
                raise TimeoutError(f"QEMU did not answer {command}")
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise QmpError(f"{command}: {message['error']['desc']}")
            else:
                return message["return"]

    def poll_events(self) -> None:
        """Take in the events that have arrived, without waiting. A closed connection is no error here."""
        try:
            while (message := self._next_message(0)) is not None:
                self.events.append(message)
        except (EOFError, ConnectionError):
            return

    def has_event(self, name: str) -> bool:
        """Whether an event of that name has arrived."""
        self.poll_events()
        return any(event["event"] == name for event in self.events)

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()

    def _next_message(self, timeout_s: float) -> dict[str, Any] | None:
        """The next line, decoded; None if there is none within the time."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(deadline - time.monotonic(), 0))
            try:
                received = self._socket.recv(65536)
            except (BlockingIOError, TimeoutError):
                return None
            if not received:
                raise EOFError("QEMU closed its control connection")
            self._buffer += received
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message


def _connected(path: Path) -> socket.socket:
    """A connection to a socket that may have its name already, and listen a moment later."""
    deadline = time.monotonic() + _LISTEN_TIMEOUT_S
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except ConnectionRefusedError:
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return connection
