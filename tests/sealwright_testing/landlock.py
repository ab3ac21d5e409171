"""Enforces compiled Landlock rules on the calling process, for tests: what the box's launcher does before it executes.

``python -m sealwright_testing.landlock RULES.json PROGRAM ARGUMENT…`` enforces and executes. Numbers are those of
linux/landlock.h at ABI 6, the bits in the order of its rights.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""System calls; the same number on every architecture."""
PATH_BENEATH, NET_PORT = 1, 2
PR_SET_NO_NEW_PRIVS = 38
CONNECT_TCP = 2
FILE_RIGHTS = (
    *("execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir"),
    *("make_reg", "make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev"),
)
OF_FILES = {"execute", "write_file", "read_file", "truncate", "ioctl_dev"}
"""Rights that a rule on a single file may have."""
SCOPES = ("abstract_unix_socket", "signal")

_libc = ctypes.CDLL(None, use_errno=True)


def bits(names: Any, order: Any) -> int:
    """A mask of names."""
    return sum(1 << list(order).index(name) for name in names)


def enforce(rules: Mapping[str, Any]) -> None:
    """Confine this process. Every right is handled, TCP bind and connect too; a path that is not there grants nothing.

    Raises:
        OSError: the kernel knows no Landlock, or an older ABI than the rules need.
    """
    attributes = struct.pack("=QQQ", bits(FILE_RIGHTS, FILE_RIGHTS), 3, bits(rules["scoped"], SCOPES))
    ruleset = _call(CREATE_RULESET, attributes, len(attributes), 0)
    for rule in rules["paths"]:
        try:
            descriptor = os.open(rule["path"], os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        access = set(rule["access"])
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            assert access <= OF_FILES, rule
        _call(ADD_RULE, ruleset, PATH_BENEATH, struct.pack("=Qi", bits(access, FILE_RIGHTS), descriptor), 0)
        os.close(descriptor)
    for port in rules["connect_tcp"]:
        _call(ADD_RULE, ruleset, NET_PORT, struct.pack("=QQ", CONNECT_TCP, port), 0)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    _call(RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}")
    return result


if __name__ == "__main__":
    enforce(json.loads(Path(sys.argv[1]).read_text()))
    os.execv(sys.argv[2], sys.argv[2:])
