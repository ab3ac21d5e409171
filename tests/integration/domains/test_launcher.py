"""The launcher on this kernel: each right by its name, what is always refused, and rules with which nothing starts."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sealwright_image.compiler import compile_freestanding
from sealwright_image.mkosi import PROGRAMS
from sealwright_image.run import Tools
from sealwright_testing.confined_python import PYTHON_RULES

REFUSED, NOT_EXECUTED = 125, 126
NEEDED_TOO = {"execute": "read_file", "refer": "make_reg", "ioctl_dev": "read_file"}
"""Without which an attempt would be refused for another right's sake."""
OF_FILES = {"execute", "write_file", "read_file", "truncate"}
ATTEMPTS = {
    "execute": "os.execv(f'{folder}/program', ['program'])",
    "write_file": "os.open(f'{folder}/file', os.O_WRONLY)",
    "read_file": "os.open(f'{folder}/file', os.O_RDONLY)",
    "read_dir": "os.listdir(folder)",
    "remove_dir": "os.rmdir(f'{folder}/empty')",
    "remove_file": "os.unlink(f'{folder}/spare')",
    "make_char": "os.mknod(f'{folder}/new', stat.S_IFCHR, os.makedev(1, 3))",
    "make_dir": "os.mkdir(f'{folder}/new')",
    "make_reg": "os.mknod(f'{folder}/new', stat.S_IFREG)",
    "make_sock": "socket.socket(socket.AF_UNIX).bind(f'{folder}/new')",
    "make_fifo": "os.mkfifo(f'{folder}/new')",
    "make_block": "os.mknod(f'{folder}/new', stat.S_IFBLK, os.makedev(7, 0))",
    "make_sym": "os.symlink('x', f'{folder}/new')",
    "refer": "os.link(f'{folder}/file', f'{folder}/empty/file')",
    "truncate": "os.truncate(f'{folder}/file', 0)",
    "ioctl_dev": "fcntl.ioctl(os.open('/dev/null', os.O_RDONLY), termios.TIOCGWINSZ, b'12345678')",
}
OUTCOME = """
import errno, fcntl, os, socket, stat, sys, termios
folder = sys.argv[1]
try:
    {attempt}
    print("done")
except OSError as error:
    # EXDEV is how a link without `refer` is refused; other errors are of what comes behind Landlock.
    print("refused" if error.errno in ({refusals}) else "done")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return furnished(tmp_path / "place")


def furnished(place: Path) -> Path:
    (place / "empty").mkdir(parents=True)
    for name in ("file", "spare", "program"):
        (place / name).write_text("#!/nowhere\n")
        (place / name).chmod(0o755)
    return place


def outcome(launcher: Path, folder: Path, rules: str, attempt: str, refusals: str = "errno.EACCES, errno.EXDEV") -> str:
    path = folder.with_name("rules")
    path.write_text(f"abi 6\n{PYTHON_RULES}{rules}")
    code = OUTCOME.format(attempt=attempt, refusals=refusals)
    line: list[str | Path] = [launcher, path, sys.executable, "-I", "-c", code, folder]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("right", ATTEMPTS)
def test_a_right_is_what_its_name_says(right: str, launcher: Path, folder: Path) -> None:
    """Granted alone it is enough; where all others are granted it is missing."""
    is_device = right == "ioctl_dev"
    alone = " ".join([right, *NEEDED_TOO.get(right, "").split()])
    others = " ".join(one for one in ATTEMPTS if one != right and (one in OF_FILES or not is_device))
    for rights, expected in ((alone, "done"), (others, "refused")):
        place = furnished(folder.with_name(expected))
        rules = f"path {'/dev/null' if is_device else place} {rights}\n"
        assert outcome(launcher, place, rules, ATTEMPTS[right]) == expected


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        ("socket.create_connection(('127.0.0.1', 9), timeout=5)", "done"),
        ("socket.create_connection(('127.0.0.1', 10), timeout=5)", "refused"),
        ("socket.socket().bind(('127.0.0.1', 0))", "refused"),
        ("os.kill(os.getppid(), 0)", "refused"),
    ],
)
def test_ports_and_signals(attempt: str, expected: str, launcher: Path, folder: Path) -> None:
    assert outcome(launcher, folder, "connect_tcp 9\n", attempt, "errno.EACCES, errno.EPERM") == expected


def test_no_abstract_socket_of_others_is_reached(launcher: Path, folder: Path) -> None:
    name = f"\0{folder}"
    attempt = f"socket.socket(socket.AF_UNIX).connect({name!r})"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        socket.socket(socket.AF_UNIX).connect(name)
        assert outcome(launcher, folder, "", attempt, "errno.EPERM,") == "refused"


def test_no_program_gains_rights_by_being_run(launcher: Path, folder: Path) -> None:
    attempt = "print(next(line for line in open('/proc/self/status') if line.startswith('NoNewPrivs')).strip())"
    assert outcome(launcher, folder, "path /proc read_file\n", attempt).split() == ["NoNewPrivs:", "1", "done"]


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        (b"", "these are no rules"),
        (b"abi 6", "these are no rules"),
        (b"abi 6\n\0path / execute\n", "these are no rules"),
        (b"abi 6\n" + b"connect_tcp 1\n" * 2000, "these are no rules"),
        (b"path / execute\n", "another ABI"),
        (b"abi 5\n", "another ABI"),
        (b"abi 7\n", "another ABI"),
        (b"abi 6 6\n", "another ABI"),
        (b"abi six\n", "this is no number: six"),
        (b"abi 6\nport 1\n", "this is no rule: port"),
        (b"abi 6\n\n", "this is no rule: "),
        (b"abi 6\npath\n", "a word is missing"),
        (b"abi 6\npath /\n", "a rule is not taken, of the path /"),
        (b"abi 6\npath / execute  read_file\n", "this is no right: "),
        (b"abi 6\npath / delete\n", "this is no right: delete"),
        (b"abi 6\npath /etc/passwd read_dir\n", "a rule is not taken, of the path /etc/passwd"),
        (b"abi 6\npath / execute\npath /etc/passwd/x execute\n", "a rule is not taken, of the path /etc/passwd/x"),
        (b"abi 6\nconnect_tcp 1 2\n", "a word too many"),
        (b"abi 6\nconnect_tcp -1\n", "this is no number: -1"),
        (b"abi 6\nconnect_tcp 65536\n", "a rule is not taken, of the port 65536"),
    ],
)
def test_nothing_starts_by_rules_that_are_not_right(rules: bytes, told: str, launcher: Path, tmp_path: Path) -> None:
    path = tmp_path / "rules"
    path.write_bytes(rules)
    refused(launcher, path, told)


def test_nothing_starts_without_rules(launcher: Path, tmp_path: Path) -> None:
    refused(launcher, tmp_path / "rules", "there are no rules at")


def test_nothing_starts_on_a_kernel_with_an_older_abi(tmp_path: Path) -> None:
    """The launcher of a kernel to come, on this one."""
    launcher, rules = tmp_path / "launcher", tmp_path / "rules"
    compile_freestanding(PROGRAMS / "launch.c", launcher, Tools(), "ABI=99")
    rules.write_text("abi 99\n")
    refused(launcher, rules, "the kernel has no Landlock, or an older one")


def refused(launcher: Path, rules: Path, told: str) -> None:
    done = subprocess.run([launcher, rules, "/usr/bin/env"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_program_that_no_rule_lets_run_is_not_run(launcher: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.write_text("abi 6\npath /etc read_file\n")
    done = subprocess.run([launcher, rules, "/usr/bin/env"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (NOT_EXECUTED, "sealwright-launch: cannot execute /usr/bin/env\n")
