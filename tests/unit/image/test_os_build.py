"""How mkosi, ukify and the FAT tools are called, and what the static configuration must hold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from sealwright_image.apt_sources import debian_sources
from sealwright_image.config import PayloadId
from sealwright_image.esp import MINIMUM, esp_size, folders, mkfs_argv
from sealwright_image.lists import parse_list
from sealwright_image.mkosi import (
    DEFINITIONS,
    MkosiFolders,
    check_executables,
    check_privileged,
    mkosi_argv,
    os_packages,
    package_version,
    root_hash_of,
    stage_extra_tree,
)
from sealwright_image.os_build import DEFAULT_KERNEL, OsConfig, SecureBootSigner
from sealwright_image.os_part import vector_extension
from sealwright_image.uki import UkiParts, command_line, signing_environment, ukify_argv
from sealwright_policies.domains.compiler.units import ENGINE, LAUNCHER
from sealwright_policies.engines import VECTOR_EXTENSION
from sealwright_policies.errors import OperationError

SIGNER = SecureBootSigner(Path("/keys/db.key"), Path("/keys/db.pem"))
FOLDERS = MkosiFolders(
    *(Path("/w") / name for name in ("output", "packages", "trees", "workspace", "sandbox", "extra"))
)
LISTING = """\
deb http://near.example/debian/ trixie main
deb http://near.example/security/ trixie-security main
"""
SYSTEM = DEFINITIONS / "mkosi.extra/etc/systemd/system"
UNITS = DEFINITIONS / "mkosi.extra/usr/lib/systemd/system"


def config(**changes: object) -> OsConfig:
    plain = OsConfig(
        product="demo",
        version="1.2",
        python_packages=(),
        engine=Path("/engine"),
        shared_files={},
        domain_files={},
        workload_root_hashes=(),
        firewall="table inet sealwright {}\n",
        signer=SIGNER,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def test_mkosi_gets_only_what_depends_on_the_product() -> None:
    argv = mkosi_argv(config(packages=("htop",), extra_tree=Path("/planted")), FOLDERS, 1_700_000_000)
    assert "--image-id=demo" in argv
    assert "--source-date-epoch=1700000000" in argv
    assert f"--package={DEFAULT_KERNEL}" in argv
    assert "--package=htop" in argv
    assert argv[-2:] == ["--force", "build"]
    assert argv.index("--extra-tree=/w/extra") < argv.index("--extra-tree=/planted")


def test_a_product_may_choose_its_kernel() -> None:
    assert os_packages(["linux-image-amd64"]) == ["linux-image-amd64"]


def test_a_root_with_an_executable_too_many_or_too_few_is_refused() -> None:
    allowed = sorted(parse_list((DEFINITIONS / "executables.txt").read_text()))
    assert check_executables(allowed, config()) == tuple(allowed)
    with pytest.raises(OperationError, match="/usr/bin/dash is not allowed"):
        check_executables([*allowed, "/usr/bin/dash"], config())
    with pytest.raises(OperationError, match="is missing"):
        check_executables(allowed[1:], config())


def test_a_root_with_a_setuid_file_is_refused() -> None:
    check_privileged([], config())
    with pytest.raises(OperationError, match="setgid files: /usr/bin/su"):
        check_privileged(["/usr/bin/su"], config())


def test_the_root_hash_is_made_of_the_partition_ids() -> None:
    partitions = [
        {"name": "root", "uuid": "00112233-4455-6677-8899-AABBCCDDEEFF"},
        {"name": "root-verity", "uuid": "FFEEDDCC-BBAA-9988-7766-554433221100"},
    ]
    table = json.dumps({"partitiontable": {"partitions": partitions}})
    assert root_hash_of(table) == "00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100"


def test_versions_come_from_the_package_manifest() -> None:
    manifest = json.dumps({"packages": [{"name": "udev", "version": "1"}, {"name": "systemd", "version": "257.13-1"}]})
    assert package_version(manifest, "systemd") == "257.13-1"


def test_our_files_are_staged_without_caches_and_with_plain_modes(tmp_path: Path) -> None:
    package = tmp_path / "sealwright_appliance"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__pycache__/a.pyc").write_bytes(b"")
    (package / "never_imported").mkdir()
    (package / "never_imported/__init__.py").write_bytes(b"")
    (package / "page.html").write_bytes(b"")
    module = package / "__main__.py"
    module.write_text("")
    module.chmod(0o775)
    engine = tmp_path / "llama-server"
    engine.write_bytes(b"engine")
    extra = tmp_path / "extra"
    files = {"/usr/lib/sealwright/landlock/engine@m.rules": b"abi 6\n", "/etc/apparmor.d/sealwright-engine-m": b""}
    staged = config(python_packages=(package,), engine=engine, shared_files={"product.json": b"{}"}, domain_files=files)
    stage_extra_tree(dataclasses.replace(staged, vector_extension=vector_extension()), extra)
    assert (extra / VECTOR_EXTENSION.lstrip("/")).read_bytes() == vector_extension().read_bytes()
    assert {
        str(path.relative_to(extra)): path.stat().st_mode & 0o777 for path in extra.rglob("*") if path.is_file()
    } == {
        "usr/lib/sealwright/python/sealwright_appliance/__main__.py": 0o644,
        "usr/lib/sealwright/python/sealwright_appliance/page.html": 0o644,
        "usr/lib/sealwright/bin/llama-server": 0o755,
        VECTOR_EXTENSION.lstrip("/"): 0o644,
        "usr/lib/sealwright/firewall.nft": 0o644,
        "usr/lib/sealwright/landlock/engine@m.rules": 0o644,
        "usr/share/sealwright/product.json": 0o644,
    }
    assert not (extra / "usr/lib/sealwright/python/sealwright_appliance/never_imported").exists()


def test_package_sources_follow_the_tools_root() -> None:
    text = debian_sources(LISTING.replace("deb ", "deb [arch=amd64] "), None)
    assert "URIs: http://near.example/debian/\nSuites: trixie\nComponents: main\n" in text
    assert text.count("Signed-By: ") == 2


def test_the_products_mirror_replaces_all_but_security_updates() -> None:
    text = debian_sources(LISTING, "http://own.example/debian")
    assert "http://own.example/debian\nSuites: trixie\n" in text
    assert "http://near.example/security/\nSuites: trixie-security\n" in text


def test_no_package_source_is_an_error() -> None:
    with pytest.raises(OperationError, match="no package source"):
        debian_sources("# nothing\n", None)


def test_the_uki_is_signed_once_and_its_kernel_not_again() -> None:
    parts = UkiParts(Path("/k"), "6.12", Path("/i"), Path("/s"), Path("/o"), "roothash=00 ro")
    argv = ukify_argv(parts, SIGNER, Path("/out/uki.efi"))
    assert "--no-sign-kernel" in argv
    assert "--cmdline=roothash=00 ro" in argv
    assert "--secureboot-private-key=/keys/db.key" in argv
    assert not any(option.startswith("--pcr") for option in argv)


def test_the_signing_clock_stands_still() -> None:
    environment = signing_environment(1_700_000_000)
    assert environment["FAKETIME"] == "@1700000000"
    assert "faketime" in environment["LD_PRELOAD"]


def test_an_esp_holds_every_file_twice() -> None:
    assert esp_size(0) == MINIMUM
    assert esp_size(100 * 2**20) >= 200 * 2**20
    assert esp_size(100 * 2**20) % 2**20 == 0


def test_esp_folders_come_parents_first_and_nothing_is_drawn() -> None:
    assert folders({"EFI/BOOT/BOOTX64.EFI": Path("/u"), "EFI/sealwright/manifest.json": Path("/m")}) == [
        "EFI",
        "EFI/BOOT",
        "EFI/sealwright",
    ]
    assert "--invariant" in mkfs_argv(Path("/esp"))


REQUIRED_WORDS = (
    "systemd.verity_root_options=panic-on-corruption",
    "systemd.import_credentials=no",
    "systemd.getty_auto=no",
    "systemd.gpt_auto=no",
    "systemd.swap=no",
    "lockdown=confidentiality",
    "module.sig_enforce=1",
    "intel_iommu=on",
    "iommu.strict=1",
    "efi=disable_early_pci_dma",
    "sysctl.kernel.yama.ptrace_scope=3",
    "sysctl.kernel.kexec_load_disabled=1",
    "sysctl.kernel.core_pattern=|/bin/false",
    "slab_nomerge",
    "init_on_alloc=1",
    "page_alloc.shuffle=1",
)


@pytest.mark.parametrize("word", REQUIRED_WORDS)
def test_the_signed_command_line_closes_what_was_seen_open(word: str) -> None:
    words = parse_list((DEFINITIONS / "command-line.txt").read_text())
    assert word in command_line("ab" * 32, words).split(" ")


MASKED = (
    "autovt@.service",
    "console-getty.service",
    "debug-shell.service",
    "getty@.service",
    "rescue.service",
    "rescue.target",
    "serial-getty@.service",
    "systemd-pcrmachine.service",
    "systemd-pcrfs-root.service",
    "systemd-confext.service",
    "systemd-sysext.service",
    "systemd-udev-load-credentials.service",
)


@pytest.mark.parametrize("unit", MASKED)
def test_nobody_logs_in_and_nothing_unforeseen_is_measured(unit: str) -> None:
    assert (SYSTEM / unit).readlink() == Path("/dev/null")


def test_the_unseal_point_lies_between_sysinit_and_ready_and_before_the_network() -> None:
    unit = (UNITS / "sealwright-unlock.service").read_text()
    assert "After=systemd-pcrphase-sysinit.service" in unit
    assert "Before=systemd-pcrphase.service network-pre.target" in unit
    assert "OnFailure=emergency.target" in unit


def settings(unit: str) -> list[str]:
    """Lines of a unit of ours and of our drop-ins to it."""
    places = [UNITS / unit, SYSTEM / unit, *(SYSTEM / f"{unit}.d").glob("*.conf")]
    return [line for place in places if place.is_file() for line in place.read_text().splitlines()]


def test_a_boot_that_cannot_come_to_its_unlocking_is_poisoned_and_powered_off() -> None:
    """A unit whose requirement fails does not run itself; the requirement has to lead to the emergency."""
    unlock = settings("sealwright-unlock.service")
    required = [unit for line in unlock if line.startswith("Requires=") for unit in line[len("Requires=") :].split()]
    assert required
    for unit in ("sealwright-unlock.service", *required):
        assert "OnFailure=emergency.target" in settings(unit)
        assert "OnFailureJobMode=replace-irreversibly" in settings(unit)
    emergency = settings("emergency.service")
    assert any(line.startswith("ExecStart=") and "--pcr=11" in line for line in emergency)
    assert {"SuccessAction=poweroff-force", "FailureAction=poweroff-force"} <= set(emergency)


def test_the_root_password_is_locked_not_empty() -> None:
    assert "RootPassword=hashed:!\n" in (DEFINITIONS / "mkosi.conf").read_text()


def test_each_engine_has_a_user_and_a_socket_folder_of_its_own() -> None:
    """Of one user, code in one engine could put a socket in the place of another's and read prompts."""
    unit = (UNITS / "sealwright-engine@.service").read_text().splitlines()
    assert {"DynamicUser=yes", "User=sw-%i", "RuntimeDirectory=sealwright/engine/%i"} <= set(unit)
    assert [line for line in unit if line.startswith(("Group=", "SupplementaryGroups="))] == []
    assert [line for line in unit if line.startswith(("BindPaths=", "ReadWritePaths="))] == []


