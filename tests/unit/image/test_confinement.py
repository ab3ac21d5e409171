"""Policies for the kernel: what the IPE policy and the packet filter say, and how their tools are called."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from sealwright_appliance.paths import Paths
from sealwright_appliance.result_retention import forget_closed
from sealwright_appliance.retention_calendar import tell_time, told_time
from sealwright_image.apparmor import parse_features, parser_argv, qemu_argv
from sealwright_image.compiler import freestanding_argv
from sealwright_image.confinement import APPARMOR_PROFILES, POLICIES, is_profile, stage_profiles
from sealwright_image.firewall import firewall_rules
from sealwright_image.ipe import POLICY_FILE, sign_argv
from sealwright_image.lists import parse_list
from sealwright_image.mkosi import DEFINITIONS
from sealwright_image.os_build import SecureBootSigner
from sealwright_policies.domains.compiler import compile_units
from sealwright_policies.domains.compiler.ipe import policy_text
from sealwright_policies.domains.entrusted import entrusted_bytes
from sealwright_policies.errors import OperationError
from sealwright_policies.wire.lease import DAY_S
from sealwright_policies.workloads import ResultsPlan
from sealwright_testing.apparmor_rules import PathRules, expression
from sealwright_testing.domain_texts import examples
from sealwright_testing.laid_files import text_of
from sealwright_testing.path_accesses import path_accesses

ROOT_HASH = "5a" * 32
UNITS = DEFINITIONS / "mkosi.extra/usr/lib/systemd/system"


def test_code_comes_from_initrd_and_root_alone() -> None:
    head, default, *rules = policy_text(ROOT_HASH).splitlines()
    assert head == "policy_name=sealwright policy_version=1.0.0"
    assert default == "DEFAULT action=DENY"
    assert set(rules) == {
        f"op={operation} {origin} action=ALLOW"
        for operation in ("EXECUTE", "KMODULE", "FIRMWARE", "POLICY", "X509_CERT")
        for origin in ("boot_verified=TRUE", f"dmverity_roothash=sha256:{ROOT_HASH}")
    }
    assert POLICY_FILE == "usr/lib/ipe/sealwright.p7b"


def test_code_of_a_workload_comes_from_its_image_too() -> None:
    """Executables alone: no module, no firmware, no policy."""
    workloads = ["7b" * 32, "6c" * 32]
    added = set(policy_text(ROOT_HASH, workloads).splitlines()) - set(policy_text(ROOT_HASH).splitlines())
    assert added == {f"op=EXECUTE dmverity_roothash=sha256:{one} action=ALLOW" for one in workloads}
    assert policy_text(ROOT_HASH, workloads) == policy_text(ROOT_HASH, workloads[::-1])


def test_a_policys_signature_has_no_time_and_holds_the_policy() -> None:
    argv = sign_argv(SecureBootSigner(Path("/keys/db.key"), Path("/keys/db.pem")))
    assert {"-noattr", "-nodetach", "-binary"} <= set(argv)
    assert argv[argv.index("-inkey") + 1] == "/keys/db.key"


def test_the_kernel_is_asked_for_its_features() -> None:
    printed = "noise\nfeature policy/versions/v9 7965730a\nfeature caps/mask 63\nfeatures end\n[ 3.9] reboot\n"
    assert parse_features(printed) == {"policy/versions/v9": b"yes\n", "caps/mask": b"c"}
    assert "console=ttyS0 quiet panic=-1 lsm=apparmor" in qemu_argv(Path("/k"), Path("/i"), "lsm=apparmor")


def test_a_kernel_that_does_not_answer_to_the_end_ends_the_build() -> None:
    with pytest.raises(OperationError, match=r"AppArmor features it has: .*Kernel panic"):
        parse_features("feature caps/mask 63\nKernel panic")


def test_a_profile_with_a_rule_that_the_kernel_does_not_keep_is_no_profile() -> None:
    argv = parser_argv(Path("/f"), Path("/p"), Path("/c"), [Path("/p/engine")])
    assert {"--Werror", "--skip-kernel-load", "--write-cache"} <= set(argv)
    assert argv[argv.index("--features-file") + 1] == "/f"


def test_the_first_program_needs_nothing() -> None:
    argv = freestanding_argv(Path("/init.c"), Path("/init"), 'NEXT="/x"')
    assert {"-static", "-nostdlib", "-Werror", '-DNEXT="/x"'} <= set(argv)


@pytest.mark.parametrize("name", ["adapters", "agent", "documents", "gateway", "parser@", "site", "unlock", "volumes"])
def test_each_unit_is_started_in_its_profile(name: str) -> None:
    profile = f"sealwright-{name.removesuffix('@')}"
    assert f"AppArmorProfile={profile}" in (UNITS / f"sealwright-{name}.service").read_text().splitlines()
    (line,) = [line for line in (APPARMOR_PROFILES / profile).read_text().splitlines() if line.startswith("profile ")]
    assert line.split()[1] == profile
    assert "complain" not in line


@pytest.mark.parametrize("folder", ["results", "documents", "adapters"])
def test_what_others_keep_on_the_state_volume_is_not_the_agents(folder: str) -> None:
    """It has all else there; and it makes and moves none of these folders, as it owns the one above."""
    rules = [line.strip() for line in (APPARMOR_PROFILES / "sealwright-agent").read_text().splitlines()]
    assert f"deny /var/lib/sealwright/{folder}/{{,**}} rwklmx," in rules


def test_the_agent_is_not_root_and_runs_no_program() -> None:
    unit = (UNITS / "sealwright-agent.service").read_text().splitlines()
    assert {"User=sealwright-agent", "CapabilityBoundingSet=", "NoNewPrivileges=yes"} <= set(unit)
    rules = (APPARMOR_PROFILES / "sealwright-agent").read_text().splitlines()
    assert not [rule for rule in rules if rule.startswith("\t/") and "x" in rule.rstrip(",").split()[-1]]
    assert not [rule for rule in rules if rule.strip().startswith("capability")]


def test_what_is_told_of_the_site_is_out_of_the_agents_reach() -> None:
    """Root reads what the agent has written, and nothing that it could put in the place of the rules."""
    unit = (UNITS / "sealwright-site.service").read_text().splitlines()
    assert {"CapabilityBoundingSet=CAP_NET_ADMIN", "RuntimeDirectory=sealwright-site"} <= set(unit)
    profile = (APPARMOR_PROFILES / "sealwright-site").read_text().splitlines()
    written = [line for line in profile if line.startswith("\t/") and "w" in line.rstrip(",").split()[-1]]
    assert [line.split()[0] for line in written] == [
        "/run/sealwright-site/{,**}",
        "/run/systemd/{network,timesyncd.conf.d}/{,**}",
    ]


def test_only_the_agent_asks_the_volume_service_and_it_has_no_network() -> None:
    socket = (UNITS / "sealwright-volumes.socket").read_text().splitlines()
    assert {"SocketUser=root", "SocketGroup=sealwright-agent", "SocketMode=0660"} <= set(socket)
    unit = (UNITS / "sealwright-volumes.service").read_text().splitlines()
    assert "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_ALG" in unit


def test_the_volume_service_may_read_and_remove_what_is_set_aside_of_results(tmp_path: Path) -> None:
    """Each path that it uses is one of its profile's, and of results it may read the texts alone."""
    rules, kept = PathRules.load(APPARMOR_PROFILES / "sealwright-volumes"), "/var/lib/sealwright/results"
    closed = tmp_path / ".closed"
    closed.mkdir()
    volume, text = closed / f"clinic.{'0a' * 8}.ext4", closed / f"clinic.{'0a' * 8}.text.json"
    volume.touch()
    brief = text_of("clinic", "\n[run]\nengine = true\n\n[retention]\nresults_days = 2\n")
    text.write_bytes(entrusted_bytes(brief))
    with path_accesses() as used:
        for days in (0, 2):
            forget_closed(tmp_path, {"clinic": ResultsPlan(mib=4, days=9)}, days * DAY_S)
    assert [*closed.iterdir()] == []
    inside = {
        (kept + path.removeprefix(str(tmp_path)), right) for path, right in used if path.startswith(str(tmp_path))
    }
    assert {(f"{kept}/.closed/{text.name}", "r"), (f"{kept}/.closed/{volume.name}", "w")} <= inside
    assert [(path, right) for path, right in inside if not rules.allow(path, right)] == []
    for path in ("clinic.ext4", "clinic.text.json", "clinic/adapter.gguf", f".closed/{volume.name}"):
        assert not rules.allow(f"{kept}/{path}", "r")


