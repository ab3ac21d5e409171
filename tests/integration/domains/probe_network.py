"""Run in a user and network namespace of its own by test_nftables.py: loads rules, tries to reach places, prints JSON.

Arguments: nft file, set of the domain's users, then HOST PORT PROTOCOL for each try. The namespace has one user, 0.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from contextlib import suppress

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
LONGEST_S = 60
"""Until one of the two has happened; neither takes long."""


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dropped() -> int:
    """Packets that a rule with a counter has dropped so far; 0 without rules."""
    rules = json.loads(run("nft", "--json", "list", "ruleset"))["nftables"]
    expressions = (expression for one in rules if "rule" in one for expression in one["rule"]["expr"])
    return sum(expression["counter"]["packets"] for expression in expressions if "counter" in expression)


def reached(host: str, port: int, protocol: str) -> bool:
    """Whether what is sent there arrives, or is dropped."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    before, deadline = dropped(), time.monotonic() + LONGEST_S
    with socket.socket(family, KINDS[protocol]) as listener, socket.socket(family, KINDS[protocol]) as caller:
        listener.bind((host, port))
        listener.setblocking(False)
        caller.setblocking(False)
        if protocol == "tcp":
            listener.listen()
            caller.connect_ex((host, port))
        else:
            with suppress(PermissionError):  # dropped on the way out
                caller.sendto(b"x", (host, port))
        while time.monotonic() < deadline:
            if select.select([listener], [], [], 0.05)[0]:
                return True
            if dropped() > before:
                return False
    raise TimeoutError(f"{host} {port} {protocol}: neither arrived nor dropped")


def main() -> None:
    rules, users, *tries = sys.argv[1:]
    places = [(tries[at], int(tries[at + 1]), tries[at + 2]) for at in range(0, len(tries), 3)]
    run("ip", "link", "set", "lo", "up")
    for host in dict.fromkeys(host for host, _, _ in places):
        bits = ["nodad"] if ":" in host else []
        run("ip", "address", "add", f"{host}/{128 if bits else 32}", "dev", "lo", *bits)
    found = {"control": [reached(*place) for place in places]}
    run("nft", "--file", rules)
    # The other end is on this machine too, and of the same user.
    run("nft", "add rule inet sealwright input iif lo accept")
    run("nft", "insert rule inet sealwright output ct direction reply accept")
    # What the policy of the chain drops is counted as well.
    run("nft", "add rule inet sealwright output counter drop")
    found["of another user"] = [reached(*place) for place in places]
    run("nft", f"add element inet sealwright {users} {{ 0 }}")
    found["of the domain"] = [reached(*place) for place in places]
    print(json.dumps(found))


main()
