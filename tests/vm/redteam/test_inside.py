"""Code that has got into a place of the box: what it may not do there, and what it may.

The image is the same product with something more in its root (``sealwright_testing/planted``), which only a licence
for test images accepts. Each attempt is made from each place, so that a test here is one attempt from one place; and
each that is refused succeeds in a control run with that defence off, so that an attempt that could never succeed is not
taken for a defence: by root outside of any sandbox, or, where that root is refused too, by root in a boot without the
kernel's defences (``sealwright_testing/redteam``). All of them share two boots, so they are in one file.
"""

from __future__ import annotations

import re

import pytest

from sealwright_image.confinement import POLICIES
from sealwright_image.firewall import firewall_rules
from sealwright_image.trusted_base import open_ports
from sealwright_policies.domains.compiler.mounts import EVERY, INERT
from sealwright_policies.mounts import MountOption
from sealwright_testing.models import ModelStore
from sealwright_testing.redteam.attempts import (
    BY_THE_BOX,
    DISARMED,
    Place,
    control_of,
    every_attempt,
    passes_in,
    refused_in,
)
from sealwright_testing.redteam.inside import Inside
from sealwright_testing.redteam.refusals import is_expected
from sealwright_testing.redteam.report import Report
from sealwright_testing.sealed_job import CALLS, NO_SOCKET, OTHER_HOST, ROWS
from sealwright_testing.smbios import INJECTED

pytestmark = [pytest.mark.vm, pytest.mark.redteam]

EXIT_EXEC = 203
"""Of a unit whose program could not be started (systemd.exec(5))."""
EXIT_LAUNCHER = 126
"""Of the launcher whose program Landlock does not let it execute."""
EXIT_LOADER = 127
"""Of a program whose libraries the dynamic loader may not map (glibc)."""
MARK = "planted-mark"
"""Of the intruder: the file that it leaves."""
STARTED = "BdsDxe: starting "
"""Of the firmware (OVMF), at each start of a system."""
STARTS = 2
"""Of a box that is activated: at first, and with its leases."""
REFUSED = [(place, name) for place in Place for name in sorted(refused_in(place))]
PASSED = [(place, name) for place in Place for name in sorted(passes_in(place))]


def identity(case: tuple[Place, str]) -> str:
    return "-".join(case)


@pytest.mark.parametrize("case", REFUSED, ids=identity)
def test_is_refused(inside: Inside, disarmed: Report, case: tuple[Place, str]) -> None:
    place, name = case
    verdict = inside.report.verdicts(place)[name]
    assert not verdict.succeeded, verdict.detail
    assert is_expected(place, name, verdict.reason), verdict.detail
    control = control_of(name)
    if control is not None:
        where, same = control
        shown = (disarmed if where == DISARMED else inside.report).verdicts(where)[same]
        assert shown.succeeded, f"control in {where}: {shown.detail}"
    elif name in BY_THE_BOX:
        assert "sealwright: state serving: " in inside.report.console


@pytest.mark.parametrize("case", PASSED, ids=identity)
def test_succeeds_and_is_told(inside: Inside, case: tuple[Place, str]) -> None:
    """SECURITY.md and docs/red-team.md say of each that it does; were it refused, they would be wrong."""
    place, name = case
    verdict = inside.report.verdicts(place)[name]
    assert verdict.succeeded, verdict.detail


@pytest.mark.parametrize("place", Place)
def test_nothing_else_was_tried(inside: Inside, place: Place) -> None:
    """Every attempt has a verdict, and every verdict a test above."""
    assert inside.report.verdicts(place).keys() == every_attempt()


def test_a_test_image_serves_under_no_production_licence(inside: Inside) -> None:
    status, problem = inside.before_license
    assert (status, problem["code"]) == (403, "RELEASE_NOT_ALLOWED")
    assert "test image" in problem["detail"]


def test_credentials_from_smbios_are_done_where_they_are_taken(inside: Inside) -> None:
    """The control of the box in vm/test_happy_path."""
    assert INJECTED in inside.report.console


def test_process_1_is_filtered_and_each_unit_is_in_its_profile(inside: Inside) -> None:
    assert inside.report.lines("filters") == ["2"]
    assert dict(line.split(maxsplit=1) for line in inside.report.lines("confined")) == {
        "sealwright-agent.service": "sealwright-agent (enforce)",
        "sealwright-gateway.service": "sealwright-gateway (enforce)",
        "sealwright-engine@medical.service": "sealwright-engine-medical (enforce)",
    }


def test_an_engine_starts_no_interpreter_by_path_nor_by_profile_nor_by_rules(inside: Inside) -> None:
    found = re.findall(r"interpreter sealwright-engine@(\S+)\.service (\S+ \d+)", inside.report.console)
    assert dict(found) == {
        "by-path": f"exit-code {EXIT_EXEC}",
        "by-profile": f"exit-code {EXIT_LOADER}",
        "by-rules": f"exit-code {EXIT_LAUNCHER}",
    }