def test_the_agent_tells_the_adapter_service_how_far_the_calendar_has_come(tmp_path: Path) -> None:
    """Each path that they use is one of their profiles', and the service cannot write there."""
    told = tmp_path / "retention.json"
    for name in ("agent", "adapters"):
        rules = PathRules.load(APPARMOR_PROFILES / f"sealwright-{name}")
        with path_accesses() as used:
            if name == "agent":
                tell_time(told, 1)
            else:
                assert told_time(told) is not None
        inside = {
            ("/run/sealwright" + path.removeprefix(str(tmp_path)), right)
            for path, right in used
            if path.startswith(f"{tmp_path}/")
        }
        assert inside
        inside.add(("/run/sealwright/retention.json", "r" if name == "adapters" else "w"))  # the other one is renamed
        assert [(path, right) for path, right in inside if not rules.allow(path, right)] == []
    assert not rules.allow("/run/sealwright/retention.json", "w")
    assert Paths().retention_time == Path("/run/sealwright/retention.json")


def test_links_are_made_among_results_alone() -> None:
    """They are copied as links to a volume of another size."""
    rules = PathRules.load(APPARMOR_PROFILES / "sealwright-unlock")
    assert rules.allow("/var/lib/sealwright/results/.clinic/index", "l")
    for path in ("documents/x", "domains/clinic/data-set/x/content", "leases/lease"):
        assert not rules.allow(f"/var/lib/sealwright/{path}", "l")


