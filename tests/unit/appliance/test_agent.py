"""The agent as a process, and what it says while it can do little."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from sealwright_appliance.agent_endpoints import create_agent_app
from sealwright_appliance.api_keys import ApiKeys
from sealwright_appliance.boot import BoxCode, BoxState
from sealwright_appliance.console import Console
from sealwright_appliance.status import BootResult
from sealwright_appliance.status_board import StatusBoard

PROGRAM = """
import sys, threading
from sealwright_appliance.agent import end_with_any_thread
end_with_any_thread()
thread = threading.Thread(target=lambda: [][0])
thread.start()
thread.join()
sys.exit(0)
"""


def test_a_thread_that_fails_ends_the_agent() -> None:
    """A keeper that died alone would leave the box serving for ever."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "IndexError" in done.stderr


@pytest.mark.parametrize("path", ["/activation", "/activation/acknowledgement"])
def test_a_box_whose_state_volume_is_closed_says_why_it_takes_no_claim(path: str, tmp_path: Path) -> None:
    boot = BootResult(state=BoxState.LOCKED, code=BoxCode.STATE_VOLUME, sentence="It is closed.", at=0, payloads=[])
    app = create_agent_app(StatusBoard(boot, Console(()), lambda: 0.0), None, ApiKeys(tmp_path / "api-keys.json"))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://agent") as client:
            return await client.post(path, json={"claim_code": "A", "peer": ""})

    reply = asyncio.run(ask())
    assert reply.status_code == 409
    assert (reply.json()["code"], reply.json()["detail"]) == ("STATE_VOLUME", "It is closed.")
