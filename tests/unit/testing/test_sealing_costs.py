"""What is made of the measuring program's report, and the machine that it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealwright_testing.machine import Machine, MachineFiles, qemu_arguments
from sealwright_testing.sealing_costs import counted_machine, figures

CODE, VARS, DISK, TPM, QMP = (Path(f"/machine/{name}") for name in ("code", "vars", "disk", "tpm", "qmp"))
FILES = MachineFiles(CODE, VARS, DISK, TPM, QMP, data=())


def report(decode: float) -> dict[str, object]:
    def side(*, decode: float, cached: int) -> dict[str, object]:
        memory = {"resident": 2**20, "cached": cached, "buffered": 0}
        return {"load": 2e9, "memory": memory, "decode": decode, "prompt": 1e6}

    return {
        "boot": {"all": 10_000_000, "sealing": 1_000_000, "kernel_threads": 2_000_000},
        "sealed": [side(decode=decode, cached=0)],
        "plain": [side(decode=1e6, cached=2**20)],
    }


def test_ratios_are_plain_to_sealed_and_boots_what_is_left() -> None:
    found = {one.name: one for one in figures([report(1e6), report(2e6), report(4e6)])}
    decode = found["decode_ratio"]
    assert (decode.value, decode.low, decode.high, decode.n) == (0.5, 0.25, 1.0, 3)
    assert found["memory_ratio"].value == 2
    assert found["boot_ratio"].value == pytest.approx(0.9)
    assert found["boot_ratio: at worst"].value == pytest.approx(0.7)
    assert found["sealed decode"].value == 2


def test_a_machine_that_counts_has_one_emulated_processor_whatever_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With KVM instructions are not counted."""
    monkeypatch.setenv("SEALWRIGHT_VM_ACCELERATOR", "kvm")
    machine = counted_machine(Path("/plain"), 5)
    arguments = qemu_arguments(machine, FILES)
    assert arguments[arguments.index("-icount") + 1] == "shift=0,sleep=on"
    assert arguments[arguments.index("-accel") + 1] == "tcg,thread=single"
    assert arguments[arguments.index("-smp") + 1] == "1"
    assert "kvm" in qemu_arguments(Machine(), FILES)
