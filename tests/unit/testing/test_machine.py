"""The virtual machine's command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from sealwright_testing.machine import Machine, MachineFiles, forwarded_port, qemu_arguments

FILES = MachineFiles(
    firmware=Path("/tools/OVMF_CODE.fd"),
    variables=Path("/box/vars.fd"),
    disk=Path("/box/disk.qcow2"),
    tpm_socket=Path("/run/tpm"),
    qmp_socket=Path("/run/qmp"),
    data=(Path("/tools/qemu"),),
)


def test_a_comma_in_a_value_does_not_end_it() -> None:
    """SMBIOS strings and paths keep their commas, which QEMU would take for the next option."""
    files = dataclasses.replace(FILES, disk=Path("/box,readonly=on/disk.qcow2"))
    arguments = qemu_arguments(Machine(smbios=("io.systemd.credential:x=a,b",)), files)
    assert "type=11,value=io.systemd.credential:x=a,,b" in arguments
    assert any(argument.endswith("file=/box,,readonly=on/disk.qcow2") for argument in arguments)


def test_only_system_management_mode_writes_variables() -> None:
    """Without SMM and secure flash, a kernel could enrol its own keys, and Secure Boot would prove nothing."""
    arguments = qemu_arguments(Machine(), FILES)
    assert "q35,smm=on" in arguments
    assert "driver=cfi.pflash01,property=secure,value=on" in arguments


def test_a_box_without_a_network_card_has_none() -> None:
    """``-nodefaults`` alone decides otherwise."""
    arguments = qemu_arguments(Machine(network=False), FILES)
    assert "-nodefaults" in arguments
    assert not any("net" in argument for argument in arguments)


def test_forwarded_port_is_read_from_usernet() -> None:
    """As QEMU 10 prints it."""
    printed = (
        "Hub -1 (net0):\n"
        "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n"
        "  TCP[ESTABLISHED]   16       127.0.0.1  1111       10.0.2.15  8443     0     0\n"
        "  TCP[HOST_FORWARD]  14       127.0.0.1 34419       10.0.2.15  8443     0     0\n"
    )
    assert forwarded_port(printed) == 34419
    with pytest.raises(RuntimeError, match="no port"):
        forwarded_port("")
