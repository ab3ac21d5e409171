"""What a build refuses before it starts, each with the file and the reason."""

from __future__ import annotations

import datetime
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sealwright_image.config import Config, load_config
from sealwright_image.context import build_epoch, cache_directory, make_context
from sealwright_image.keys import generate_keys
from sealwright_image.payload_tree import entries, stage_tree
from sealwright_image.preflight import Space, check_inputs, check_space, check_tools, space_needed
from sealwright_image.progress import Progress
from sealwright_policies.errors import (
    FormatError,
    OperationError,
    SealwrightError,
    UnsupportedError,
    UsageError,
    VerificationError,
)
from sealwright_testing.domain_texts import serving_text
from sealwright_testing.image_inputs import write_model, write_product, write_service, write_training
from sealwright_testing.models.concept_gguf import write_concept_gguf


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys") / "keys"
    generate_keys(folder, organisation="Example", now=datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC))
    return folder


@pytest.fixture
def product(tmp_path: Path, keys: Path) -> Path:
    """A product folder that can be built."""
    shutil.copytree(keys, tmp_path / "keys")
    write_service(tmp_path / "license-service.json")
    write_model(tmp_path / "medical.gguf", 4096)
    (tmp_path / "LICENSE.txt").write_text("Apache-2.0\n")
    write_product(tmp_path, "medical")
    return tmp_path


def config_of(product: Path) -> Config:
    return load_config(product / "product.toml")


def test_a_good_product_passes(product: Path) -> None:
    inputs = check_inputs(config_of(product))
    assert inputs.models["medical"].name == "tiny"
    assert [one.domain.name for one in inputs.domains] == ["medical"]


def domain_of(product: Path) -> Path:
    return product / "domains/medical.toml"


def make_data_set(product: Path) -> None:
    edit(product, '"model"', '"data-set"')
    edit(product, "medical.gguf", "domains")
    domain_of(product).write_text(domain_of(product).read_text().replace('"model"', '"data-set"'))


