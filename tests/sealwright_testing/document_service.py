"""The document service and its parsers as systemd starts them in the box: a socket each, a process for each file.

What is left out is what confines them there: users, profiles, mounts. That is the virtual machine's to show.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from sealwright_appliance.paths import Paths

STOP_TIMEOUT_S = 20.0
_ACTIVATED = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3)\n"
    "os.environ['LISTEN_FDS'] = '1'\n"
    "from pathlib import Path\n"
    "from sealwright_appliance.cli import main\n"
    "from sealwright_appliance.paths import Paths\n"
    "sys.exit(main(['documents'], Paths(root=Path(sys.argv[2]))))\n"
)
"""systemd's part of a socket-activated service (sd_listen_fds(3)), then the service."""


@contextmanager
def document_service(paths: Paths, log: IO[bytes] | None = None) -> Iterator[None]:
    """Serve on the sockets under ``paths.root`` until the block ends; what goes to the journal goes to ``log``."""
    paths.documents.mkdir(parents=True, exist_ok=True)
    with _parsers(paths), _listener(paths.documents_socket) as listener:
        number = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, "-c", _ACTIVATED, str(number), str(paths.root)],
            pass_fds=(number,),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait(STOP_TIMEOUT_S)


@contextmanager
def _parsers(paths: Paths) -> Iterator[None]:
    """``Accept=yes``: each connection becomes the standard input and output of a process."""
    with _listener(paths.parser_socket) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    argv = [sys.executable, "-m", "sealwright_appliance", "parser"]
                    with connection:
                        ends = connection.fileno()
                        started = subprocess.Popen(argv, stdin=ends, stdout=ends, stderr=subprocess.DEVNULL)
                    threading.Thread(target=started.wait, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(STOP_TIMEOUT_S)


@contextmanager
def _listener(path: object) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield listener
