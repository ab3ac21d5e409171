"""What is checked before a build starts, so that it does not fail after minutes: models, texts, keys, space, tools."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sealwright_image.config import Config, PayloadConfig
from sealwright_image.context import Context
from sealwright_image.custodians import Custodians, load_custodians
from sealwright_image.domains import load_domains, load_signed
from sealwright_image.gguf import Gguf, read_gguf
from sealwright_image.keys import BuildKeys, load_keys
from sealwright_image.payload_partition import LICENSE_LIMIT, MIB, predicted_size
from sealwright_image.payload_tree import check_tree, tree_bytes
from sealwright_image.workload_image import load_image
from sealwright_policies.appraisal.reference_values import PayloadKind, SignedDomain
from sealwright_policies.domains.chain import Domains
from sealwright_policies.domains.compiler.outflow import outflow
from sealwright_policies.errors import FormatError, OperationError, UnsupportedError, UsageError

POOLING = (1, 2, 3)
"""LLAMA_POOLING_TYPE_MEAN, CLS and LAST of llama.cpp's llama.h."""
OS_IN_OUTPUT = 1024 * MIB
"""Bytes that root, verity tree, ESP, UKI and documents take in the output, with room."""
OS_IN_CACHE = 4096 * MIB
"""Bytes that a first build of the OS part takes in the cache, with room."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a build starts from, checked."""

    keys: BuildKeys
    custodians: Custodians
    models: Mapping[str, Gguf]
    """By payload id; data sets and workloads have none."""
    domains: Domains
    """Judged together."""
    signed: Mapping[str, SignedDomain]
    """What owners have signed, by domain; domains that name no key have none."""


def check_inputs(config: Config) -> Inputs:
    """Read keys, licence service and payloads.

    Raises:
        UsageError, FormatError, UnsupportedError: with the file that is wrong, and why.
        VerificationError: the domains are refused.
    """
    _require_processor(config)
    keys = load_keys(config.keys)
    custodians = load_custodians(config.license_service)
    if config.extra_tree and not config.extra_tree.is_dir():
        raise UsageError(f"{config.extra_tree}: no such folder (os.extra_tree).")
    for payload in config.payloads:
        _check_license(payload)
        if payload.is_packed:
            load_image(payload.path)
        elif payload.kind is not PayloadKind.MODEL:
            check_tree(payload.kind, payload.path, f"Payload {payload.payload_id!r}")
    models = {one.payload_id: _check_model(one) for one in config.payloads if one.kind is PayloadKind.MODEL}
    if not models:
        raise UsageError(f"{config.product_file}: no payload is a model; a box that has none to serve ends.")
    domains = load_domains(config)
    if config.documents is not None:
        _check_embeddings(config.documents.model, models[config.documents.model], domains)
    return Inputs(keys, custodians, models, domains, load_signed(domains))


def _require_processor(config: Config) -> None:
    if config.accelerator != "none":
        raise UnsupportedError(
            f"{config.product_file}: accelerator: no image for a GPU is made yet: the driver, and what of it an engine"
            " may touch, are in none (docs/gpu.md). Leave the key out, and models run on the processor."
        )


def _check_model(payload: PayloadConfig) -> Gguf:
    try:
        if not payload.path.is_file():
            raise UsageError(f"Payload {payload.payload_id!r}: {payload.path} is missing or not a file.")
        return read_gguf(payload.path)
    except OSError as error:
        raise _unreadable(payload, error) from error
    except FormatError as error:
        raise FormatError(f"Payload {payload.payload_id!r}: {error}") from error


def _check_embeddings(name: str, model: Gguf, domains: Domains) -> None:
    """The model by which documents are searched: its vectors may lie on the customer's disk, and it makes some."""
    if not outflow(domains).of(name).embeddings:
        raise UsageError(
            f"Payload {name!r}: documents.embeddings names it, and its domain does not let vectors out:"
            " [api] embeddings = true."
        )
    if model.numbers.get("pooling_type", 0) not in POOLING:
        raise UsageError(
            f"Payload {name!r}: documents.embeddings names it, and its file does not say how hidden states of a text"
            " become one vector (pooling_type): it is no embedding model."
        )


def _check_license(payload: PayloadConfig) -> None:
    try:
        text = payload.license.read_bytes()
    except OSError as error:
        raise _unreadable(payload, error) from error
    _check_license_text(payload, text)


def _unreadable(payload: PayloadConfig, error: OSError) -> UsageError:
    return UsageError(f"Payload {payload.payload_id!r}: {error.filename} cannot be read: {error.strerror}.")


def _check_license_text(payload: PayloadConfig, text: bytes) -> None:
    problem = ""
    if not text.strip():
        problem = "is empty"
    elif len(text) > LICENSE_LIMIT:
        problem = f"is longer than {LICENSE_LIMIT} bytes"
    else:
        try:
            text.decode("utf-8")
        except UnicodeDecodeError:
            problem = "is not UTF-8 text"
    if problem:
        raise UsageError(f"Payload {payload.payload_id!r}: the licence text {payload.license} {problem}.")


@dataclass(frozen=True, slots=True)
class Space:
    """Bytes needed at one place."""

    folder: Path
    needed: int
    purpose: str


def space_needed(config: Config, output: Path, context: Context, *, os_cached: bool) -> list[Space]:
    """Most bytes that the build takes at a time, by place."""
    payloads = [predicted_size(_payload_bytes(payload)) for payload in config.payloads]
    # Every ciphertext stays; of the plaintexts one lies in the work folder at a time, and its model once more where it
    # cannot be linked there.
    needs = [Space(output.absolute().parent, sum(payloads) + 2 * max(payloads) + OS_IN_OUTPUT, "the image")]
    if not os_cached:
        needs.append(Space(context.cache, OS_IN_CACHE, "the OS part, which is kept for later builds"))
    return needs


def check_space(needs: list[Space]) -> None:
    """Refuse a build that would fill a disk.

    Raises:
        OperationError: says how much is needed where, and how much is free.
    """
    by_device: dict[int, list[Space]] = {}
    for need in needs:
        by_device.setdefault(_existing(need.folder).stat().st_dev, []).append(need)
    for together in by_device.values():
        total = sum(need.needed for need in together)
        free = shutil.disk_usage(_existing(together[0].folder)).free
        if free < total:
            parts = " and ".join(f"{_gib(need.needed)} in {need.folder} for {need.purpose}" for need in together)
            raise OperationError(
                f"Not enough space: {parts} are needed, {_gib(free)} are free.",
                cure="Free some space, or build on another disk.",
            )


def check_tools(context: Context) -> None:
    """Refuse to start without the tools root.

    Raises:
        OperationError: it is not there.
    """
    if not (context.cache / "tools-root" / "usr" / "bin" / "env").exists():
        raise OperationError(f"There is no tools root in {context.cache}.", cure="Make it with `make setup`.")


def _payload_bytes(payload: PayloadConfig) -> int:
    return payload.path.stat().st_size if payload.path.is_file() else tree_bytes(payload.path)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
