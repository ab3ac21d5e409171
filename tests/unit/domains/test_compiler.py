"""What the compiled files grant, whatever the domain says, and that they follow from the domains alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sealwright_policies.domains.chain import find_problems, verify_domains
from sealwright_policies.domains.compiler import compile_box, compile_domain, compile_domains, compile_units
from sealwright_policies.domains.compiler.apparmor import RESULTS_DEPTH
from sealwright_policies.domains.compiler.ipe import policy_text
from sealwright_policies.domains.compiler.journal import journal
from sealwright_policies.domains.compiler.mounts import EVERY, INERT, mounts
from sealwright_policies.domains.compiler.units import Program, Unit, units_of
from sealwright_policies.domains.compiler.workloads import workloads
from sealwright_policies.errors import UsageError
from sealwright_policies.mounts import MOUNTS_FILE, parse_mounts
from sealwright_policies.workloads import WORKLOADS_FILE, AdapterPlan, ResultsPlan, WorkloadPlan, parse_workloads
from sealwright_testing.domain_texts import (
    ROOT_HASHES,
    domain_text,
    example_texts,
    examples,
    parse_texts,
    replaced,
    verified,
)

NAME_MAX, PATH_MAX = 255, 4096
"""linux/limits.h."""
TEMPLATES = Path(__file__).resolve().parents[3] / "image/mkosi/mkosi.extra/usr/lib/systemd/system"
DOMAINS = examples()
FILES = {path: content.decode() for path, content in compile_domains(DOMAINS, ROOT_HASHES).items()}
UNITS = [unit for source in DOMAINS for unit in units_of(DOMAINS, source.domain.name)]
ENGINES = [unit for unit in UNITS if unit.program is Program.ENGINE]


def drop_in(unit: Unit) -> dict[str, list[str]]:
    text = FILES[f"/usr/lib/systemd/system/sealwright-{unit.name}.service.d/50-domain.conf"]
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def profile(unit: Unit) -> str:
    return FILES[f"/etc/apparmor.d/{unit.profile}"]


def landlock(unit: Unit) -> str:
    return FILES[f"/usr/lib/sealwright/landlock/{unit.name}.rules"]


def rights(unit: Unit) -> dict[str, set[str]]:
    words = [line.split(" ") for line in landlock(unit).splitlines()]
    return {path: set(access) for kind, path, *access in words if kind == "path"}


def ports(unit: Unit) -> list[str]:
    return [line for line in landlock(unit).splitlines() if not line.startswith("path ")][1:]


def test_same_domains_same_bytes() -> None:
    again = verify_domains(list(reversed(parse_texts(example_texts()))))
    assert compile_domains(again, dict(reversed(ROOT_HASHES.items()))) == compile_domains(DOMAINS, ROOT_HASHES)


def test_units_alone_are_what_they_are_among_all() -> None:
    files = compile_units(DOMAINS)
    wanted = r"sealwright-(engine|workload)[@-]|/landlock/|/nftables\.d/"
    assert set(files) == {path for path in FILES if re.search(wanted, path)}
    assert all(FILES[path] == content.decode() for path, content in files.items())


def test_the_examples_have_the_expected_units() -> None:
    assert sorted(unit.name for unit in UNITS) == [
        "engine@finance",
        "engine@medical",
        "engine@oncology-adapter",
        "workload@document-index",
        "workload@lora-training",
    ]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_nothing_writable_is_executable(unit: Unit) -> None:
    writing = {"write_file", "make_reg", "make_dir", "remove_file", "truncate", "make_sock"}
    for path, access in rights(unit).items():
        assert not ("execute" in access and access & writing), path
    for rule in re.findall(r"^  (?:owner )?\S+ ([a-z]+),$", profile(unit), re.MULTILINE):
        assert not ("w" in rule and ("x" in rule or "m" in rule)), rule
    writable = [path for value in drop_in(unit).get("BindPaths", []) for path in value.split()]
    closed = {path.lstrip("+-") for path in drop_in(unit)["NoExecPaths"][0].split()}
    assert {"/tmp", *writable} <= closed
    # A workload's root is its image, from which its programs come.
    assert ("/" in closed) == (unit.program is Program.ENGINE)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_sees_its_own_payloads_only(unit: Unit) -> None:
    seen = {*unit.reads, *([unit.member] if unit.program is Program.WORKLOAD else [])}
    for text in (profile(unit), landlock(unit)):
        assert set(re.findall(r"/run/sealwright/payloads/([a-z0-9-]+)", text)) == set(unit.reads)
    assert set(re.findall(r"/run/sealwright/payloads/([a-z0-9-]+)", json.dumps(drop_in(unit)))) == seen


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_changes_no_payload(unit: Unit) -> None:
    for access in re.findall(r"/run/sealwright/payloads/\S+ ([a-z]+),", profile(unit)):
        assert set(access) <= set("mrix")
    for path, access in rights(unit).items():
        if path.startswith("/run/sealwright/payloads/"):
            assert access <= {"read_file", "read_dir", "execute"}
    assert not any("payloads" in value for value in drop_in(unit).get("BindPaths", []))


@pytest.mark.parametrize(("form", "seen"), [("raw", ("m",)), ("adapter", ()), ("results", ())])
def test_members_of_another_domain_are_seen_where_they_are_taken_raw(form: str, seen: tuple[str, ...]) -> None:
    above = domain_text(
        "above",
        more='\n[[member]]\nkind = "model"\nid = "m"\n\n[run]\nworkloads = ["w"]\n'
        f'\n[[flow]]\nto = "below"\nforms = ["{form}"]\n',
    )
    below = domain_text(
        "below",
        more='\n[[member]]\nkind = "workload"\nid = "w"\n\n[run]\nworkloads = ["w"]\n'
        f'\n[[chain]]\nfrom = "above"\nforms = ["{form}"]\n',
    )
    (unit,) = units_of(verified([above, below]), "below")
    assert unit.reads == seen


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_no_unit_has_what_none_needs(unit: Unit) -> None:
    lines = drop_in(unit)
    assert lines["CapabilityBoundingSet"] == lines["AmbientCapabilities"] == [""]
    for key in ("NoNewPrivileges", "PrivateDevices", "RestrictNamespaces", "ProtectKernelModules", "PrivatePIDs"):
        assert lines[key] == ["yes"]
    assert (lines["LimitCORE"], lines["MemorySwapMax"]) == (["0"], ["0"])
    assert not re.search(r"capability|mount|ptrace|/usr/s?bin/|python|include", profile(unit))
    assert landlock(unit).splitlines()[0] == "abi 6"


@pytest.mark.parametrize("unit", ENGINES, ids=lambda unit: unit.name)
def test_an_engine_has_no_network_and_makes_no_code(unit: Unit) -> None:
    lines = drop_in(unit)
    assert lines["PrivateNetwork"] == ["yes"]
    assert lines["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert lines["MemoryDenyWriteExecute"] == ["yes"]
    assert "NFTSet" not in lines
    assert re.findall("network.*", profile(unit)) == ["network unix stream,"]
    assert ports(unit) == []
    assert [path for path, access in rights(unit).items() if access & {"make_reg", "write_file"}] == ["/dev/null"]


@pytest.mark.parametrize("unit", ENGINES, ids=lambda unit: unit.name)
def test_an_engine_runs_its_own_program_and_no_other(unit: Unit) -> None:
    """It is one static file; nothing else may be executed, or mapped as a library."""
    own = "/usr/lib/sealwright/bin"
    assert drop_in(unit)["ExecPaths"] == [f"{own}/sealwright-launch {own}/llama-server"]
    assert [path for path, access in rights(unit).items() if "execute" in access] == [f"{own}/llama-server"]
    rules = dict(re.findall(r"^  (?:owner )?(/\S+) (\S+),$", profile(unit), re.MULTILINE))
    assert {path for path, access in rules.items() if "x" in access} == {f"{own}/llama-server"}
    assert {path for path, access in rules.items() if "m" in access} == set(drop_in(unit)["ExecPaths"][0].split())


def test_the_box_is_told_which_workload_reads_what() -> None:
    plans = parse_workloads(FILES[WORKLOADS_FILE].encode())
    assert plans.workloads.keys() == {"document-index", "lora-training"}
    assert plans.workloads["lora-training"] == WorkloadPlan(
        domain="oncology-training",
        reads=("medical", "oncology", "oncology-adapter"),
        files=("medical-model", "oncology-records", "oncology-training"),
        metrics=True,
    )
    assert plans.adapters == {"oncology-adapter": AdapterPlan(domain="oncology-training", base="medical", days=90)}
    assert plans.readers("oncology") == {"lora-training"}
    assert plans.readers("finance") == frozenset()


@pytest.mark.parametrize(
    ("owner", "form", "taken", "told"),
    [
        ("customer", "metrics", "metrics", True),
        ("vendor", "metrics", "metrics", False),
        ("customer", "aggregates", "aggregates", False),
        ("customer", "metrics", "", False),
    ],
)
def test_metrics_are_told_to_a_customer_whose_domain_takes_them(owner: str, form: str, taken: str, told: bool) -> None:
    makes = domain_text(
        "makes",
        more='\n[[member]]\nkind = "workload"\nid = "w"\n\n[run]\nworkloads = ["w"]\n\n[resources]\nresults_mib = 4\n'
        f'\n[[flow]]\nto = "sees"\nforms = ["{form}"]\n',
    )
    sees = domain_text("sees", more=f'\n[[chain]]\nfrom = "makes"\nforms = ["{taken}"]\n' if taken else "")
    sees = sees.replace('kind = "vendor"', f'kind = "{owner}"')
    assert workloads(verified([makes, sees])).workloads["w"].metrics is told


def test_a_workload_waits_for_no_member_that_the_release_lacks() -> None:
    """systemd passes over what is not there; its own image has to be."""
    (unit,) = [unit for unit in UNITS if unit.name == "workload@lora-training"]
    _, _, *read = drop_in(unit)["BindReadOnlyPaths"][0].split()
    members = [f"-/run/sealwright/payloads/{one}" for one in ("medical", "oncology", "oncology-adapter")]
    assert read[:3] == members


@pytest.mark.parametrize(
    ("unit", "domains"),
    [
        ("workload@lora-training", ("medical-model", "oncology-records", "oncology-training")),
        ("workload@document-index", ("clinic",)),
        ("engine@oncology-adapter", ()),
    ],
)
def test_a_workload_reads_data_sets_that_came_where_it_reads_members(unit: str, domains: tuple[str, ...]) -> None:
    """Mounted, and by profile and rules; those of its own domain, and of what this takes as it is."""
    (found,) = [one for one in UNITS if one.name == unit]
    folders = {f"/run/sealwright/data-sets/{one}" for one in domains}
    lines = drop_in(found)
    bound = {path.removeprefix("-") for path in lines["BindReadOnlyPaths"][0].split()}
    assert {path for path in bound if "/data-sets" in path} == folders
    assert {path[2:] for path in lines["NoExecPaths"][0].split() if "/data-sets" in path} == folders
    assert {path for path in rights(found) if "/data-sets" in path} == folders
    assert all(rights(found)[path] == {"read_dir", "read_file"} for path in folders)
    rules = re.findall(r"^  (/run/sealwright/data-sets\S*) (\S+),$", profile(found), re.MULTILINE)
    assert sorted(rules) == sorted((f"{path}/{more}", "r") for path in folders for more in ("", "**"))


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit not in ENGINES], ids=lambda unit: unit.name)
def test_a_workload_has_a_root_of_its_own_and_of_the_box_its_launcher(unit: Unit) -> None:
    """What no plus is before is a path of the box's root, which the unit does not see."""
    lines = drop_in(unit)
    assert lines["RootDirectory"] == [f"/run/sealwright/payloads/{unit.member}"]
    launcher, rules, *_ = lines["BindReadOnlyPaths"][0].split()
    assert launcher == "/usr/lib/sealwright/bin/sealwright-launch:/run/sealwright-launch"
    assert rules == f"/usr/lib/sealwright/landlock/{unit.name}.rules:/run/sealwright-rules"
    assert lines["BindLogSockets"] == ["no"]
    assert all("+" in path for key in ("InaccessiblePaths", "NoExecPaths") for path in lines[key][0].split())
    assert {path for path, access in rights(unit).items() if "execute" in access} == {"/program", "/usr"}


