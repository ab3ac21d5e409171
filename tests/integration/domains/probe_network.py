"""Run in user, network and mount namespaces of its own by test_nftables.py: a box's packet filter between two networks.

Reads JSON: ``passwd`` and ``rules``, files; ``sets`` of users; ``places`` as [HOST, PORT, PROTOCOL], port 0 for ICMP;
``outside``, the addresses beyond the box. Prints JSON: for "control" without rules, "nobody" of a user in no set, each
set with this user in it, and "again" without rules, whether each place was reached; ``knocks``, whether somebody beyond
reaches a port that is listened on here, without and with rules. The namespace has one user, 0.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
LONGEST_S = 60
"""Until one of the two has happened; neither takes long."""
IN, OUT = {4: "203.0.113.2", 6: "2001:db8:99::2"}, {4: "203.0.113.1", 6: "2001:db8:99::1"}
"""The two ends of the cable."""
LISTENED = 4242


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def dropped() -> int:
    """Packets that rules have refused so far, or that came to the end of a chain, whose policy drops."""
    listed = json.loads(run("nft", "--json", "list", "ruleset"))["nftables"]
    rules = [
        {key: value for part in one["rule"]["expr"] for key, value in part.items()} for one in listed if "rule" in one
    ]
    return sum(rule["counter"]["packets"] for rule in rules if "reject" in rule or set(rule) == {"counter"})


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def answer(places: list[tuple[str, int, str]]) -> None:
    """Send back what comes, for ever."""

    def serve(host: str, port: int, protocol: str) -> None:
        listener = socket.socket(family_of(host), KINDS[protocol])
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if protocol == "udp":
            while True:
                listener.sendto(*listener.recvfrom(100))
        listener.listen()
        while True:
            with listener.accept()[0] as connection, suppress(OSError):
                connection.sendall(connection.recv(100))

    for place in places:
        threading.Thread(target=serve, args=place, daemon=True).start()


def asked(host: str, port: int, protocol: str) -> tuple[socket.socket, bytes]:
    """A socket on its way to a place, and what to send once it is writable."""
    if protocol == "icmp":
        # The kernel puts in the identifier; the checksum, too (RFC 792, RFC 4443).
        number = socket.getprotobyname("ipv6-icmp" if ":" in host else "icmp")
        caller = socket.socket(family_of(host), socket.SOCK_DGRAM, number)
        message = struct.pack("!BBHHH", 128 if ":" in host else 8, 0, 0, 0, 1)
    else:
        caller, message = socket.socket(family_of(host), KINDS[protocol]), b"weights"
    caller.setblocking(False)
    caller.connect_ex((host, port))
    return caller, message


def reached(host: str, port: int, protocol: str) -> bool:
    """Whether an answer comes from there, or the question is refused here."""
    before, deadline, sent = dropped(), time.monotonic() + LONGEST_S, False
    caller, message = asked(host, port, protocol)
    with caller:
        while time.monotonic() < deadline:
            readable, writable, _ = select.select([caller], [] if sent else [caller], [], 0.05)
            if readable and sent:
                with suppress(OSError):
                    return bool(caller.recv(100))
            if writable:
                with suppress(OSError):
                    sent = caller.send(message) > 0
            if dropped() > before:
                return False
    raise TimeoutError(f"{host} {port} {protocol}: neither answered nor refused")


def heard(cable: subprocess.Popen[str], protocol: str, version: int) -> bool:
    """Whether what somebody outside sends to a listener here arrives."""
    before, deadline = dropped(), time.monotonic() + LONGEST_S
    with socket.socket(family_of(IN[version]), KINDS[protocol]) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((IN[version], LISTENED))
        if protocol == "tcp":
            listener.listen()
        tell(cable, [IN[version], LISTENED, protocol])
        while time.monotonic() < deadline:
            if select.select([listener], [], [], 0.05)[0]:
                return True
            if dropped() > before:
                return False
    raise TimeoutError(f"knock {protocol} {version}: neither arrived nor refused")


def tell(process: subprocess.Popen[str], value: Any) -> None:
    assert process.stdin
    process.stdin.write(json.dumps(value) + "\n")
    process.stdin.flush()


def be_outside(addresses: list[str], places: list[tuple[str, int, str]]) -> None:
    """Everything beyond the box: its addresses are of this machine, and each answers. Knocks where a line says."""
    print("here", flush=True)
    sys.stdin.readline()
    set_up("outside", OUT)
    for host in set(addresses) - set(OUT.values()):
        bits = ["128", "nodad"] if ":" in host else ["32"]
        run("ip", "address", "add", f"{host}/{bits[0]}", "dev", "lo", *bits[1:])
    answer(places)
    print("ready", flush=True)
    for line in sys.stdin:
        host, port, protocol = json.loads(line)
        caller, message = asked(host, port, protocol)
        with suppress(OSError):
            caller.send(message)


def set_up(name: str, addresses: dict[int, str]) -> None:
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "set", name, "up")
    run("ip", "address", "add", f"{addresses[4]}/24", "dev", name)
    run("ip", "address", "add", f"{addresses[6]}/64", "dev", name, "nodad")


def outside(wanted: dict[str, Any]) -> subprocess.Popen[str]:
    """The other end of a cable, in a network namespace of its own."""
    line = ["unshare", "--net", sys.executable, __file__, "outside"]
    process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    tell(process, wanted)
    assert process.stdout.readline() == "here\n"
    link = ["inside", "type", "veth", "peer", "name", "outside", "netns", str(process.pid)]
    run("ip", "link", "add", *link)
    tell(process, "there is a cable")
    set_up("inside", IN)
    for version, way in OUT.items():
        run("ip", f"-{version}", "route", "add", "default", "via", way)
    assert process.stdout.readline() == "ready\n"
    return process


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    places = [(host, port, protocol) for host, port, protocol in wanted["places"]]
    beyond = [place for place in places if place[0] in wanted["outside"] and place[2] != "icmp"]
    if sys.argv[1:] == ["outside"]:
        be_outside(wanted["outside"], beyond)
        return
    run("mount", "--bind", wanted["passwd"], "/etc/passwd")
    run("sysctl", "-w", "net.ipv4.ping_group_range=0 0")
    cable = outside(wanted)
    answer([place for place in places if place[0] not in wanted["outside"]])

    def try_all() -> list[bool]:
        return [reached(*place) for place in places]

    def knock_all() -> list[bool]:
        return [heard(cable, protocol, version) for protocol in KINDS for version in IN]

    found: dict[str, Any] = {"control": try_all(), "knocks": [knock_all()]}
    run("nft", "--file", wanted["rules"])
    found["nobody"] = try_all()
    for users in wanted["sets"]:
        run("nft", f"add element inet sealwright {users} {{ 0 }}")
        found[users] = try_all()
        found["knocks"].append(knock_all())
        run("nft", f"delete element inet sealwright {users} {{ 0 }}")
    run("nft", "delete table inet sealwright")
    found["again"] = try_all()
    print(json.dumps(found))
    cable.kill()
    cable.wait()


main()
