"""The cache of OS parts: what makes a new one, what is reused, what is thrown away."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import pytest

from sealwright_image.context import Context
from sealwright_image.os_build import OsBuild, OsConfig, SecureBootSigner
from sealwright_image.os_part import KEPT_DAYS, OsSource, build_or_reuse, cache_key, is_cached
from sealwright_image.progress import Progress
from sealwright_image.run import Tools
from sealwright_policies.errors import OperationError


@dataclasses.dataclass
class Builder:
    """Counts the builds and writes what a build writes."""

    builds: int = 0
    fails: bool = False

    def __call__(self, config: OsConfig, context: Context, output: Path) -> OsBuild:
        self.builds += 1
        for name in ("root", "verity", "uki", "packages", "trusted"):
            (output / name).write_text(f"{name} {self.builds}")
        if self.fails:
            raise OperationError("mkosi failed")
        return OsBuild(
            root=output / "root",
            verity=output / "verity",
            verity_signature=None,
            root_hash="00" * 32,
            root_partition_uuid="a",
            verity_partition_uuid="b",
            uki=output / "uki",
            command_line="roothash=00",
            kernel_version="6.12",
            systemd_version="257",
            mkosi_version="25.3",
            package_manifest=output / "packages",
            trusted_base=output / "trusted",
            executables=("/usr/bin/python3",),
        )


@dataclasses.dataclass
class Room:
    """Everything around the cache."""

    config: OsConfig
    context: Context
    builder: Builder
    source: OsSource

    def get(self, config: OsConfig | None = None, *, refresh: bool = False) -> OsBuild:
        return build_or_reuse(config or self.config, self.context, self.source, refresh=refresh)

    def version(self, version: str) -> OsConfig:
        return dataclasses.replace(self.config, version=version)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    for name in ("engine", "recipe", "db.pem"):
        (tmp_path / name).write_text(name)
    (tmp_path / "cache").mkdir()
    builder = Builder()
    config = OsConfig(
        product="advisor",
        version="1.0",
        python_packages=(),
        engine=tmp_path / "engine",
        shared_files={"product.json": b"{}"},
        domain_files={"/etc/apparmor.d/sealwright-engine-m": b"profile"},
        workload_root_hashes=("1a" * 32,),
        firewall="table inet sealwright {}\n",
        signer=SecureBootSigner(tmp_path / "db.key", tmp_path / "db.pem"),
    )
    context = Context(tmp_path / "cache", tmp_path, Tools(), Progress(io.StringIO()), 0)
    source = OsSource(
        engine=lambda: tmp_path / "engine", build=builder, recipe=(tmp_path / "recipe",), python_packages=()
    )
    return Room(config, context, builder, source)


def test_the_same_inputs_are_built_once(room: Room) -> None:
    first, second = room.get(), room.get()
    assert room.builder.builds == 1
    assert first == second
    assert second.root.read_text() == "root 1"
    assert second.executables == ("/usr/bin/python3",)


def test_a_change_of_any_input_is_built_anew(room: Room, tmp_path: Path) -> None:
    room.get()
    changes = [
        room.version("1.1"),
        dataclasses.replace(room.config, product="other"),
        dataclasses.replace(room.config, packages=("curl",)),
        dataclasses.replace(room.config, mirror="https://mirror.example/debian"),
        dataclasses.replace(room.config, extra_command_line=("quiet",)),
        dataclasses.replace(room.config, shared_files={"product.json": b"[]"}),
        dataclasses.replace(room.config, domain_files={"/etc/apparmor.d/sealwright-engine-m": b"other"}),
        dataclasses.replace(room.config, workload_root_hashes=()),
        dataclasses.replace(room.config, vector_extension=tmp_path / "engine"),
        dataclasses.replace(room.config, extra_tree=tmp_path / "cache"),
    ]
    for number, change in enumerate(changes, start=2):
        room.get(change)
        assert room.builder.builds == number, change
    for file in ("engine", "recipe", "db.pem"):
        (tmp_path / file).write_text("changed")
        room.get()
    assert room.builder.builds == 1 + len(changes) + 3
    room.context = dataclasses.replace(room.context, epoch=1)
    room.get()
    assert room.builder.builds == 1 + len(changes) + 4


def test_refresh_builds_it_in_any_case(room: Room) -> None:
    room.get()
    assert room.get(refresh=True).root.read_text() == "root 2"
    assert room.get().root.read_text() == "root 2"


def test_a_failed_build_leaves_nothing_in_the_cache(room: Room) -> None:
    room.builder.fails = True
    with pytest.raises(OperationError):
        room.get()
    assert not is_cached(room.config, room.context, room.source)
    assert list((room.context.cache / "os-images").iterdir()) == []


def test_a_damaged_entry_is_told_with_the_cure(room: Room) -> None:
    room.get()
    entry = room.context.cache / "os-images" / cache_key(room.config, room.context, room.source)
    (entry / "facts.json").write_text("{")
    with pytest.raises(OperationError, match="Remove"):
        room.get()


def test_what_no_build_takes_any_more_is_removed(room: Room) -> None:
    room.get()
    room.get(room.version("1.1"))
    images = room.context.cache / "os-images"
    for entry in images.iterdir():
        os.utime(entry, (0, entry.stat().st_mtime - (KEPT_DAYS + 1) * 86_400))
    room.get()  # taken, so it stays
    room.get(room.version("1.2"))
    assert len(list(images.iterdir())) == 2
    assert is_cached(room.config, room.context, room.source)
