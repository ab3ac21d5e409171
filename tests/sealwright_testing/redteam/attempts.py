"""What is tried inside of a box, from which places, and what comes of it.

The intruder of the test image (``planted/tree/usr/lib/planted``) tries every attempt from every place. What succeeds is
what a service needs, or a residual, which SECURITY.md tells of.
"""

from __future__ import annotations

from enum import StrEnum


class Place(StrEnum):
    """Where the intruder is."""

    ENGINE = "engine"
    """The user, unit and profile of an engine."""
    GATEWAY = "gateway"
    """The user, unit and profile of the gateway."""
    AGENT = "agent"
    """The user, unit and profile of the agent."""
    AGENT_ROOT = "agent-root"
    """Unit and profile of the agent, as user 0."""
    VOLUMES = "volumes"
    """Unit and profile of the service that closes volumes: root with CAP_SYS_ADMIN."""
    ROOT_IN_GATEWAY = "sealwright-gateway"
    """Root with all that process 1 has kept, in the gateway's AppArmor profile and nothing else."""
    ROOT_IN_AGENT = "sealwright-agent"
    ROOT = "root"
    """Root with all that process 1 has kept, in no sandbox."""


DISARMED = "disarmed"
"""Root, in a boot of the same system without its kernel's defences (:mod:`.disarmed`)."""

FROM_ROOT = frozenset({
    # lockdown, Yama and the capabilities that process 1 has given up
    "ptrace", "foreign-memory", "process-memory", "physical-memory", "kernel-memory", "code-policy",
    "hibernation", "memory-image",
    # no core dumps, no kexec, no user name spaces, no module any more
    "core-dump", "kexec", "user-namespace", "module", "vsock",
    # the system calls that the initrd has taken away
    "io-uring", "bpf", "perf", "userfaultfd", "same-file", "foreign-descriptor", "accounting",
    "swap",
    # IPE: no code but the verified root's
    "own-code", "own-script", "own-library", "memory-program", "writable-code",
    # the packet filter
    "send-datagram", "look-up", "send-echo", "send-raw", "call-host", "call-service",
    "send-datagram-v6", "look-up-v6", "send-echo-v6", "send-raw-v6", "call-host-v6", "call-service-v6",
    # keys: dm-crypt's reference to the keyring, PCR 15 closed, the TPM's localities
    "state-volume-key", "payload-volume-key", "keyring", "unseal-state-again", "unseal-volumes-again",
    "unseal-domain-key-again", "reset-pcr-15", "reset-boot-pcr",
    # no driver
    "write-usb",
})  # fmt: skip
"""Refused to root in no sandbox."""

EXTENDS = frozenset({
    "extend-pcr", "extend-pcr-4", "extend-pcr-7", "extend-pcr-11", "extend-pcr-12", "extend-pcr-13", "extend-pcr-15",
})  # fmt: skip
"""One PCR that nothing hangs on, and those that keys hang on."""
ENGINES = frozenset({"other-socket", "engine-numbers", "engine-states"})
"""Who may connect to an engine's socket is told what the engine tells, past the gateway."""

TO_ROOT = frozenset({
    "other-socket", "other-socket-folder", "other-payload", "other-payload-device", "other-processes",
    "data-set", "data-set-device", "results", "domain-file", "domain-seal-key", "documents", "examples",
    "other-environments", "other-environment-file", "signal-to-others",
    "agent-socket", "system-bus", "service-manager", "state", "leases", "shares", "tls-key", "network",
    "network-v6", "send-echo-reply", "send-echo-reply-v6", "packet-socket", "netlink-socket",
    "kernel-log", "disk", "tpm", "firmware-variables", "mount-namespace", "network-namespace", "mount", "bind-over",
    "remount", "writable-places", "root", "core-settings", "capabilities", "link", "interpreter",
    "interpreted-script", "write-state", "write-esp", "write-disk", "write-other-disk", "own-volume-key",
    "own-key", "engine-numbers", "engine-states", *EXTENDS, "reset-debug-pcr",
})  # fmt: skip
"""Allowed to root in no sandbox: residuals, and the control of what a sandbox refuses."""

