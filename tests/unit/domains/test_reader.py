"""A domain file that is malformed is told with file, line and key."""

from __future__ import annotations

import pytest

from sealwright_policies.domains.reader import DOMAIN_FILE_LIMIT, parse_domain
from sealwright_policies.errors import FormatError
from sealwright_testing.domain_texts import domain_text, parse, replaced

MEMBER = '\n[[member]]\nkind = "model"\nid = "m"\n'
EGRESS = '\n[[egress]]\nhost = "{host}"\nport = 443\n{more}'


def problem_of(text: str) -> str:
    with pytest.raises(FormatError) as caught:
        parse_domain(text.encode(), "small.toml")
    return str(caught.value)


def test_what_is_not_written_is_the_strictest() -> None:
    domain = parse(domain_text()).domain
    assert [domain.egress, domain.flow, domain.chain, domain.member, domain.metering.counters] == [()] * 5
    assert [domain.run.engine, domain.run.workloads, domain.run.writable_code] == [False, (), False]
    assert [domain.api.completions, domain.api.embeddings, domain.api.logprobs] == [False, False, 0]
    assert [domain.api.tokens_per_day, domain.retention.prompts_days] == [0, 0]
    assert domain.api.pad_stream


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("schema = 1", "schema = 2", "line 1: schema: "),
        ("schema = 1\n", "", "line 1: schema: this key is missing."),
        ("schema = 1", 'schema = "1"', "line 1: schema: "),
        ("schema = 1", "schema = 1\nschema_ = 1", "line 2: schema_: no such key."),
        ('"small"', '"Small"', "line 2: name: "),
        ('"small"', f'"{"s" * 29}"', "line 2: name: "),
        ('"small"', '"a_b"', "line 2: name: "),
        ('"internal"', '"secret"', "line 3: level: "),
        ('"internal"', "2026-01-01", "line 3: level: "),
        ('kind = "vendor"', 'kind = "state"', "line 6: owner.kind: "),
        ('name = "somebody"', 'name = ""', "line 7: owner.name: "),
        ('name = "somebody"', "name = 2026-01-01", "line 7: owner.name: "),
        ("features = []", "features = [2026-01-01]", "line 13: open.features[0]: "),
        ('name = "somebody"', 'name = "a\\nb"', "line 7: owner.name: "),
        ("features = []\n", "", "line 9: open.features: this key is missing."),
        ('tiers = ["discrete"]', "tiers = []", "line 12: open.tiers: "),
        ('tiers = ["discrete"]', 'tiers = ["discrete", "discrete"]', "line 12: open.tiers: discrete stands twice."),
        ('tiers = ["discrete"]', 'tiers = "discrete"', "line 12: open.tiers: "),
        ('"2.0"', '"1.0"', "line 9: open: no version is from from_version on and below below_version."),
        ('"2.0"', '"v2"', "line 11: open.below_version: "),
    ],
)
def test_a_wrong_value_is_told_with_line_and_key(old: str, new: str, told: str) -> None:
    assert problem_of(replaced(domain_text(), old, new)).startswith(f"small.toml: {told}")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("[api]\nlogprobs = 6\n", "line 15: api.logprobs: "),
        ("[api]\nlogprobs = true\n", "line 15: api.logprobs: "),
        ("[api]\nlogprobs = 1.0\n", "line 15: api.logprobs: "),
        ("[api]\nlogprobs = nan\n", "line 15: api.logprobs: "),
        ("[api]\nlogprobs = 2026-01-01\n", "line 15: api.logprobs: "),
        ("[api]\nembeddings = 1\n", "line 15: api.embeddings: "),
        ("[api]\nlogit_bias = true\n", "line 15: api.logit_bias: no such key."),
        ("[run]\nworkloads = [1]\n", "line 15: run.workloads[0]: "),
        ("[metering]\ncounters = ['prompts']\n", "line 15: metering.counters[0]: "),
        ("[resources]\nresults_mib = 3\n", "line 14: resources: results_mib is 0 or at least 4."),
        (MEMBER + "base = 'x'\n", "line 15: member[0]: an adapter, and nothing else, names its base."),
        (MEMBER + MEMBER, "line 15: member: m stands twice."),
        (MEMBER.replace("model", "adapter"), "line 15: member[0]: an adapter, and nothing else, names its base."),
        ("\n[[flow]]\nto = 'a'\nforms = []\n", "line 17: flow[0].forms: "),
        ("\n[[flow]]\nto = 'a'\nforms = ['weights']\n", "line 17: flow[0].forms[0]: "),
        ("\n[[chain]]\nsource = 'a'\nforms = ['raw']\n", "line 15: chain[0].from: this key is missing."),
        ("chain = 2026-01-01\n", "line 14: open.chain: no such key."),
    ],
)
def test_a_wrong_table_is_told_with_line_and_key(more: str, told: str) -> None:
    assert f"small.toml: {told}" in problem_of(domain_text(more=more))


