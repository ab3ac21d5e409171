"""The virtual machine that stands for a customer's server, as a QEMU command line. Pure; virtual_box runs it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

BOX_PORT = 8443
"""Where the box serves HTTPS."""

HOST_ADDRESS = "10.0.2.2"
"""This host's loopback, as the box sees it: servers that tests start on 127.0.0.1 answer there."""
ECHO_PORT = 7
"""RFC 862."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a box is built of. A snapshot goes only into an equal machine.

    Attributes:
        cpus: Virtual CPUs.
        memory_mib: Memory in MiB.
        network: Whether there is a network card.
        isolated: Whether the box reaches nobody, this host included; it can still be reached.
        counted: Whether its clock counts its instructions, one a nanosecond: for one processor, emulated, and slow.
        echoes: Addresses in 10.0.2.0/24, the box's network, of hosts that send back what comes to their TCP port 7.
        smbios: SMBIOS type 11 strings, as whoever controls the machine's firmware settings can give.
        extra: Further QEMU arguments.
    """

    cpus: int = 2
    memory_mib: int = 2048
    network: bool = True
    isolated: bool = False
    counted: bool = False
    echoes: tuple[str, ...] = ()
    smbios: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """Where a machine's parts lie on the host.

    Attributes:
        firmware: OVMF's code.
        variables: OVMF's variable store, written to.
        disk: The disk, qcow2.
        tpm_socket: swtpm's control socket.
        qmp_socket: Where QEMU is to listen for control.
        data: QEMU's data directories.
    """

    firmware: Path
    variables: Path
    disk: Path
    tpm_socket: Path
    qmp_socket: Path
    data: tuple[Path, ...]


def qemu_arguments(machine: Machine, files: MachineFiles, *, incoming: bool = False) -> list[str]:
    """The arguments for qemu-system-x86_64; with ``incoming`` it waits for a snapshot's state.

    ``SEALWRIGHT_VM_ACCELERATOR=kvm`` uses KVM, where that runs ordinary guests; emulation works everywhere.
    """
    accelerator = os.environ.get("SEALWRIGHT_VM_ACCELERATOR", "tcg")
    processor = ["-accel", "kvm", "-cpu", "host"]
    if machine.counted:
        # A waiting processor waits in real time: with sleep=off its clock runs on to the next timer, and the kernel
        # takes a TPM that answers in milliseconds for a dead one. What it waits is counted in neither case.
        processor = ["-accel", "tcg,thread=single", "-cpu", "max", "-icount", "shift=0,sleep=on"]
    elif accelerator != "kvm":
        processor = ["-accel", "tcg,thread=multi", "-cpu", "max"]
    arguments = [argument for folder in files.data for argument in ("-L", str(folder))]
    arguments += ["-machine", "q35,smm=on", *processor, "-smp", str(machine.cpus), "-m", str(machine.memory_mib)]
    arguments += ["-nodefaults", "-no-user-config", "-display", "none", "-action", "panic=pause"]
    # Only code in system management mode may write the variable store: without it, Secure Boot is no boundary.
    arguments += ["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"]
    arguments += ["-drive", _options("if=pflash,unit=0,format=raw,readonly=on,file=", files.firmware)]
    arguments += ["-drive", _options("if=pflash,unit=1,format=raw,file=", files.variables)]
    arguments += ["-chardev", _options("socket,id=tpm,path=", files.tpm_socket)]
    arguments += ["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"]
    arguments += ["-drive", _options("if=none,id=disk0,format=qcow2,cache=writeback,file=", files.disk)]
    arguments += ["-device", "virtio-blk-pci,drive=disk0,id=disk,serial=disk,bootindex=1"]
    arguments += ["-device", "virtio-rng-pci", "-device", "pvpanic-pci"]
    arguments += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
    arguments += ["-qmp", _options("unix:", files.qmp_socket) + ",server=on,wait=off"]
    if machine.network:
        # Host port 0: the system chooses a free one, and VirtualBox asks QEMU which.
        restrict = "on" if machine.isolated else "off"
        hosts = "".join(f",guestfwd=tcp:{one}:{ECHO_PORT}-cmd:cat" for one in machine.echoes)
        arguments += ["-netdev", f"user,id=net0,restrict={restrict},hostfwd=tcp:127.0.0.1:0-:{BOX_PORT}{hosts}"]
        arguments += ["-device", "virtio-net-pci,netdev=net0,id=nic,romfile="]
    for value in machine.smbios:
        arguments += ["-smbios", "type=11,value=" + _escape(value)]
    if incoming:
        arguments += ["-incoming", "defer"]
    return [*arguments, *machine.extra]


def _options(prefix: str, path: Path) -> str:
    return prefix + _escape(str(path))


def _escape(value: str) -> str:
    """QEMU's option lists take a comma doubled."""
    return value.replace(",", ",,")


def forwarded_port(usernet: str, port: int = BOX_PORT) -> int:
    """The host's port that leads to one of the box's, out of QEMU's ``info usernet``: lines of protocol, fd, address,
    port, guest's address, port."""
    for line in usernet.splitlines():
        words = line.split()
        if len(words) >= 6 and words[0] == "TCP[HOST_FORWARD]" and words[5] == str(port):
            return int(words[3])
    raise RuntimeError(f"QEMU forwards no port to the box's {port}:\n{usernet}")