def test_not_even_where_the_domain_has_egress() -> None:
    text = domain_text(
        more='\n[[member]]\nkind = "model"\nid = "m"\n\n[run]\nengine = true\nwritable_code = true\n'
        '\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n'
    )
    (unit,) = units_of(verified([text]), "small")
    assert not unit.has_network
    assert not unit.makes_code


def test_a_workload_reaches_what_its_domain_names() -> None:
    (unit,) = units_of(DOMAINS, "clinic")
    assert drop_in(unit)["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
    assert drop_in(unit)["NFTSet"] == ["user:inet:sealwright:u_clinic"]
    assert drop_in(unit)["Requires"] == drop_in(unit)["After"] == ["sealwright-firewall.service"]
    assert ports(unit) == ["connect_tcp 443", "connect_tcp 6514"]


def test_what_may_be_executed_is_listed_by_root_hash() -> None:
    """The text that the build signs and the box boots with; without a root it is no policy that a kernel would take."""
    root_hash, path = "5a" * 32, "/usr/share/sealwright/ipe/sealwright.pol"
    assert compile_box(DOMAINS, ROOT_HASHES, root_hash)[path].decode() == policy_text(root_hash, ROOT_HASHES.values())
    assert FILES[path] == policy_text("ROOT-HASH", ROOT_HASHES.values())


@pytest.mark.parametrize("hashes", [{}, {"lora-training": "1a" * 32}, ROOT_HASHES | {"other": "3c" * 32}])
def test_root_hashes_are_those_of_the_workloads_that_may_run(hashes: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"document-index, lora-training run, and root hashes are given of"):
        compile_box(DOMAINS, hashes)


def test_a_workload_that_may_not_run_has_no_unit_and_is_mounted_noexec() -> None:
    domains = verified([domain_text(more='\n[[member]]\nkind = "workload"\nid = "w"\n')])
    assert units_of(domains, "small") == ()
    assert mounts(domains).options["w"] == (*EVERY, *INERT)
    assert "w" not in compile_box(domains, {})["/usr/share/sealwright/ipe/sealwright.pol"].decode().split("roothash")


def test_every_payload_is_mounted_read_only_and_executable_for_workloads_only() -> None:
    options = parse_mounts(FILES[MOUNTS_FILE].encode()).options
    data = ("ro", "nodev", "nosuid", "noexec", "nosymfollow")
    programs = ("ro", "nodev", "nosuid")
    assert options == {
        "clinic-documents": data,
        "document-index": programs,
        "finance": data,
        "lora-training": programs,
        "medical": data,
        "oncology": data,
    }


@pytest.mark.parametrize(
    ("days", "said"),
    [
        ([90, 30, 365], ["MaxRetentionSec=30day", "MaxFileSec=1day"]),
        ([1], ["MaxRetentionSec=1day", "MaxFileSec=1day"]),
        ([90, 0], ["Storage=none"]),
        ([None, 90], ["Storage=none"]),
        ([], ["Storage=none"]),
    ],
)
def test_the_journal_keeps_lines_for_the_shortest_days_of_all_domains(days: list[int | None], said: list[str]) -> None:
    texts = [
        domain_text(f"d{number}", more="" if one is None else f"\n[retention]\nlogs_days = {one}\n")
        for number, one in enumerate(days)
    ]
    assert journal(verified(texts)).splitlines()[1:] == ["[Journal]", *said]


def test_the_box_is_told_how_much_each_domain_may_write_and_for_how_long_it_stays() -> None:
    """Also where nothing of the domain runs: an adapter may be there from before."""
    plans = parse_workloads(FILES[WORKLOADS_FILE].encode())
    assert plans.results == {
        "clinic": ResultsPlan(mib=1024, days=365),
        "oncology-training": ResultsPlan(mib=512, days=90),
    }
    small = workloads(verified([domain_text(more="\n[resources]\nresults_mib = 4\n")]))
    assert (small.workloads, small.results) == ({}, {"small": ResultsPlan(mib=4, days=0)})


@pytest.mark.parametrize(
    ("forms", "taken", "adapters", "results"),
    [
        ('"adapter", "results"', '"adapter", "results"', ("own", "tuned"), ("w",)),
        ('"adapter"', '"adapter"', ("own", "tuned"), ()),
        ('"adapter", "results"', '"results"', ("own",), ("w",)),
        ('"results"', '"results"', (), ("w",)),
        ('"metrics"', '"metrics"', (), ()),
    ],
)
def test_the_box_is_told_what_of_a_workload_s_results_may_flow(
    forms: str, taken: str, adapters: tuple[str, ...], results: tuple[str, ...]
) -> None:
    """Adapters of the domain itself, and of who takes adapters from it; results of workloads that may run."""
    model = '\n[[member]]\nkind = "model"\nid = "m"\n'
    member = '\n[[member]]\nkind = "{}"\nid = "{}"\n'.format
    base = 'base = "m"\n'
    makes = domain_text(
        "makes",
        more=model
        + member("adapter", "own")
        + base
        + member("workload", "w")
        + member("workload", "idle")
        + '\n[run]\nworkloads = ["w"]\n\n[resources]\nresults_mib = 4\n'
        + f'\n[[flow]]\nto = "serves"\nforms = ["raw", {forms}]\n',
    )
    chain = f'\n[[chain]]\nfrom = "makes"\nforms = ["raw", {taken}]\n'
    serves = domain_text("serves", more=member("adapter", "tuned") + base + chain)
    plan = workloads(verified([makes, serves])).results["makes"]
    assert (plan.adapters, plan.results) == (adapters, results)


def test_a_workload_makes_no_folders_deeper_than_whoever_removes_them_can_go() -> None:
    """A path of that depth is shorter than PATH_MAX, whatever the names are; nothing is moved between folders."""
    (unit,) = [unit for unit in UNITS if unit.name == "workload@lora-training"]
    (results,) = [path for path in rights(unit) if path.startswith("/var/lib/sealwright/results/")]
    rules = [line.strip() for line in profile(unit).splitlines() if f"{results}/" in line and "w" in line.split()[-1]]
    assert rules == [f"{results}/{'*/' * depth}*{{,/}} rwk," for depth in range(RESULTS_DEPTH)]
    assert len(results) + RESULTS_DEPTH * (NAME_MAX + 1) < PATH_MAX
    assert "refer" not in rights(unit)[results]


def test_a_domain_none_of_whose_workloads_reaches_anything_adds_nothing_to_the_packet_filter() -> None:
    assert [path for path in FILES if "/nftables.d/" in path] == ["/usr/share/sealwright/nftables.d/clinic.nft"]
    egress = '\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n'
    idle = domain_text("idle", more='\n[[member]]\nkind = "workload"\nid = "w"\n' + egress)
    assert [path for path in compile_units(verified([idle])) if path.endswith(".nft")] == []


def test_a_workload_has_sockets_of_the_protocols_that_its_domain_names_and_no_other() -> None:
    """No datagrams over IPv4 because there are some over IPv6."""
    text = domain_text(
        more='\n[[member]]\nkind = "workload"\nid = "w"\n\n[run]\nworkloads = ["w"]\n'
        '\n[[egress]]\nhost = "192.0.2.1"\nport = 443\n'
        '\n[[egress]]\nhost = "2001:db8::1"\nport = 514\nprotocol = "udp"\n'
    )
    files = {path: content.decode() for path, content in compile_units(verified([text])).items()}
    found = re.findall("network .*", files["/etc/apparmor.d/sealwright-workload-w"])
    assert found == ["network inet stream,", "network inet6 dgram,"]
    assert "connect_tcp 443\n" in files["/usr/lib/sealwright/landlock/workload@w.rules"]
    assert "514" not in files["/usr/lib/sealwright/landlock/workload@w.rules"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_has_a_network_only_where_the_packet_filter_knows_its_users(unit: Unit) -> None:
    rules = f"/usr/share/sealwright/nftables.d/{unit.domain.name}.nft"
    knows = rules in FILES and f"set u_{unit.domain.name.replace('-', '_')} {{" in FILES[rules]
    assert drop_in(unit)["PrivateNetwork"] == ["no" if unit.has_network else "yes"]
    assert ("NFTSet" in drop_in(unit)) == unit.has_network == (unit.has_network and knows)


def test_all_that_a_domain_s_users_send_is_judged_by_its_rules_alone() -> None:
    """In front of the box's own rules, and nothing leads back to them."""
    *rules, way = FILES["/usr/share/sealwright/nftables.d/clinic.nft"].splitlines()
    assert way == "insert rule inet sealwright output meta skuid @u_clinic jump egress_clinic"
    assert rules[-3:] == ["\t\tcounter reject with icmpx admin-prohibited", "\t}", "}"]


def test_addresses_that_two_hosts_share_are_taken_once() -> None:
    text = domain_text(
        more='\n[[member]]\nkind = "workload"\nid = "w"\n\n[run]\nworkloads = ["w"]\n'
        + "".join(
            f'\n[[egress]]\nhost = "{host}.example"\nport = 443\naddresses = ["{network}"]\n'
            for host, network in (("a", "192.0.2.0/24"), ("b", "192.0.2.16/28"), ("c", "192.0.2.0/24"))
        )
    )
    rules = compile_domain(verified([text]), "small")["/usr/share/sealwright/nftables.d/small.nft"].decode()
    assert "elements = { 192.0.2.0/24 . 443 }" in rules


def test_the_longest_names_stay_within_the_kernel_s_and_systemd_s_limits() -> None:
    name = "d" * 28
    text = domain_text(name, more='\n[[member]]\nkind = "model"\nid = "' + "m" * 28 + '"\n\n[run]\nengine = true\n')
    for path in compile_domain(verified([text]), name):
        assert all(len(part) <= 255 for part in path.split("/"))


MODEL = domain_text(
    "model",
    more='\n[[member]]\nkind = "model"\nid = "m"\n\n[run]\nengine = true\nworkloads = ["t"]\nown_adapters = 3\n'
    '\n[[flow]]\nto = "tuning"\nforms = ["raw"]\n',
)
TUNING = domain_text(
    "tuning",
    more='\n[[member]]\nkind = "workload"\nid = "t"\n'
    '\n[[member]]\nkind = "adapter"\nid = "own"\nbase = "m"\ntrainer = "t"\n'
    '\n[run]\nengine = true\nworkloads = ["t"]\nown_adapters = 2\n\n[[chain]]\nfrom = "model"\nforms = ["raw"]\n',
)


def test_a_trainer_has_its_socket_and_no_place_to_write_and_the_engine_the_adapters_folder() -> None:
    domains = verified([MODEL, TUNING])
    engine, trainer = units_of(domains, "tuning")
    files = {path: content.decode() for path, content in compile_units(domains).items()}

    def lines(unit: Unit) -> set[str]:
        return set(files[f"/usr/lib/systemd/system/sealwright-{unit.name}.service.d/50-domain.conf"].splitlines())

    assert {"StandardInput=socket", "RemainAfterExit=no", "CPUWeight=20", "PrivateNetwork=yes"} <= lines(trainer)
    assert not [line for line in lines(trainer) if line.startswith("BindPaths=")]
    assert re.findall("network.*", files[f"/etc/apparmor.d/{trainer.profile}"]) == ["network unix stream,"]
    own = "/var/lib/sealwright/adapters/served/own:/run/sealwright/payloads/own"
    assert f"BindReadOnlyPaths=/run/sealwright/payloads/m {own}" in lines(engine)
    plans = workloads(domains)
    assert plans.adapters == {"own": AdapterPlan(domain="tuning", base="m", trainer="t", own=2)}
    assert plans.trainers == {"t"}


def test_if_memory_runs_out_each_workload_goes_before_each_engine() -> None:
    """What a drop-in does not say is said by its template unit."""
    scores: dict[Program, set[int]] = {Program.ENGINE: set(), Program.WORKLOAD: set()}
    for domains in (DOMAINS, verified([MODEL, TUNING])):
        files = {path: content.decode() for path, content in compile_units(domains).items()}
        for unit in (unit for one in domains for unit in units_of(domains, one.domain.name)):
            template = (TEMPLATES / f"sealwright-{unit.program.value}@.service").read_text()
            own = files[f"/usr/lib/systemd/system/sealwright-{unit.name}.service.d/50-domain.conf"]
            told = re.findall(r"^OOMScoreAdjust=(\d+)$", f"{template}\n{own}", re.MULTILINE)
            scores[unit.program].add(int(told[-1]) if told else 0)
    assert scores == {Program.ENGINE: {500}, Program.WORKLOAD: {900}}


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ('trainer = "t"', 'trainer = "x"', "DOMAIN_UNKNOWN", "no workload of this domain"),
        ('workloads = ["t"]', "workloads = []", "DOMAIN_UNKNOWN", "no workload of this domain"),
        ("own_adapters = 2", "own_adapters = 0", "DOMAIN_CONFLICT", "run.own_adapters of at least 1"),
        ("engine = true", "engine = false", "DOMAIN_CONFLICT", "needs run.engine"),
        ("own_adapters = 2", "own_adapters = 4", "DOMAIN_EXCEEDS_CHAIN", "model upstream allows at most 3"),
        (
            "\n[run]",
            '\n[[member]]\nkind = "adapter"\nid = "more"\nbase = "m"\ntrainer = "t"\n\n[run]',
            "DOMAIN_CONFLICT",
            "has adapters of the customer already",
        ),
    ],
    ids=["unknown", "may not run", "none", "no engine", "more than upstream", "twice"],
)
def test_adapters_of_the_customer_need_their_owners_word(old: str, new: str, code: str, words: str) -> None:
    problems = find_problems(parse_texts({"model.toml": MODEL, "tuning.toml": replaced(TUNING, old, new)}))
    assert code in {one.code for one in problems}
    assert words in " ".join(map(str, problems))
