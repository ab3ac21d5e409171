"""By which errors attempts are refused: another one says that the attempt has failed by itself, and shows nothing.

One attempt is refused by several defences, in each place by another: no such socket family, a capability or a system
call that is not there (EPERM), a profile or a file's mode (EACCES), a place that is not shown at all (ENOENT). Where
one stands behind another, it is the first that is met.
"""

from __future__ import annotations

from collections.abc import Iterator

from sealwright_testing.redteam.attempts import Place

SUCCEEDS = "-"
SETS = {
    "FAMILY": frozenset({"EAFNOSUPPORT"}),
    # Of connections: what the packet filter refuses is not always told to the socket, which then gives up.
    "CALLED": frozenset({"EACCES", "EHOSTUNREACH", "ETIMEDOUT"}),
}
"""What stands in the table for other names of errors (errno(3)) than its own."""
# Attempts by name, and the places in the order of Place: engine, gateway, agent, agent-root, volumes,
# sealwright-gateway, sealwright-agent, root. The TPM's own word counts as EACCES (intruder.calls.refused).
TABLE = """
accounting               EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
agent-socket             ENOENT  -       -       -       -       EACCES  EACCES  -
bind-over                EPERM   EPERM   EPERM   EPERM   EACCES  EACCES  EACCES  -
bpf                      EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
call-host                FAMILY  CALLED  CALLED  CALLED  FAMILY  CALLED  CALLED  CALLED
call-host-v6             FAMILY  CALLED  CALLED  CALLED  FAMILY  CALLED  CALLED  CALLED
call-service             FAMILY  CALLED  -       CALLED  FAMILY  CALLED  CALLED  CALLED
call-service-v6          FAMILY  CALLED  -       CALLED  FAMILY  CALLED  CALLED  CALLED
capabilities             ENOENT  ENOENT  ENOENT  ENOENT  -       -       -       -
code-policy              EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EPERM
core-dump                ENOENT  ENOENT  ENOENT  ENOENT  ENOENT  ENOENT  ENOENT  ENOENT
core-settings            ENOENT  ENOENT  ENOENT  ENOENT  EACCES  EACCES  EACCES  -
data-set                 ENOENT  EACCES  EACCES  EACCES  -       EACCES  EACCES  -
data-set-device          ENOENT  ENOENT  EACCES  EACCES  -       EACCES  EACCES  -
disk                     ENOENT  ENOENT  EACCES  EACCES  -       EACCES  EACCES  -
documents                ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
domain-file              ENOENT  EACCES  -       EACCES  EACCES  EACCES  EACCES  -
domain-seal-key          ENOENT  EACCES  -       EACCES  EACCES  EACCES  EACCES  -
engine-numbers           ENOENT  -       -       -       -       -       -       -
engine-states            ENOENT  -       -       -       -       -       -       -
examples                 ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
extend-pcr               ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
extend-pcr-11            ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
extend-pcr-12            ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
extend-pcr-13            ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
extend-pcr-15            ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
extend-pcr-4             ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
extend-pcr-7             ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
firmware-variables       EACCES  EACCES  EACCES  EACCES  -       EACCES  EACCES  -
foreign-descriptor       EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
foreign-memory           EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
hibernation              EROFS   EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EPERM
interpreted-script       EROFS   EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
interpreter              EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
io-uring                 EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
kernel-log               ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  -
kernel-memory            ENOENT  ENOENT  ENOENT  ENOENT  EPERM   EACCES  EACCES  EPERM
kexec                    EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
keyring                  ENOENT  ENOENT  ENOENT  ENOENT  ENOENT  EACCES  EACCES  ENOENT
leases                   ENOENT  EACCES  -       EACCES  EACCES  EACCES  EACCES  -
link                     EPERM   ENOENT  ENOENT  ENOENT  ENOENT  EACCES  EACCES  -
look-up                  FAMILY  EACCES  -       EPERM   FAMILY  EACCES  EPERM   EPERM
look-up-v6               FAMILY  EACCES  -       EPERM   FAMILY  EACCES  EPERM   EPERM
memory-image             ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EPERM
memory-program           EPERM   EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
module                   EPERM   EACCES  EACCES  EACCES  EPERM   EPERM   EPERM   EPERM
mount                    EPERM   EPERM   EPERM   EPERM   EACCES  EACCES  EACCES  -
mount-namespace          EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   -
netlink-socket           FAMILY  FAMILY  FAMILY  FAMILY  -       EACCES  EACCES  -
network                  FAMILY  EACCES  -       -       FAMILY  EACCES  -       -
network-namespace        EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   -
network-v6               FAMILY  EACCES  -       -       FAMILY  EACCES  -       -
other-environment-file   ENOENT  EACCES  EACCES  EACCES  -       EACCES  EACCES  -
other-environments       EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
other-payload            ENOENT  EACCES  EACCES  EACCES  -       EACCES  EACCES  -
other-payload-device     ENOENT  ENOENT  EACCES  EACCES  -       EACCES  EACCES  -
other-processes          EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
other-socket             ENOENT  -       -       -       -       -       -       -
other-socket-folder      ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
own-code                 EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
own-key                  EPERM   -       -       -       -       -       -       -
own-library              EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
own-script               EROFS   EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
own-volume-key           EACCES  EACCES  EACCES  EACCES  -       EACCES  EACCES  -
packet-socket            FAMILY  FAMILY  FAMILY  FAMILY  FAMILY  EACCES  EACCES  -
payload-volume-key       ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
perf                     EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
physical-memory          ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EPERM
process-memory           ENOENT  ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES
ptrace                   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
remount                  EPERM   EPERM   EPERM   EPERM   EACCES  EACCES  EACCES  -
reset-boot-pcr           ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
reset-debug-pcr          ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
reset-pcr-15             ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
results                  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  -
root                     EPERM   EPERM   EPERM   -       -       -       -       -
same-file                EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
send-datagram            FAMILY  EACCES  EPERM   EPERM   FAMILY  EACCES  EPERM   EPERM
send-datagram-v6         FAMILY  EACCES  EPERM   EPERM   FAMILY  EACCES  EPERM   EPERM
send-echo                FAMILY  EACCES  EACCES  EACCES  FAMILY  EACCES  EACCES  EPERM
send-echo-reply          FAMILY  EACCES  EACCES  EACCES  FAMILY  EACCES  EACCES  -
send-echo-reply-v6       FAMILY  EACCES  EACCES  EACCES  FAMILY  EACCES  EACCES  -
send-echo-v6             FAMILY  EACCES  EACCES  EACCES  FAMILY  EACCES  EACCES  EPERM
send-raw                 FAMILY  EACCES  EACCES  EACCES  FAMILY  EACCES  EACCES  EPERM
send-raw-v6              FAMILY  EACCES  EACCES  EACCES  FAMILY  EACCES  EACCES  EPERM
service-manager          ENOENT  EACCES  EACCES  EACCES  -       -       -       -
shares                   ENOENT  EACCES  -       EACCES  EACCES  EACCES  EACCES  -
signal-to-others         ESRCH   -       -       ESRCH   -       ESRCH   ESRCH   -
state                    ENOENT  EACCES  -       -       EACCES  EACCES  -       -
state-volume-key         ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
swap                     EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
system-bus               ENOENT  EACCES  EACCES  EACCES  -       -       -       -
tls-key                  ENOENT  -       EACCES  EACCES  EACCES  -       EACCES  -
tpm                      ENOENT  ENOENT  -       -       EACCES  EACCES  EACCES  -
unseal-domain-key-again  ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
unseal-state-again       ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
unseal-volumes-again     ENOENT  ENOENT  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
user-namespace           EPERM   EPERM   EPERM   EPERM   EPERM   ENOSPC  ENOSPC  ENOSPC
userfaultfd              EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM   EPERM
vsock                    FAMILY  FAMILY  FAMILY  FAMILY  FAMILY  EACCES  EACCES  FAMILY
writable-code            EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES  EACCES
writable-places          ENOENT  ENOENT  -       ENOENT  ENOENT  ENOENT  ENOENT  -
write-disk               ENOENT  ENOENT  EACCES  EACCES  -       EACCES  EACCES  -
write-esp                ENOENT  ENOENT  EACCES  EACCES  -       EACCES  EACCES  -
write-other-disk         ENOENT  ENOENT  EACCES  EACCES  -       EACCES  EACCES  -
write-state              ENOENT  EROFS   -       EACCES  EACCES  EACCES  EACCES  -
write-usb                ENOENT  ENOENT  ENOENT  ENOENT  ENOENT  ENOENT  ENOENT  ENOENT
"""


def _cells() -> Iterator[tuple[tuple[Place, str], frozenset[str]]]:
    for line in TABLE.split("\n"):
        if line:
            name, *words = line.split()
            for place, word in zip(Place, words, strict=True):
                if word != SUCCEEDS:
                    yield (place, name), SETS.get(word, frozenset({word}))


REASONS = dict(_cells())
"""By place and attempt."""


def is_expected(place: Place, attempt: str, reason: str) -> bool:
    """Whether a refusal is by one of the attempt's defences there."""
    return reason in REASONS[place, attempt]
