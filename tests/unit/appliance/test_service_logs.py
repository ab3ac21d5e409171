"""What a service that fails writes to the journal: the kind and the place, and nothing that the customer gave it."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from sealwright_appliance.adapters.messages import (
    AdapterOperation,
    AdapterReply,
    AdapterRequest,
    KeptAdapter,
    parse_adapter_reply,
)
from sealwright_appliance.documents.messages import (
    DocumentOperation,
    DocumentRequest,
    parse_document_reply,
)
from sealwright_appliance.documents.store import DATABASE, DocumentStore
from sealwright_appliance.files import write_durably
from sealwright_appliance.local_messages import framed
from sealwright_appliance.paths import Paths
from sealwright_appliance.workloads import load_workloads
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_testing.adapters import AdapterProcess, own_adapter_plans
from sealwright_testing.document_service import document_service

CANARY = "canary-of-a-patient"
WAIT_S = 60.0
MAIN = (
    "import sys\n"
    "from pathlib import Path\n"
    "from sealwright_appliance.cli import main\n"
    "from sealwright_appliance.paths import Paths\n"
    "sys.exit(main([sys.argv[1]], Paths(root=Path(sys.argv[2]))))\n"
)


@pytest.fixture
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Short enough for a UNIX socket's name."""
    paths = Paths(root=tmp_path_factory.mktemp("s"))
    paths.run.mkdir(parents=True)
    return paths


def ask(path: Path, head: bytes, content: bytes = b"") -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(WAIT_S)
        connection.connect(str(path))
        connection.sendall(framed(head, content))
        said = b""
        while piece := connection.recv(65536):
            said += piece
        return said


def written(log: Path, ends: Callable[[str], bool]) -> str:
    """What stands in a log once something does."""
    until = time.monotonic() + WAIT_S
    while not ends(log.read_text()):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    return log.read_text()


def assert_names_alone(log: str) -> None:
    assert CANARY not in log
    assert all("=" in word for line in log.splitlines() for word in line.split())


def test_a_document_that_the_service_fails_at_is_not_in_its_log(paths: Paths) -> None:
    """A damaged row makes pydantic quote it."""
    log = paths.root / "log"
    with log.open("wb") as file, document_service(paths, file):
        asked = DocumentRequest(operation=DocumentOperation.ADD, name=f"{CANARY}.txt", size=len(CANARY))
        reply = parse_document_reply(ask(paths.documents_socket, document_bytes(asked), CANARY.encode()))
        assert reply.documents
        with closing(sqlite3.connect(paths.documents / DATABASE)) as database:
            database.execute("UPDATE documents SET created = ?", (CANARY,))
            database.commit()
        with pytest.raises(ValidationError, match=CANARY):
            DocumentStore(paths.documents).all()
        listed = ask(paths.documents_socket, document_bytes(DocumentRequest(operation=DocumentOperation.LIST)))
        assert listed == b""
        said = written(log, lambda text: text.endswith("\n"))
    assert "level=CRITICAL error=ValidationError in=" in said
    assert_names_alone(said)


def test_an_adapter_that_the_service_fails_at_is_not_in_its_log(paths: Paths) -> None:
    """One of a member that no plan knows: the KeyError's text is its name."""
    write_durably(paths.workload_plans, document_bytes(own_adapter_plans({"medical": "own"})))
    log = paths.root / "log"
    with log.open("wb") as file:
        service = AdapterProcess(paths, ["own"], file)
        try:
            listing = document_bytes(AdapterRequest(operation=AdapterOperation.LIST))
            assert parse_adapter_reply(ask(paths.adapters_socket, listing)) != AdapterReply()
            stray = KeptAdapter(
                adapter_id=f"adapter-{'0' * 24}",
                model="medical",
                member=CANARY,
                name="ward",
                created=0,
                expires=2**40,
                examples=10,
            )
            write_durably(paths.adapters / "kept" / f"{stray.adapter_id}.json", document_bytes(stray))
            said = written(log, lambda text: text.endswith("\n"))
        finally:
            service.close()
    assert "level=CRITICAL error=KeyError in=" in said
    assert_names_alone(said)


@pytest.mark.parametrize("command", ["adapters", "agent", "gateway"])
def test_a_service_that_does_not_start_quotes_no_path(command: str, paths: Paths) -> None:
    """What cannot be read is refused by its path."""
    box = Paths(root=paths.root / CANARY)
    for file in (box.workload_plans, box.engines, box.boot_result):
        file.mkdir(parents=True)
    with pytest.raises(OperationError, match=CANARY):
        load_workloads(box)
    argv = [sys.executable, "-c", MAIN, command, str(box.root)]
    environment = os.environ | {"LISTEN_FDS": "1"}
    ran = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=WAIT_S, env=environment)
    assert ran.returncode == OperationError.exit_code
    assert "level=CRITICAL error=OperationError in=" in ran.stderr
    assert_names_alone(ran.stderr + ran.stdout)
