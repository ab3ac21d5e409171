"""The initrd's first program at work, and policies as the real tools make them."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from sealwright_image.compiler import compile_freestanding
from sealwright_image.ipe import signed_policy
from sealwright_image.keys import generate_keys, load_keys
from sealwright_image.mkosi import DEFINITIONS
from sealwright_image.os_build import SecureBootSigner
from sealwright_image.run import Tools
from sealwright_policies.domains.compiler.ipe import policy_text
from sealwright_testing.image_inputs import NOW
from sealwright_testing.tools_root import TOOLCHAIN, ToolsRoot

pytestmark = pytest.mark.redteam

INIT = DEFINITIONS / "programs/init.c"
# System calls of x86-64 (Linux, arch/x86/entry/syscalls/syscall_64.tbl).
TAKEN = {
    "ptrace": 101, "acct": 163, "swapon": 167, "iopl": 172, "ioperm": 173, "kexec_load": 246, "perf_event_open": 298,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "kexec_file_load": 320, "bpf": 321,
    "userfaultfd": 323, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "pidfd_getfd": 438,
    "process_madvise": 440,
}  # fmt: skip
X32_GETPID = 0x40000000 + 39
PROBE = """
import ctypes, json, sys
libc = ctypes.CDLL(None, use_errno=True)
def error(number):
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(number), *[ctypes.c_long(-1)] * 6)
    return ctypes.get_errno()
print(json.dumps({number: error(number) for number in json.loads(sys.argv[1])}))
"""
FOREIGN = """
/* getpid by the 32-bit entry of the kernel, then exit by the 64-bit one */
__asm__(".globl _start\\n_start:\\n mov $20, %eax\\n int $0x80\\n mov $60, %eax\\n xor %edi, %edi\\n syscall\\n");
"""
SIGSYS = 31


UNITS = DEFINITIONS / "mkosi.extra/usr/lib/systemd/system"
MOST_EXPOSED = {
    "adapters": 10, "agent": 20, "documents": 10, "firewall": 40, "gateway": 15, "modules-off": 50, "parser@": 10,
    "site": 25, "unlock": 45, "volumes": 45,
}  # fmt: skip
"""Tenths of the levels of `systemd-analyze security`."""
WITH_THEIR_DOMAINS = {"engine@", "workload@"}
"""Units whose sandbox is compiled from a domain: `tests/integration/domains/test_systemd` judges them."""


@pytest.fixture
def tools() -> Tools:
    return Tools()


def compiled(folder: Path, tools: Tools, following: str) -> Path:
    """The first program, which is to become another one than systemd."""
    output = folder / "init"
    compile_freestanding(INIT, output, tools, f'NEXT="{following}"')
    return output


def test_what_the_first_program_becomes_has_no_such_system_call(tmp_path: Path, tools: Tools) -> None:
    init = compiled(tmp_path, tools, "/usr/bin/python3")
    numbers = json.dumps([*TAKEN.values(), X32_GETPID])
    printed = ToolsRoot.find().run_inside(init, "-I", "-c", PROBE, numbers, binds=[tmp_path])
    names = {number: name for name, number in TAKEN.items()} | {X32_GETPID: "x32"}
    found = {names[int(number)]: errno.errorcode[code] for number, code in json.loads(printed).items()}
    assert found == dict.fromkeys(names.values(), "EPERM")


def test_a_call_by_another_architectures_numbers_ends_the_process(tmp_path: Path, tools: Tools) -> None:
    source, foreign = tmp_path / "foreign.c", tmp_path / "foreign"
    source.write_text(FOREIGN)
    compile_freestanding(source, foreign, tools)
    init = compiled(tmp_path, tools, str(foreign))

    def status(program: Path) -> int:
        argv = [str(TOOLCHAIN / "in-tools-root"), "--bind", str(tmp_path), "--", str(program)]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode

    assert status(foreign) == 0
    assert status(init) == 128 + SIGSYS


def test_the_first_program_is_the_same_in_any_folder(tmp_path: Path, tools: Tools) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(compiled(tmp_path / name, tools, "/usr/lib/systemd/systemd").read_bytes())
    assert made[0] == made[1]
    assert len(made[0]) < 16 * 1024


def test_the_code_policy_is_signed_by_the_db_key_and_always_alike(tmp_path: Path, tools: Tools) -> None:
    generate_keys(tmp_path / "keys", organisation="Example", now=NOW)
    db = load_keys(tmp_path / "keys").db
    signer = SecureBootSigner(db.key, db.certificate_file)
    policy = policy_text("ab" * 32)
    signed = signed_policy(policy, signer, tools)
    assert signed == signed_policy(policy, signer, tools)
    verify = [
        "openssl",
        "smime",
        "-verify",
        "-inform",
        "der",
        "-noverify",
        "-binary",
        "-certfile",
        str(db.certificate_file),
    ]
    told = tools.run(verify, binds=[tmp_path], stdin=signed)
    assert told.decode() == policy


def test_each_unit_of_the_box_is_judged() -> None:
    found = {path.stem.removeprefix("sealwright-") for path in UNITS.glob("sealwright-*.service")}
    assert found == {*MOST_EXPOSED, *WITH_THEIR_DOMAINS}


@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_a_unit_is_exposed_no_more_than_this(name: str, tmp_path: Path, tools: Tools) -> None:
    """As systemd counts it, from the unit alone."""
    for path in UNITS.glob("sealwright-*"):
        shutil.copyfile(path, tmp_path / path.name)
    unit = tmp_path / f"sealwright-{name}.service"
    analyze = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        f"--threshold={MOST_EXPOSED[name]}",
        str(unit),
    ]
    tools.run(analyze, binds=[tmp_path])
