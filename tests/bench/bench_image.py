"""The image build: payload partitions against ``openssl speed``, and a whole build step by step.

``model_partition_mb_per_s`` is a whole partition: erofs, SHA-256 of the model, verity tree, encryption, SHA-256 of the
ciphertext, written to the disk image. ``model_partition_vs_openssl`` sets it against one core that does nothing but
AES-256-XTS over 4096 bytes that stay in its cache, so both hashes, two copies and the disk are in it;
``model_encryption_vs_openssl`` is the encryption step alone, ``sector_cipher_vs_openssl`` the cipher of one worker
without reading, writing or hashing. All sides take turns in one run.

The OS part is built twice from the same inputs; a root hash or UKI that differs fails the bench.
"""

from __future__ import annotations

import io
import mmap
import os
import re
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sealwright_image.cli import main as sealwright_image
from sealwright_image.config import PayloadConfig, load_config
from sealwright_image.context import make_context
from sealwright_image.dm_crypt import CHUNK, Extent, encrypt_extent
from sealwright_image.payload_partition import build_plain_partition
from sealwright_image.pipeline import build_image
from sealwright_image.progress import Progress
from sealwright_image.sector_cipher import SectorCipher
from sealwright_image.shares import draw_shares
from sealwright_policies.appraisal.reference_values import PayloadKind
from sealwright_testing.bench import Figure, figure, in_turns, ratio
from sealwright_testing.image_inputs import write_model, write_product, write_service

MODEL_BYTES = 512 * 1024 * 1024
ROUNDS = 5
CIPHER_BYTES = 256 * 1024 * 1024
OPENSSL = "openssl speed -evp aes-256-xts -bytes 4096, one core"


def measure() -> Iterator[Figure]:
    """All figures."""
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-", dir="/var/tmp") as scratch:
        yield from _partitions(Path(scratch))
        yield from _whole_build(Path(scratch))


def _partitions(scratch: Path) -> Iterator[Figure]:
    model = write_model(scratch / "model.gguf", MODEL_BYTES)
    (scratch / "license").write_text("bench\n")
    payload = PayloadConfig("bench", PayloadKind.MODEL, "bench", model, scratch / "license")
    encryption: list[float] = []

    def partition() -> float:
        """A whole partition, MB/s of the model; keeps the rate of its encryption step."""
        work = scratch / "work"
        work.mkdir()
        context = make_context(work, Progress(io.StringIO()))
        disk = work / "disk.raw"
        disk.touch()
        started = time.perf_counter()
        plain = build_plain_partition(context, payload, uuid.uuid4())
        begun = time.perf_counter()
        encrypt_extent(Extent(plain.image, disk, 0, plain.size), draw_shares().volume_key(plain.partition_id, None))
        ended = time.perf_counter()
        encryption.append(plain.size / 1e6 / (ended - begun))
        shutil.rmtree(work)
        return model.stat().st_size / 1e6 / (ended - started)

    whole, openssl, cipher = in_turns(ROUNDS, partition, _openssl, _cipher)
    yield figure("model_partition_mb_per_s", whole, "MB/s")
    yield ratio("model_partition_vs_openssl", whole, openssl, against=OPENSSL)
    yield figure("model_encryption_mb_per_s", encryption, "MB/s")
    yield ratio("model_encryption_vs_openssl", encryption, openssl, against=OPENSSL)
    yield ratio("sector_cipher_vs_openssl", cipher, openssl, against=OPENSSL)


def _openssl() -> float:
    """MB/s of one core."""
    argv = ["openssl", "speed", "-seconds", "1", "-bytes", "4096", "-evp", "aes-256-xts"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = re.search(r"^AES-256-XTS\s+([0-9.]+)k", done.stdout, re.MULTILINE | re.IGNORECASE)
    if found is None:
        raise RuntimeError(f"openssl speed said: {done.stdout}")
    return float(found[1]) * 1000 / 1e6


def _cipher() -> float:
    """MB/s of the cipher of one worker."""
    cipher = SectorCipher(draw_shares().volume_key(os.urandom(32), None))
    plain, encrypted = mmap.mmap(-1, CHUNK), mmap.mmap(-1, CHUNK)
    cipher.encrypt(plain, encrypted, CHUNK, 0)
    started = time.perf_counter()
    for offset in range(0, CIPHER_BYTES, CHUNK):
        cipher.encrypt(plain, encrypted, CHUNK, offset)
    return CIPHER_BYTES / 1e6 / (time.perf_counter() - started)


def _whole_build(scratch: Path) -> Iterator[Figure]:
    """Builds of a product with the 512 MB model: with the OS part made anew, from the cache, and made anew again.

    Raises:
        RuntimeError: the OS part did not come out the same.
    """
    folder = scratch / "product"
    folder.mkdir()
    sealwright_image(["keygen", str(folder / "keys"), "--json"])
    write_service(folder / "license-service.json")
    (scratch / "model.gguf").rename(folder / "bench.gguf")
    (folder / "LICENSE.txt").write_text("bench\n")
    write_product(folder, "bench")
    config = load_config(folder / "product.toml")
    made: dict[str, tuple[str, str]] = {}
    for name, refresh in (("build", True), ("build_os_cached", False), ("build_again", True)):
        progress = Progress(io.StringIO())
        started = time.perf_counter()
        image = build_image(config, folder / name, progress, refresh_os=refresh).release.manifest.os
        yield figure(f"{name}_s", [time.perf_counter() - started], "s")
        for step in progress.steps:
            yield figure(f"{name}_s: {step.name}", [step.seconds], "s")
        shutil.rmtree(folder / name)
        made[name] = (image.root_hash, image.uki_sha256)
    if len(set(made.values())) > 1:
        raise RuntimeError(f"root hash and UKI are not the same in each build: {made}")