def test_an_engine_that_is_asked_to_end_while_it_answers_is_killed() -> None:
    """llama-server with a request does not end by SIGTERM."""
    assert "TimeoutStopSec=5s" in settings("sealwright-engine@.service")


def test_an_engine_whose_domain_was_not_compiled_into_the_image_does_not_start() -> None:
    """The launcher is what starts it, by rules that only the compiler makes."""
    (line,) = [line for line in settings("sealwright-engine@.service") if line.startswith("ExecStart=")]
    assert line.removeprefix("ExecStart=").split()[:3] == [
        LAUNCHER,
        "/usr/lib/sealwright/landlock/engine@%i.rules",
        ENGINE,
    ]


def test_the_longest_payload_id_makes_a_user_name() -> None:
    """31 characters at most (systemd, docs/USER_NAMES.md)."""
    longest = "a" * 28
    TypeAdapter(PayloadId).validate_python(longest)
    with pytest.raises(ValidationError):
        TypeAdapter(PayloadId).validate_python(longest + "a")
    assert len(f"sw-{longest}") <= 31


def test_no_other_user_reaches_weights_or_engines() -> None:
    """Payloads and sockets are open to everybody who gets to them; engines and the network daemons must not."""
    lines = (DEFINITIONS / "mkosi.extra/usr/lib/tmpfiles.d/sealwright.conf").read_text().splitlines()
    assert "d /run/sealwright/payloads 0700 root root" in lines
    assert "d /run/sealwright/engine 0750 root sealwright-gateway" in lines
    # Sticky: what others have made in it the agent neither removes nor moves.
    assert "d /run/sealwright 1775 root sealwright-agent" in lines


def test_the_engine_leaves_no_plaintext_in_the_page_cache() -> None:
    unit = (UNITS / "sealwright-engine@.service").read_text()
    assert "--load-mode dio" in unit