def test_a_workload_reads_its_data_set_and_nothing_else(inside: Inside) -> None:
    """And what it writes cannot be run. A data set that no workload reads is not opened; one that is open is not for a
    workload of another domain, and not even root runs a program of it."""
    kept = {
        "read-model": "ENOENT",
        "read-unread": "ENOENT",
        "cohort": "ENOENT",
        "change-cohort": "ENOENT",
        "read-what-is-known-of-cohort": "ENOENT",
        "read-state": "ENOENT",
        "read-keys": "ENOENT",
        "read-box": "ENOENT",
        "netlink": "EAFNOSUPPORT",
        "ipv6": "EAFNOSUPPORT",
        "mounted-program": "ro nodev nosuid",
        "mounted-results": "rw nodev nosuid noexec",
        "agent": "ENOENT",
        "link": "EPERM",
        "run-own-copy": "EACCES",
        "run-python": "ENOENT",
        "run-itself": "done",
        "unit": "active 0",
        "nest": "8 EACCES",
        "change-date": "EPERM",
        "fill": "ENOSPC",
    }
    assert written_by("counting", inside) == kept | dict.fromkeys(CALLS, NO_SOCKET) | {
        "mounted-rows": "ro nodev nosuid noexec",
        "mounted-cohorts": "ro nodev nosuid noexec",
        "mounted-scratch": "ro nodev nosuid noexec",
        "enter-results-of-counting-job": "done",
        "enter-results-of-strangers": "ENOENT",
        "rows": str(ROWS),
        "change-rows": "EROFS",
    }
    written = written_by("stranger", inside)
    calls = {name: written.pop(name) for name in CALLS}
    assert {name: what for name, what in calls.items() if what not in CALLS[name]} == {}
    assert written == kept | {
        "mounted-rows": "ENOENT",
        "mounted-cohorts": "ENOENT",
        "mounted-scratch": "rw nodev nosuid noexec",
        "enter-results-of-counting-job": "ENOENT",
        "enter-results-of-strangers": "done",
        "rows": "ENOENT",
        "change-rows": "ENOENT",
    }
    assert dict(re.findall(r"\bdata-set (\S+) (open|closed)", inside.report.console)) == {
        "rows": "open",
        "unread": "closed",
    }
    assert "payload unread: NOT_RUN: No workload that may read it is open." in inside.report.console
    assert inside.report.lines("image") == ["counting 0", "rows EACCES"]


def test_a_host_that_a_workload_does_not_reach_is_there(inside: Inside) -> None:
    """The control of call-other-host: root is refused it as well, and is answered once the packet filter lets it."""
    assert inside.report.lines("call") == [f"{OTHER_HOST} refused", f"{OTHER_HOST} answered"]


def test_payloads_are_mounted_as_their_domains_say(inside: Inside) -> None:
    found = {name: options.split(",") for name, options in map(str.split, inside.report.lines("mounted"))}
    assert found.keys() == {*ModelStore.load().names, "rows", "counting", "stranger"}
    for name, options in found.items():
        expected = EVERY if name in ("counting", "stranger") else (*EVERY, *INERT)
        assert {one for one in MountOption if one in options} == set(expected), name


def test_no_place_to_write_to_runs_programs(inside: Inside) -> None:
    assert inside.report.lines("runs") == ["none"]


def test_what_a_customer_brings_lies_where_it_is_sought(inside: Inside) -> None:
    """And so do the folders of domains, which were opened: an attempt on what is not there is none."""
    assert inside.report.lines("not laid") == []
    assert inside.report.lines("laid") == [
        "domains/counting-job/data-set/planted/content",
        "documents/documents.sqlite",
        "adapters/kept/planted.examples",
    ]


def test_the_recovery_key_opens_nothing_that_workloads_have_written(inside: Inside) -> None:
    """They wrote what the console shows. The device id, which is the customer's, is found, so it was deciphered."""
    assert inside.device_id.encode() in inside.state
    assert "mounted-program" in written_by("counting", inside)
    for written in (b"mounted-program", b"enter-results-of-strangers"):
        assert written not in inside.state
    for brought in (b"a data set planted here", b"examples planted here"):
        assert brought not in inside.state
    assert b"a document planted here" in inside.state  # the customer's
    assert "domains: " not in inside.report.console


def written_by(workload: str, inside: Inside) -> dict[str, str]:
    return dict(re.findall(rf"\bworkload {workload} (\S+) (.*)", inside.report.console))


def test_root_is_shown_no_volume_key(inside: Inside) -> None:
    """But by which keys the volumes are encrypted; and none is left in a keyring."""
    console = inside.report.console
    tables = dict(re.findall(r"table (\S+): \d+ \d+ crypt aes-xts-plain64 (\S+) ", console))
    state = tables.pop("sealwright-state")
    assert re.fullmatch(r":64:logon:cryptsetup:\S+", state)
    payloads = {name.removeprefix("sealwright-crypt-") for name in tables}
    assert payloads >= {*ModelStore.load().names, "rows"}
    assert tables == {f"sealwright-crypt-{one}": f":64:logon:sealwright:{one}" for one in payloads}
    assert re.findall(r"left key (.*)", console) == ["none"]


