"""What has to be trusted in a box: measured of every build, and held against the ledger, image/tcb-ledger.toml.

The ledger records, entry by entry, the most that was allowed and why it had to grow; the last entry that names a
quantity counts. The build writes what it has measured to ``trusted-base.json``; a test compares.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from sealwright_image.root_tree import RootTree
from sealwright_policies.errors import FormatError

LEDGER = Path(__file__).resolve().parents[1] / "tcb-ledger.toml"
PYTHON = "/usr/lib/sealwright/python/"
UNIT_FOLDERS = ("/usr/lib/systemd/system/", "/etc/systemd/system/")

Quantities = Mapping[str, int]


def measure(tree: RootTree, firewall: str, packages: int, own_programs: str) -> dict[str, int]:
    """The quantities of a root.

    Args:
        tree: The root.
        firewall: The packet filter's rules.
        packages: Debian packages in it.
        own_programs: Sources of the initrd's /init and of the launcher.
    """
    executables = tree.executables()
    libraries = [path for path, member in tree.members.items() if member.isfile() and _is_library(path)]
    own = [path for path, member in tree.members.items() if path.startswith(PYTHON) and path.endswith(".py")]
    return {
        "executables": len(executables),
        "executable_bytes": sum(tree.members[path].size for path in executables),
        "libraries": len(libraries),
        "library_bytes": sum(tree.members[path].size for path in libraries),
        "setuid_files": len(tree.privileged()),
        "packages": packages,
        "services": sum(1 for path, member in tree.members.items() if member.isfile() and _is_service(path)),
        "open_ports": len(open_ports(firewall)),
        "own_lines": sum(lines(tree.read(path).decode("utf-8")) for path in own) + lines(own_programs),
    }


def lines(source: str) -> int:
    """Lines that are not empty."""
    return sum(1 for line in source.splitlines() if line.strip())


def _is_library(path: str) -> bool:
    return re.search(r"\.so(\.\d+)*$", path) is not None


def _is_service(path: str) -> bool:
    return path.startswith(UNIT_FOLDERS) and path.endswith(".service")


def open_ports(firewall: str) -> list[str]:
    """What strangers may send to, be it only those of some networks, as in tcp/8443."""
    definitions = dict(re.findall(r"^define (\w+) = (\d+)$", firewall, re.MULTILINE))
    chain = re.search(r"chain input \{(.*?)\n\t\}", firewall, re.DOTALL)
    added = re.findall(r"^insert rule inet sealwright input (.*)$", firewall, re.MULTILINE)
    rules = re.findall(r"(tcp|udp) dport (\S+) accept", "\n".join([chain[1] if chain else "", *added]))
    ports = [f"{protocol}/{definitions.get(port.removeprefix('$'), port)}" for protocol, port in rules]
    return list(dict.fromkeys(ports))


def parse_ledger(text: str) -> dict[str, int]:
    """The most that is allowed of each quantity, by the last entry that names it.

    Raises:
        FormatError: not as described; every entry needs a reason and something that it allows.
    """
    most: dict[str, int] = {}
    try:
        for entry in tomllib.loads(text)["entry"]:
            if not entry.keys() == {"reason", "most"} or not entry["reason"].strip() or not entry["most"]:
                raise FormatError("An entry of the ledger has a reason, and the quantities that it raises, in `most`.")
            most |= {str(name): int(value) for name, value in entry["most"].items()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"The ledger is damaged: {error}.") from error
    return most


def growth(measured: Quantities, most: Quantities) -> list[str]:
    """What has grown without an entry, a sentence each; empty if nothing has."""
    return [_sentence(name, value, most.get(name)) for name, value in measured.items() if value > most.get(name, -1)]


def _sentence(name: str, value: int, allowed: int | None) -> str:
    limit = "nothing of it is recorded" if allowed is None else f"{allowed} are recorded"
    return f"{name} is {value}, and {limit} in image/tcb-ledger.toml: add an entry that says why it has to grow."
