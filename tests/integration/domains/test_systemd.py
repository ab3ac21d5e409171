"""systemd of the tools root, the box's version, judges the drop-ins and knows every system call in them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from sealwright_image.mkosi import DEFINITIONS
from sealwright_policies.domains.compiler.units import Program, Unit, units_of
from sealwright_testing.domain_texts import examples
from sealwright_testing.tools_root import ToolsRoot

DOMAINS = examples()
UNITS = [unit for source in DOMAINS for unit in units_of(DOMAINS, source.domain.name)]
BOX_UNITS = DEFINITIONS / "mkosi.extra/usr/lib/systemd/system"
TEMPLATE = "[Service]\nType=exec\nDynamicUser=yes\nUser=sw-%i\nUMask=0077\nExecStart=/usr/bin/true\n"
MOST_EXPOSED = 2.0
"""Of ten, by systemd-analyze security."""

ENGINE_CALLS = """
accept4 arch_prctl bind brk clock_nanosleep clone3 close execve exit exit_group fstat futex getpeername getrandom
getsockname getsockopt ioctl listen lseek madvise mlock mlockall mmap mprotect munmap newfstatat openat poll prlimit64
read readlinkat recvfrom restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sendto
set_robust_list set_tid_address setsockopt shutdown socket sysinfo writev
"""
"""What llama-server called under strace 6.1 (-f) from start to an answer on its UNIX socket, and what it needs to lock
memory."""
LAUNCHER_CALLS = "landlock_create_ruleset landlock_add_rule landlock_restrict_self prctl seccomp"
DANGEROUS = """
ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp userfaultfd memfd_create memfd_secret perf_event_open bpf
io_uring_setup keyctl add_key request_key mount umount2 move_mount open_tree fsopen pivot_root chroot init_module
finit_module kexec_load kexec_file_load reboot swapon iopl ioperm symlink symlinkat mknod mknodat setuid setgid setns
unshare execveat personality open_by_handle_at name_to_handle_at quotactl acct settimeofday splice vmsplice
chown fchownat
"""


@pytest.fixture(scope="module")
def units(compiled: Path) -> Path:
    folder = compiled / "usr/lib/systemd/system"
    for program in Program:
        shutil.copy(BOX_UNITS / f"sealwright-{program.value}@.service", folder)
    (folder / "sealwright-firewall.service").write_text("[Service]\nExecStart=/usr/bin/true\n")
    return compiled


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_no_unit_exposed(unit: Unit, units: Path, tools: ToolsRoot) -> None:
    name = f"sealwright-{unit.name}.service"
    told = tools.run_inside("systemd-analyze", "security", "--offline=yes", f"--root={units}", "--no-pager", name)
    found = re.search(rf"Overall exposure level for {re.escape(name)}: ([0-9.]+)", told)
    assert found
    assert float(found[1]) <= (0.5 if not unit.has_network else MOST_EXPOSED)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line(unit: Unit, units: Path, tools: ToolsRoot) -> None:
    """``verify`` only warns of a line that it does not know, and of a word in one; it must be silent on ours."""
    lines = tools.run_inside(
        "sh", "-c", f"systemd-analyze verify --man=no --root={units} sealwright-{unit.name}.service 2>&1 || true"
    ).splitlines()
    assert [line for line in lines if "50-domain.conf" in line] == []


def test_a_line_that_systemd_does_not_know_is_told(units: Path, tools: ToolsRoot, tmp_path: Path) -> None:
    """Else the judge above would accept anything."""
    folder = tmp_path / "usr/lib/systemd/system"
    drop_in = folder / "sealwright-engine@x.service.d/50-domain.conf"
    drop_in.parent.mkdir(parents=True)
    (folder / "sealwright-engine@.service").write_text(TEMPLATE)
    drop_in.write_text("[Service]\nSystemCallFilter=no_such_call\nNFTSet=user:inet:seal wright\nProtectNothing=yes\n")
    told = tools.run_inside(
        "sh", "-c", f"systemd-analyze verify --man=no --root={tmp_path} sealwright-engine@x.service 2>&1 || true"
    )
    assert sum("50-domain.conf" in line for line in told.splitlines()) == 3


@pytest.fixture(scope="module")
def groups(tools: ToolsRoot) -> dict[str, list[str]]:
    """systemd's groups of system calls, as systemd-analyze prints them."""
    found: dict[str, list[str]] = {}
    for line in tools.run_inside("systemd-analyze", "syscall-filter", "--no-pager").splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = []
        elif line.startswith("    ") and "#" not in line:
            found[name].append(line.strip())
    return found


def allowed(text: str, groups: dict[str, list[str]]) -> set[str]:
    """What the filter of a drop-in lets through."""

    def expanded(word: str) -> set[str]:
        return {call for one in groups[word] for call in expanded(one)} if word.startswith("@") else {word}

    calls: set[str] = set()
    for words in re.findall(r"^SystemCallFilter=(.*)$", text, re.MULTILINE):
        taken = {call for word in words.lstrip("~").split() for call in expanded(word)}
        calls = calls - taken if words.startswith("~") else calls | taken
    return calls


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_filter_lets_the_program_run_and_nothing_dangerous(
    unit: Unit, units: Path, groups: dict[str, list[str]]
) -> None:
    path = units / f"usr/lib/systemd/system/sealwright-{unit.name}.service.d/50-domain.conf"
    calls = allowed(path.read_text(), groups)
    assert {*ENGINE_CALLS.split(), *LAUNCHER_CALLS.split()} - calls == set()
    assert calls & set(DANGEROUS.split()) == set()