PASSES = {
    Place.ENGINE: frozenset(),
    Place.GATEWAY: frozenset({*ENGINES, "agent-socket", "tls-key", "signal-to-others", "own-key"}),
    # Of the network, names and the licence service's port at any address. Files of domains and the key of their seals
    # are its own; documents, examples and results are not.
    Place.AGENT: frozenset({
        *ENGINES, *EXTENDS, "agent-socket", "signal-to-others", "state", "leases", "shares", "write-state", "tpm",
        "reset-debug-pcr", "network", "network-v6", "look-up", "look-up-v6", "call-service", "call-service-v6",
        "own-key", "writable-places", "domain-file", "domain-seal-key",
    }),
    Place.AGENT_ROOT: frozenset({
        *ENGINES, *EXTENDS, "agent-socket", "state", "tpm", "reset-debug-pcr", "network", "network-v6", "root",
        "own-key",
    }),
    # It closes volumes and starts engines: whoever is it may ask process 1 for more.
    Place.VOLUMES: frozenset({
        *ENGINES, "other-payload", "other-payload-device", "data-set", "data-set-device",
        "other-environment-file", "signal-to-others", "system-bus", "service-manager", "netlink-socket", "disk",
        "firmware-variables", "write-esp", "write-disk", "write-other-disk", "root", "capabilities",
        "own-volume-key", "own-key",
        # CAP_DAC_OVERRIDE, with which it removes results from workloads' folders, and profiles do not judge sockets.
        "agent-socket",
    }),
    # Profiles do not judge who connects to a socket; and process 1 believes user 0. Units hide its sockets.
    Place.ROOT_IN_GATEWAY: frozenset({
        *ENGINES, "system-bus", "service-manager", "tls-key", "root", "capabilities", "own-key",
    }),
    Place.ROOT_IN_AGENT: frozenset({
        *ENGINES, "system-bus", "service-manager", "state", "network", "network-v6", "root", "capabilities", "own-key",
    }),
}  # fmt: skip
"""What each sandbox lets through: what its service needs, and residuals. All else is refused there."""

OTHER_CONTROLS = {
    "reset-pcr-15": (Place.ROOT, "reset-debug-pcr"),
    "reset-boot-pcr": (Place.ROOT, "reset-debug-pcr"),
    "state-volume-key": (Place.ROOT, "own-volume-key"),
    "payload-volume-key": (Place.ROOT, "own-volume-key"),
    "keyring": (Place.ROOT, "own-key"),
    # That key is made of the domain key, which the box so has unsealed in the same boot.
    "unseal-domain-key-again": (Place.ROOT, "domain-seal-key"),
}
"""Attempts of which another one shows that they are good ones."""
BY_THE_BOX = frozenset({"unseal-state-again", "unseal-volumes-again"})
"""What the box itself did before, in the same boot."""
BY_FIRMWARE = frozenset({"write-usb"})
"""The firmware reads the stick that the kernel has no driver for (tests/vm/redteam/test_devices.py)."""


def every_attempt() -> frozenset[str]:
    """The names of all attempts."""
    return FROM_ROOT | TO_ROOT


def passes_in(place: Place) -> frozenset[str]:
    """Every attempt that succeeds in a place."""
    return TO_ROOT if place is Place.ROOT else PASSES[place]


def refused_in(place: Place) -> frozenset[str]:
    """Every attempt that must fail in a place."""
    return every_attempt() - passes_in(place)


def control_of(attempt: str) -> tuple[str, str] | None:
    """Place and name of the run that must succeed; None for what :data:`BY_THE_BOX` and :data:`BY_FIRMWARE` say."""
    if attempt in BY_THE_BOX | BY_FIRMWARE:
        return None
    if attempt in OTHER_CONTROLS:
        return OTHER_CONTROLS[attempt]
    return (DISARMED if attempt in FROM_ROOT else Place.ROOT), attempt
