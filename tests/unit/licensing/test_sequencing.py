"""The sequencer beside a service that runs."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from sealwright_licensing.sequencer import Sequencer
from sealwright_licensing.sequencing import sequencing


class Stumbling:
    """Fails the first time, in a way that nobody has foreseen."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self) -> int:
        """As a sequencer's."""
        self.runs += 1
        if self.runs == 1:
            raise KeyError("unforeseen")
        return 0


def test_whatever_happens_once_the_log_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    sequencer = Stumbling()

    async def serve() -> None:
        async with sequencing(cast(Sequencer, sequencer), interval_s=0.001):
            while sequencer.runs < 3:
                await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(serve(), 20))
    assert "the log is not extended" in caplog.text