def test_the_agent_moves_no_folder_of_a_domain() -> None:
    """Each is bound where workloads see it by its name."""
    rules, domains = PathRules.load(APPARMOR_PROFILES / "sealwright-agent"), "/var/lib/sealwright/domains"
    for path in ("/", "/clinic", "/clinic/"):
        assert not rules.allow(domains + path, "w")
        assert rules.allow(domains + path, "r")
    for path in ("/clinic/data-set/", "/clinic/data-set/x/content", "/clinic/.incoming/"):
        assert rules.allow(domains + path, "w")


@pytest.mark.parametrize(
    ("glob", "admitted", "refused"),
    [
        ("/a/*", "/a/.b", "/a/"),
        ("/a/*/{,**/}", "/a/b/", "/a/b"),
        ("/a/*/{,**/}", "/a/b/c/d/", "/a/"),
        ("/a/**", "/a/b/c", "/a/"),
        ("/a/*.{json,text}", "/a/b.text", "/a/b/c.text"),
        ("/dev/sd[a-c]?", "/dev/sda1", "/dev/sdd1"),
    ],
)
def test_globs_of_profiles_are_read_as_apparmor_does(glob: str, admitted: str, refused: str) -> None:
    assert expression(glob).fullmatch(admitted)
    assert not expression(glob).fullmatch(refused)


def test_only_the_gateway_asks_for_documents_and_only_their_service_has_them_read() -> None:
    """Neither has a network; the parser has no folder of anybody's either."""
    for name, group in (("documents", "gateway"), ("parser", "documents")):
        socket = (UNITS / f"sealwright-{name}.socket").read_text().splitlines()
        assert {"SocketUser=root", f"SocketGroup=sealwright-{group}", "SocketMode=0660"} <= set(socket)
    for name in ("documents", "parser@"):
        unit = (UNITS / f"sealwright-{name}.service").read_text().splitlines()
        assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "CapabilityBoundingSet="} <= set(unit)
    assert "Accept=yes" in (UNITS / "sealwright-parser.socket").read_text().splitlines()
    parser = (UNITS / "sealwright-parser@.service").read_text()
    assert "\nTemporaryFileSystem=/run:mode=0755 /var:ro /tmp:ro\n" in parser
    assert "Bind" not in parser
    profile = (APPARMOR_PROFILES / "sealwright-parser").read_text()
    assert not [rule for rule in profile.splitlines() if rule.startswith("\t/")]


