"""By which errors attempts are refused: another one says that the attempt has failed by itself, and shows nothing.

One attempt is refused by several defences, in each place by another: no such socket family, a capability or a system
call that is not there (EPERM), a profile or a file's mode (EACCES), a place that is not shown at all (ENOENT).
"""

from __future__ import annotations

NO_FAMILY = "EAFNOSUPPORT"
FILTERED = frozenset({NO_FAMILY, "EACCES", "EPERM"})
"""Of what is sent at once."""
CALLED = frozenset({NO_FAMILY, "EACCES", "EHOSTUNREACH", "ETIMEDOUT"})
"""Of connections; that the packet filter refuses is not always told to the socket, which then gives up."""
NOT_SHOWN = frozenset({"ENOENT", "EACCES"})

REASONS = {
    "swap": frozenset({"EPERM"}),
    "hibernation": frozenset({"EPERM", "EACCES", "EROFS"}),
    "memory-image": frozenset({"EPERM", *NOT_SHOWN}),
    "network-v6": frozenset({NO_FAMILY, "EACCES"}),
    **dict.fromkeys(("send-datagram-v6", "look-up-v6", "send-echo-v6", "send-raw-v6"), FILTERED),
    **dict.fromkeys(("send-echo-reply", "send-echo-reply-v6"), FILTERED),
    "call-host-v6": CALLED,
    "call-service-v6": CALLED | NOT_SHOWN,
    **dict.fromkeys(("engine-numbers", "engine-states"), NOT_SHOWN),
    **dict.fromkeys((f"extend-pcr-{pcr}" for pcr in (4, 7, 11, 12, 13, 15)), NOT_SHOWN),
    # The TPM's own word is one of them: intruder.calls.refused.
    "reset-boot-pcr": NOT_SHOWN,
}
"""Of attempts that have been judged so; names of errors (errno(3))."""


def is_expected(attempt: str, reason: str) -> bool:
    """Whether a refusal is by one of the attempt's defences."""
    return attempt not in REASONS or reason in REASONS[attempt]
