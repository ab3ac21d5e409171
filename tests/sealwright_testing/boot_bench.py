"""How long an activated box takes from power to its first token, phase by phase, in the virtual machine of the tests.

The box boots without its licence service, as after a power cut. Under emulation the figures say which phase costs what;
on a machine they are a fraction of these.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from sealwright_testing import customer
from sealwright_testing.bench import Figure, figure
from sealwright_testing.console import FAILURES
from sealwright_testing.models import ModelStore
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE, World

ROUNDS = 3
NAME = "boot_to_first_token_s"
LANDMARKS = (
    ("firmware", "BdsDxe: starting Boot"),
    ("system", "sealwright: release "),
    ("unlock", "sealwright: state unlocked: "),
    ("load", "sealwright: state serving: "),
)
"""Phases, each with the console line that ends it."""
FIRST_TOKEN = "first token"


def measure_boot(world: World, rounds: int = ROUNDS) -> Iterable[Figure]:
    """Seconds from power to the first token of a model, and of each phase on the way."""
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-", dir="/var/tmp") as folder:
        boots = [_boot(world, Path(folder) / str(number)) for number in range(rounds)]
    accelerator = os.environ.get("SEALWRIGHT_VM_ACCELERATOR", "tcg")
    against = f"QEMU with {accelerator}, {TEST_MACHINE.cpus} CPU, software TPM"
    yield figure(NAME, [sum(boot.values()) for boot in boots], "s", against=against)
    for phase in boots[0]:
        yield figure(f"{NAME}: {phase}", [boot[phase] for boot in boots], "s", against=against)


def _boot(world: World, directory: Path) -> dict[str, float]:
    """Seconds of each phase of one boot."""
    seconds = {}
    with world.activated.copy(directory, machine=dataclasses.replace(TEST_MACHINE, isolated=True)) as box:
        begun = time.monotonic()
        box.start()
        for phase, landmark in LANDMARKS:
            box.expect(landmark, failures=f"{FAILURES}|sealwright: state locked")
            ended = time.monotonic()
            seconds[phase], begun = ended - begun, ended
        _first_token(world, box)
        seconds[FIRST_TOKEN] = time.monotonic() - begun
    return seconds


def _first_token(world: World, box: VirtualBox) -> None:
    """Ask a model and wait until its answer begins."""
    model, samples = next(iter(ModelStore.load().samples().items()))
    customer.wait_for_https(box)
    activated = world.activated
    with customer.colleague(box, activated.api_key, activated.placard.tls_fingerprint) as client:
        chunks = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": samples[0].question}], temperature=0, stream=True
        )
        if not any(chunk.choices and chunk.choices[0].delta.content for chunk in chunks):
            raise RuntimeError(f"{model} answered nothing")