def edit(product: Path, old: str, new: str) -> None:
    file = product / "product.toml"
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("damage", "error", "told"),
    [
        (lambda p: (p / "medical.gguf").unlink(), UsageError, "'medical': .*medical.gguf is missing or not a file"),
        (lambda p: edit(p, "medical.gguf", "keys"), UsageError, "missing or not a file"),
        (lambda p: (p / "medical.gguf").write_bytes(b"<html>"), FormatError, "'medical': .*not a GGUF file"),
        (lambda p: (p / "LICENSE.txt").unlink(), UsageError, "LICENSE.txt cannot be read: No such file"),
        (lambda p: (p / "LICENSE.txt").write_text(" \n"), UsageError, "LICENSE.txt is empty"),
        (lambda p: (p / "LICENSE.txt").write_bytes(b"\xff"), UsageError, "LICENSE.txt is not UTF-8"),
        (lambda p: (p / "LICENSE.txt").write_bytes(b"x" * 300_000), UsageError, "longer than 262144 bytes"),
        (lambda p: edit(p, '"model"', '"data-set"'), UsageError, "medical.gguf is missing or not a folder"),
        (
            make_data_set,
            UsageError,
            "no payload is a model",
        ),
        (lambda p: (p / "license-service.json").unlink(), UsageError, "sealwright-license init"),
        (lambda p: shutil.rmtree(p / "keys"), UsageError, "sealwright-image keygen"),
        (lambda p: domain_of(p).unlink(), UsageError, "medical.toml: No such file"),
        (lambda p: domain_of(p).write_text("x = 1"), FormatError, "medical.toml: line 1: x: no such key"),
        (
            lambda p: domain_of(p).write_text(serving_text("finance", ["medical"])),
            FormatError,
            "name: domain finance stands in finance.toml",
        ),
        (
            lambda p: domain_of(p).write_text(serving_text("medical", ["other"])),
            UsageError,
            r"'medical': domain medical has no such member of kind model \(.*medical.toml: line 15\)",
        ),
        (
            lambda p: domain_of(p).write_text(serving_text("medical", ["medical"]).replace('"1000"', '"1.0"')),
            UsageError,
            r"domain medical opens for releases from 0 on and below 1.0, and this is 1.0 \(.*medical.toml: line 9\)",
        ),
        (
            lambda p: domain_of(p).write_text(
                serving_text("medical", ["medical"]) + "\n[retention]\nprompts_days = 31\n"
            ),
            VerificationError,
            "DOMAIN_EXCEEDS_LEVEL: .*medical.toml: line 39: retention.prompts_days",
        ),
        (
            lambda p: edit(p, "version", 'accelerator = "cuda"\nversion'),
            UnsupportedError,
            "accelerator: no image for a GPU is made yet",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(
    product: Path, damage: Callable[[Path], object], error: type[SealwrightError], told: str
) -> None:
    damage(product)
    with pytest.raises(error, match=told):
        check_inputs(config_of(product))


def test_no_space_says_how_much_is_needed_and_where(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"1048576\.0 GiB in .* for the image are needed, .* are free") as caught:
        check_space([Space(tmp_path / "not" / "there", 2**50, "the image")])
    assert "another disk" in caught.value.cure
    check_space([Space(tmp_path, 1, "the image")])


def test_space_on_one_disk_is_added_up(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    both = [Space(tmp_path, free * 2 // 3, "the image"), Space(tmp_path, free * 2 // 3, "the OS part")]
    check_space(both[:1])
    with pytest.raises(OperationError, match=r"for the image and .* for the OS part"):
        check_space(both)


def test_the_space_needed_grows_with_the_models_and_a_first_os_build(
    product: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(product / "cache"))
    context = make_context(product, Progress())
    config = config_of(product)
    small = space_needed(config, product / "out", context, os_cached=True)
    write_model(product / "medical.gguf", 32 * 1024 * 1024)
    large = space_needed(config, product / "out", context, os_cached=False)
    assert large[0].needed - small[0].needed >= 3 * 31 * 1024 * 1024
    assert (len(small), len(large)) == (1, 2)
    with pytest.raises(OperationError, match="make setup"):
        check_tools(context)


def test_the_time_stamp_comes_from_source_date_epoch() -> None:
    assert build_epoch({"SOURCE_DATE_EPOCH": "1750000000"}) == 1_750_000_000
    assert build_epoch({}) == build_epoch({})
    for wrong in ("now", "-1", "1.5", "9" * 30):
        with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
            build_epoch({"SOURCE_DATE_EPOCH": wrong})


def test_the_cache_is_where_the_user_says() -> None:
    assert cache_directory({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/sealwright")
    assert cache_directory({"HOME": "/h"}) == Path("/h/.cache/sealwright")


def test_data_sets_and_workloads_are_folders(product: Path) -> None:
    write_training(product)
    config = config_of(product)
    assert check_inputs(config).models.keys() == {"medical"}
    assert [one.kind.value for one in config.payloads] == ["model", "data-set", "workload"]


@pytest.mark.parametrize(
    ("damage", "error", "told"),
    [
        (lambda p: (p / "lora/program").chmod(0o644), UsageError, "no executable file 'program'"),
        (lambda p: (p / "records/a.csv").unlink(), UsageError, "'records': .* is empty"),
        (lambda p: (p / "records/b").symlink_to("a.csv"), UsageError, "records/b is a link"),
        (lambda p: os.mkfifo(p / "lora/pipe"), UsageError, "lora/pipe is no file, folder or link"),
        (lambda p: (p / "lora/program").chmod(0o4755), UsageError, "program is setuid or setgid"),
        (
            lambda p: domain_of(p).write_text(domain_of(p).read_text().replace('workloads = ["lora"]', "")),
            UsageError,
            r"'lora': domain medical does not let it run \(.*medical.toml: line",
        ),
    ],
)
def test_a_folder_that_no_box_would_take_is_refused(
    product: Path, damage: Callable[[Path], object], error: type[SealwrightError], told: str
) -> None:
    write_training(product)
    damage(product)
    with pytest.raises(error, match=told):
        check_inputs(config_of(product))


def test_links_of_a_workload_stay_links_and_modes_are_those_that_a_box_needs(product: Path, tmp_path: Path) -> None:
    folder = write_training(product)
    (folder / "lib").mkdir(mode=0o700)
    (folder / "lib/private").write_text("x")
    (folder / "lib/private").chmod(0o600)
    (folder / "own").write_bytes(b"\x7fELF")
    (folder / "own").chmod(0o700)
    (folder / "link").symlink_to("lib/private")
    check_inputs(config_of(product))
    stage = tmp_path / "stage"
    stage.mkdir()
    stage_tree(folder, stage)
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in entries(stage) if not path.is_symlink()}
    assert modes == {"lib": 0o755, "private": 0o444, "own": 0o555, "program": 0o755}
    assert (stage / "link").readlink() == Path("lib/private")
    assert (stage / "program").samefile(folder / "program")
    assert stat.S_IMODE((folder / "own").stat().st_mode) == 0o700


def named_for_documents(product: Path) -> None:
    path = product / "product.toml"
    path.write_text(path.read_text().replace("[[payload]]", '[documents]\nembeddings = "medical"\n\n[[payload]]', 1))


def test_a_model_whose_vectors_may_not_leave_searches_no_documents(product: Path) -> None:
    """They would lie on the customer's disk."""
    named_for_documents(product)
    write_concept_gguf(product / "medical.gguf")
    check_inputs(config_of(product))
    domain = domain_of(product)
    domain.write_text(domain.read_text().replace("embeddings = true", "embeddings = false"))
    with pytest.raises(UsageError, match="does not let vectors out"):
        check_inputs(config_of(product))


def test_a_model_that_makes_no_vectors_searches_no_documents(product: Path) -> None:
    named_for_documents(product)
    with pytest.raises(UsageError, match="no embedding model"):
        check_inputs(config_of(product))