def test_only_the_gateway_asks_for_adapters_and_only_their_service_asks_trainers() -> None:
    """It has no network and no weights; and no folder of the volume but its own."""
    for name, group in (("adapters", "gateway"), ("workload@", "adapters")):
        socket = (UNITS / f"sealwright-{name}.socket").read_text().splitlines()
        assert {"SocketUser=root", f"SocketGroup=sealwright-{group}", "SocketMode=0660"} <= set(socket)
        assert "Accept=yes" not in socket
    unit = (UNITS / "sealwright-adapters.service").read_text().splitlines()
    assert {
        "User=sealwright-adapters",
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
        "CapabilityBoundingSet=",
        "TemporaryFileSystem=/var:ro /tmp:ro",
        "BindPaths=-/var/lib/sealwright/adapters",
    } <= set(unit)
    (hidden,) = [line for line in unit if line.startswith("InaccessiblePaths=")]
    assert {"-/run/sealwright/payloads", "-/run/sealwright/engine"} <= set(hidden.split("=", 1)[1].split())


def test_the_profiles_of_engines_and_workloads_come_from_the_domains(tmp_path: Path) -> None:
    files = compile_units(examples())
    folder = stage_profiles(files, tmp_path)
    own = {"adapters", "agent", "documents", "gateway", "parser", "site", "unlock", "volumes"}
    units = {"engine-finance", "engine-medical", "engine-oncology-adapter"}
    units |= {"workload-document-index", "workload-lora-training"}
    assert {path.name for path in folder.iterdir() if path.is_file()} == {f"sealwright-{one}" for one in own | units}
    assert (folder / "common/python").is_file()
    assert {path for path in files if is_profile(path)} == {f"/etc/apparmor.d/sealwright-{one}" for one in units}


@pytest.mark.parametrize(("url", "port"), [("https://license.example:8443", 8443), ("https://license.example", 443)])
def test_the_packet_filter_knows_the_port_of_the_licence_service(url: str, port: int) -> None:
    rules = firewall_rules((POLICIES / "firewall.nft").read_text(), url)
    assert rules.startswith(f"define license_service_port = {port}\n")
    assert rules.count("policy drop;") == 3


def test_other_boxes_are_reached_where_a_product_names_their_networks_alone() -> None:
    base = (POLICIES / "firewall.nft").read_text()
    assert "insert rule" not in firewall_rules(base, "https://license.example")
    peers = [ip_network("10.1.0.0/24"), ip_network("10.1.1.7"), ip_network("fd00::/64")]
    rules = firewall_rules(base, "https://license.example", peers).splitlines()
    found = [line.removeprefix("insert rule inet sealwright ") for line in rules if line.startswith("insert rule")]
    both = "tcp dport { $gateway_port, $flow_port } accept"
    assert found == [
        "input ip saddr { 10.1.0.0/24, 10.1.1.7/32 } tcp dport $flow_port accept",
        f"output meta skuid sealwright-gateway ip daddr {{ 10.1.0.0/24, 10.1.1.7/32 }} {both}",
        "input ip6 saddr { fd00::/64 } tcp dport $flow_port accept",
        f"output meta skuid sealwright-gateway ip6 daddr {{ fd00::/64 }} {both}",
    ]


def test_there_is_no_network_without_the_packet_filter() -> None:
    filtering = (UNITS / "sealwright-firewall.service").read_text().splitlines()
    assert {"Before=network-pre.target", "OnFailure=emergency.target"} <= set(filtering)
    networkd = DEFINITIONS / "mkosi.extra/etc/systemd/system/systemd-networkd.service.d/10-firewall.conf"
    assert "Requires=sealwright-firewall.service" in networkd.read_text().splitlines()


def test_no_module_is_loaded_once_everything_runs() -> None:
    closing = (UNITS / "sealwright-modules-off.service").read_text().splitlines()
    assert any("systemd-sysctl --strict" in line for line in closing)
    assert "OnFailure=emergency.target" in closing
    settings = (DEFINITIONS / "mkosi.extra/usr/lib/sealwright/modules-off.conf").read_text()
    assert "kernel.modules_disabled = 1" in settings.splitlines()
    preset = (DEFINITIONS / "mkosi.extra/usr/lib/systemd/system-preset/10-sealwright.preset").read_text()
    assert {"enable sealwright-modules-off.service", "enable sealwright-firewall.service"} <= set(preset.splitlines())


def test_nobody_makes_a_user_namespace() -> None:
    assert "sysctl.user.max_user_namespaces=0" in parse_list((DEFINITIONS / "command-line.txt").read_text())