@pytest.mark.parametrize("place", ["gateway", "agent", "agent-root"])
def test_nothing_that_was_written_in_a_place_outlives_it(inside: Inside, place: str) -> None:
    """A file in /tmp was, there and elsewhere; the folder of the next test is the control of the search."""
    assert f"/tmp/{MARK}" in inside.report.lines(f"made {place}")
    assert inside.report.lines(f"left {place}") == ["none"]


def test_what_root_leaves_is_found(inside: Inside) -> None:
    """Nobody takes it away: as those of a place would be found, were they not."""
    made = set(inside.report.lines("made root"))
    (left,) = inside.report.lines("left root")
    assert {f"/tmp/{MARK}", f"/run/sealwright/engine/root/{MARK}"} <= made
    assert made <= set(left.split())


@pytest.mark.parametrize("place", ["intruder", "volumes"])
def test_no_file_can_be_made_in_an_engine_nor_where_volumes_are_closed(inside: Inside, place: str) -> None:
    assert inside.report.lines(f"made {place}") == []
    assert inside.report.lines(f"left {place}") == ["none"]


def test_what_the_command_line_says_of_the_kernel_holds(inside: Inside) -> None:
    """One defence at a time: most attempts meet several."""
    assert dict(line.partition(" ")[::2] for line in inside.report.lines("setting")) == {
        "lockdown": "none integrity [confidentiality]",
        "module.sig_enforce": "Y",
        "ipe.enforce": "1",
        "vsyscall": "none",
        "kernel.modules_disabled": "1",
        "kernel.panic": "5",
        "kernel.panic_on_oops": "1",
        "kernel.yama.ptrace_scope": "3",
        "kernel.kexec_load_disabled": "1",
        "kernel.unprivileged_bpf_disabled": "1",
        "kernel.core_pattern": "|/bin/false",
        "fs.suid_dumpable": "0",
        "kernel.dmesg_restrict": "1",
        "kernel.kptr_restrict": "2",
        "kernel.sysrq": "0",
        "kernel.perf_event_paranoid": "4",
        "kernel.io_uring_disabled": "2",
        "vm.unprivileged_userfaultfd": "0",
        "user.max_user_namespaces": "0",
        "dev.tty.ldisc_autoload": "0",
        "net.core.bpf_jit_harden": "2",
    }


def test_memory_is_written_to_no_disk(inside: Inside) -> None:
    assert inside.report.lines("swap") == ["none"]


def test_extended_pcrs_open_nothing(inside: Inside) -> None:
    """The last that root does to the TPM in its boot. The models go on answering: the engine that was killed, below."""
    verdicts = inside.report.verdicts("spoilt")
    assert {name for name, verdict in verdicts.items() if verdict.succeeded} == {
        "extend-pcr-11",
        "extend-pcr-12",
        "extend-pcr-15",
    }
    assert verdicts.keys() > {*BY_THE_BOX, "unseal-domain-key-again"}


def test_nobody_listens_but_as_the_packet_filter_says(inside: Inside) -> None:
    ports = set(inside.report.lines("port"))
    rules = firewall_rules((POLICIES / "firewall.nft").read_text(), "https://license.example")
    assert "tcp/8443" in ports
    assert ports <= set(open_ports(rules))


def test_a_port_without_a_service_is_not_reached(inside: Inside) -> None:
    """But for a rule that lets it be: the control."""
    assert inside.report.lines("knock") == ["listening", "dropped", "again", "ACCEPTED"]


def test_no_weights_stay_in_the_page_cache(inside: Inside) -> None:
    """While it serves, and after systemd has started every engine again."""
    found = re.findall(r"cache (\S+) (\S+) (file|verity-device|crypt-device) (\S+)", inside.report.console)
    places = {
        (stage, model, place)
        for stage in ("serving", "restarted")
        for model in ModelStore.load().names
        for place in ("file", "verity-device", "crypt-device")
    }
    assert {(stage, model, place): pages for stage, model, place, pages in found} == dict.fromkeys(places, "none")


def test_an_engine_that_was_killed_answers_again(inside: Inside) -> None:
    assert inside.answer == inside.expected


@pytest.mark.usefixtures("disarmed")
def test_a_stick_is_no_disk_and_keys_are_obeyed_by_nobody(inside: Inside) -> None:
    """The kernel of this image has no driver for a stick. It has one for the board's own keyboard, by which the control
    boot was restarted; here what was typed ended or restarted nothing."""
    drivers = dict(line.split() for line in inside.report.lines("driver"))
    assert (drivers["usb_storage"], drivers["uas"]) == ("absent", "absent")
    assert any("keyboard" in name for name in inside.report.lines("input"))
    assert inside.report.console.count(STARTED) == STARTS
    assert inside.report.console.count("sealwright: state waiting-for-activation") == 1
    assert "login:" not in inside.report.console


def test_what_root_leaves_on_a_second_disk_leaves_the_box(inside: Inside) -> None:
    """The control of every write-other-disk, seen from outside."""
    assert b"weights planted here" in inside.further_disk