@pytest.mark.parametrize(
    ("host", "more"),
    [
        ("api.example", ""),  # without addresses
        ("192.0.2.1", "addresses = ['192.0.2.1']"),
        ("API.example", "addresses = ['192.0.2.1']"),
        ("a..b", "addresses = ['192.0.2.1']"),
        ("-a.example", "addresses = ['192.0.2.1']"),
        ("*.example", "addresses = ['192.0.2.1']"),
        ("1.2.3", "addresses = ['192.0.2.1']"),  # some resolvers read it as an address
        ("api.example", "addresses = ['192.0.0.0/23']"),
        ("api.example", "addresses = ['2001:db8::/63']"),
        ("api.example", "addresses = ['192.0.2.1/24']"),  # host bits
        ("api.example", "addresses = ['192.0.2.01']"),
        ("api.example", "addresses = ['2001:DB8::1']"),
        ("api.example", "addresses = ['192.0.2.1', '192.0.2.1']"),
        ("api.example", "addresses = ['::ffff:192.0.2.1']"),
        ("api.example", "addresses = ['other.example']"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("169.254.169.254", ""),
        ("fe80::1", ""),
        ("224.0.0.1", ""),
        ("0.0.0.0", ""),
        ("255.255.255.255", ""),
        ("192.0.2.1", "protocol = 'icmp'"),
        ("192.0.2.1", "protocol = 'TCP'"),
    ],
)
def test_an_endpoint_is_one_host_at_known_addresses(host: str, more: str) -> None:
    assert "small.toml: line 1" in problem_of(domain_text(more=EGRESS.format(host=host, more=more)))


@pytest.mark.parametrize(
    ("host", "more"),
    [
        ("192.0.2.1", ""),
        ("2001:db8::1", ""),
        ("api.example", "addresses = ['192.0.2.0/24', '2001:db8::/64']"),
        ("xn--bcher-kva.example", "protocol = 'udp'\naddresses = ['192.0.2.1']"),
    ],
)
def test_a_good_endpoint_is_read(host: str, more: str) -> None:
    (endpoint,) = parse(domain_text(more=EGRESS.format(host=host, more=more))).domain.egress
    assert endpoint.host == host


def test_all_problems_are_told_at_once() -> None:
    told = problem_of(replaced(replaced(domain_text(), '"internal"', '"x"'), '"vendor"', '"y"'))
    assert [line.split(": ")[1] for line in told.splitlines()] == ["line 3", "line 6"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"schema = \n", "not TOML"),
        (b"a = 1\nb = \xff", "line 2: not UTF-8"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deep"),
        (b"a = " + b"9" * 5000, "not TOML"),
        (b"[owner]\n" * 2, "not TOML"),
        (b"#" * (DOMAIN_FILE_LIMIT + 1), "at most"),
    ],
)
def test_what_is_no_toml_is_malformed(data: bytes, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        parse_domain(data, "x.toml")
