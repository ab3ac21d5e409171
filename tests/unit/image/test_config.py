"""The product file: what is read from it, and how each mistake is told with line and key."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from sealwright_image.config import load_config, parse_config
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_policies.engines import DocumentVectors
from sealwright_policies.errors import UsageError
from sealwright_policies.toml_location import find_line
from sealwright_testing.image_inputs import product_text

FILE = Path("/srv/product/product.toml")


def problem_of(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse_config(text, FILE)
    return str(caught.value)


def test_paths_are_relative_to_the_file() -> None:
    config = parse_config(product_text("medical", "finance"), FILE)
    assert config.keys == Path("/srv/product/keys")
    assert [payload.path for payload in config.payloads] == [
        Path("/srv/product/medical.gguf"),
        Path("/srv/product/finance.gguf"),
    ]
    assert config.payloads[0].kind is PayloadKind.MODEL
    assert config.domains == (Path("/srv/product/domains/medical.toml"),)
    assert config.payloads[0].partition_label == "payload-medical"
    assert config.flavour == "production"
    assert config.state_bytes == 512 * 1024 * 1024


def test_the_seed_follows_from_what_the_product_is() -> None:
    one, other = product_text("a"), product_text("a").replace('"1.0"', '"1.1"')
    assert parse_config(one, FILE).seed == parse_config(one, Path("/elsewhere/p.toml")).seed
    assert parse_config(one, FILE).seed != parse_config(other, FILE).seed


def test_peers_are_networks() -> None:
    text = product_text("medical").replace('version = "1.0"', 'version = "1.0"\npeers = ["10.1.0.0/24", "fd00::7"]')
    assert parse_config(text, FILE).peers == (ip_network("10.1.0.0/24"), ip_network("fd00::7"))
    assert parse_config(product_text("medical"), FILE).peers == ()


def test_a_ledger_lies_beside_the_product_file() -> None:
    text = product_text("medical").replace('version = "1.0"', 'version = "1.0"\nledger = "tcb-ledger.toml"')
    assert parse_config(text, FILE).ledger == FILE.parent / "tcb-ledger.toml"
    assert parse_config(product_text("medical"), FILE).ledger is None


def test_a_syntax_error_names_its_line() -> None:
    assert "line 3" in problem_of('vendor = "x"\nproduct = "y"\nversion = \n')


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000 + "]" * 5000])
def test_what_tomllib_stumbles_over_is_no_toml(value: str) -> None:
    assert "not TOML" in problem_of(f"vendor = {value}\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('version = "1.0"\n', "", "line 1: version: this key is missing"),
        ('version = "1.0"', 'version = "1.0-beta"', "line 3: version: "),
        ('version = "1.0"', 'version = "1.0"\nflavor = "test"', "line 4: flavor: no such key"),
        ('version = "1.0"', 'version = "1.0"\npeers = ["10.0.0.1/24"]', "line 4: peers: 10.0.0.1/24 has host bits set"),
        ('version = "1.0"', 'version = "1.0"\npeers = ["0.0.0.0/0"]', "line 4: peers: 0.0.0.0/0: broader than /24"),
        ('version = "1.0"', 'version = "1.0"\npeers = ["10.0.0.0/23"]', "line 4: peers: 10.0.0.0/23: broader than /24"),
        ('version = "1.0"', 'version = "1.0"\npeers = ["fd00::/63"]', "line 4: peers: fd00::/63: broader than /64"),
        ('version = "1.0"', 'version = "1.0"\npeers = ["127.0.0.1"]', "line 4: peers: 127.0.0.1/32: loopback"),
        (
            'version = "1.0"',
            'version = "1.0"\npeers = ["fd00::1", "fd00::1/128"]',
            "line 4: peers: a network stands twice",
        ),
        ('product = "sealed-advisor"', 'product = "Sealed Advisor"', "line 2: product: "),
        ('kind = "model"', 'kind = "modle"', "line 10: payload[0].kind: "),
        ('id = "medical"', 'id = "Medical Model"', "line 9: payload[0].id: "),
        ('id = "medical"\n', "", "line 8: payload[0].id: this key is missing"),
        ('domain = "medical"', "domain = 7", "line 11: payload[0].domain: "),
        ('domains = ["domains/medical.toml"]\n', "", "line 1: domains: this key is missing"),
        ("domains/medical.toml", "domains/finance.toml", "line 11: payload[0].domain: no medical.toml is among"),
        ('toml"]', 'toml", "old/medical.toml"]', "line 6: domains: two files of one name"),
        ('kind = "model"', 'kind = "model"\npolicy = "x"', "line 11: payload[0].policy: no such key"),
    ],
)
def test_a_schema_error_names_line_and_key(old: str, new: str, told: str) -> None:
    text = product_text("medical")
    assert old in text
    assert f"{FILE}: {told}" in problem_of(text.replace(old, new, 1))


def test_all_schema_errors_are_told_at_once() -> None:
    text = product_text("medical").replace('version = "1.0"', 'version = "x"').replace('"model"', '"video"')
    assert len(problem_of(text).splitlines()) == 2


def test_an_error_in_the_second_payload_names_the_second_payload() -> None:
    text = product_text("medical", "finance")
    place = text.rindex('kind = "model"')
    wrong = text[:place] + 'kind = "nonsense"' + text[place + len('kind = "model"') :]
    line = wrong[: wrong.index('"nonsense"')].count("\n") + 1
    assert f"line {line}: payload[1].kind" in problem_of(wrong)


def test_an_id_used_twice_names_both_lines() -> None:
    told = problem_of(product_text("medical", "medical"))
    assert "line 16: payload[1].id: 'medical' is already the id of the payload in line 9" in told


def test_no_payload_at_all_is_refused() -> None:
    assert "payload: this key is missing" in problem_of(product_text())


@pytest.mark.parametrize("key", ['extra_tree = "planted"', 'extra_command_line = ["systemd.log_level=debug"]'])
def test_only_a_test_image_may_have_something_planted(key: str) -> None:
    text = product_text("medical", head=f"[os]\n{key}")
    assert 'only with flavour = "test"' in problem_of(text)
    parse_config(text.replace("version", 'flavour = "test"\nversion'), FILE)


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_config(tmp_path / "missing.toml")
    with pytest.raises(UsageError, match="directory"):
        load_config(tmp_path)


def test_a_file_that_is_not_text_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "product.toml").write_bytes(b'vendor = "x"\nproduct = "\xff"\n')
    with pytest.raises(UsageError, match="line 2: not UTF-8"):
        load_config(tmp_path / "product.toml")


def test_an_endless_file_is_not_read() -> None:
    with pytest.raises(UsageError, match="longer than"):
        load_config(Path("/dev/zero"))


def test_lines_are_found_in_tables_and_arrays_of_tables() -> None:
    text = '# head\nname = "x"\n\n[os]\npackages = ["a"]\n[[payload]]\nid = "1"\n[[payload]]\nid = "2"\n'
    assert find_line(text, ("name",)) == 2
    assert find_line(text, ("os", "packages", 0)) == 5
    assert find_line(text, ("payload", 1, "id")) == 9
    assert find_line(text, ("payload", 1, "kind")) == 8


def test_the_model_for_documents_is_one_of_the_models() -> None:
    table = '[documents]\nembeddings = "medical"\nquestion_prefix = "query: "\n\n[[payload]]'
    text = product_text("medical").replace("[[payload]]", table, 1)
    assert parse_config(text, FILE).documents == DocumentVectors(model="medical", question_prefix="query: ")
    assert parse_config(product_text("medical"), FILE).documents is None
    told = problem_of(text.replace('embeddings = "medical"', 'embeddings = "other"'))
    assert (
        f"line {text[: text.index('embeddings')].count(chr(10)) + 1}: documents.embeddings: no payload of kind model"
        in told
    )
    assert "String should have at most 256" in problem_of(text.replace("query: ", "q" * 257))


def test_vllm_needs_an_accelerator() -> None:
    text = product_text("medical", head='engine = "vllm"')
    assert 'engine: "vllm" needs accelerator = "cuda"' in problem_of(text)
    found = parse_config(product_text("medical", head='engine = "vllm"\naccelerator = "cuda"'), FILE)
    assert (found.engine, found.accelerator) == ("vllm", "cuda")
    plain = parse_config(product_text("medical"), FILE)
    assert (plain.engine, plain.accelerator) == ("llama-server", "none")


def test_an_engine_of_which_nobody_knows_is_refused() -> None:
    assert "engine: Input should be 'llama-server' or 'vllm'" in problem_of(
        product_text("medical", head='engine = "sglang"')
    )
