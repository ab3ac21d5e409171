"""What the vendor asks for: ``product.toml``, read once and passed down.

Intent only; the state of a run is :class:`sealwright_image.context.Context`. Paths in the file are relative to the
file. Nothing here reads a model or a key: that is checked before the build starts (:mod:`sealwright_image.preflight`).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from sealwright_policies.appraisal.reference_values import MOST_PEERS, PayloadKind, ProductVersion
from sealwright_policies.domains.fields import Name as DomainName
from sealwright_policies.engines import PREFIX_MOST, DocumentVectors
from sealwright_policies.errors import FormatError, UsageError
from sealwright_policies.networks import require_narrow
from sealwright_policies.toml_location import dotted, find_line, parse_toml, problem_sentence
from sealwright_policies.wire.encoding import Identifier

PRODUCT_FILE_LIMIT = 1024 * 1024
"""Bytes of the longest product file that is read."""
SEED_NAMESPACE = uuid.UUID("5f0a9d3e-1c55-5c0e-9a53-6b8d2f1f7a10")

Engine = Literal["llama-server", "vllm"]
"""What runs the models."""
Accelerator = Literal["none", "cuda"]
"""What it computes on beside the processor."""
Package = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9+.-]+$", max_length=128)]
PayloadId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,27}$")]
"""Short enough for the GPT label ``payload-<id>`` (36 characters)."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OsTable(_Table):
    """``[os]``: what goes into the root beside the base."""

    packages: tuple[Package, ...] = ()
    mirror: Annotated[str, StringConstraints(pattern=r"^(https?|file)://\S+$")] | None = None
    """Debian mirror; default: that of the build host's own apt."""
    extra_tree: Path | None = None
    """Test images only: a folder that is copied over the root."""
    extra_command_line: tuple[str, ...] = ()
    """Test images only: words at the end of the signed kernel command line."""


class StateTable(_Table):
    """``[state]``: the volume that the box encrypts for itself."""

    size_mib: Annotated[int, Field(ge=64, le=16 * 1024 * 1024)] = 512


class DocumentsTable(_Table):
    """``[documents]``: by which model passages of the customer's documents are found."""

    embeddings: PayloadId
    passage_prefix: Annotated[str, StringConstraints(max_length=PREFIX_MOST)] = ""
    question_prefix: Annotated[str, StringConstraints(max_length=PREFIX_MOST)] = ""


class PayloadTable(_Table):
    """``[[payload]]``: one encrypted partition."""

    id: PayloadId
    kind: PayloadKind = PayloadKind.MODEL
    domain: DomainName
    """Security domain that it lies in: one of ``domains``."""
    path: Path
    license: Path
    """Text file: the licence of the payload, shown to the customer."""


class ProductFile(_Table):
    """The whole file, as written."""

    vendor: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    product: Identifier
    version: ProductVersion
    flavour: Literal["production", "test"] = "production"
    keys: Path
    license_service: Path
    domains: Annotated[tuple[Path, ...], Field(min_length=1, max_length=64)]
    """Domain files, each called by the name of its domain (policies/spec/domain.md)."""
    engine: Engine = "llama-server"
    accelerator: Accelerator = "none"
    peers: Annotated[tuple[str, ...], Field(max_length=MOST_PEERS)] = ()
    """Networks of boxes with which files of domains are exchanged (policies/spec/domain-flow.md, 6)."""
    ledger: Path | None = None
    """Entries that follow those of image/tcb-ledger.toml (policies/spec/manifest.md, 5)."""
    os: OsTable = OsTable()
    state: StateTable = StateTable()
    documents: DocumentsTable | None = None
    payload: Annotated[tuple[PayloadTable, ...], Field(min_length=1, max_length=64)]


@dataclass(frozen=True, slots=True)
class PayloadConfig:
    """One payload, paths absolute."""

    payload_id: str
    kind: PayloadKind
    domain: str
    path: Path
    license: Path

    @property
    def partition_label(self) -> str:
        return f"payload-{self.payload_id}"

    @property
    def is_packed(self) -> bool:
        """Whether it is a workload's image that was packed before (:mod:`.workload_image`), and no folder."""
        return self.kind is PayloadKind.WORKLOAD and self.path.is_file()


@dataclass(frozen=True, slots=True)
class Config:
    """A product file, checked for form, paths absolute."""

    product_file: Path
    vendor: str
    product: str
    version: str
    flavour: Literal["production", "test"]
    keys: Path
    license_service: Path
    domains: tuple[Path, ...]
    engine: Engine
    accelerator: Accelerator
    peers: tuple[IPv4Network | IPv6Network, ...]
    ledger: Path | None
    packages: tuple[str, ...]
    mirror: str | None
    extra_tree: Path | None
    extra_command_line: tuple[str, ...]
    state_bytes: int
    payloads: tuple[PayloadConfig, ...]
    documents: DocumentVectors | None = None
    """None: documents are found by words alone."""

    @property
    def seed(self) -> uuid.UUID:
        """Fixes every UUID that does not follow from content: the same product and version give the same ones."""
        return uuid.uuid5(SEED_NAMESPACE, "/".join((self.vendor, self.product, self.version, self.flavour)))


def parse_config(text: str, product_file: Path) -> Config:
    """Parse the text of a product file.

    Raises:
        UsageError: not TOML, a key missing, unknown or out of its range, an id used twice; names line and key.
    """
    try:
        document = parse_toml(text)
    except FormatError as error:
        raise UsageError(f"{product_file}: {error}") from error
    try:
        product = ProductFile.model_validate(document)
    except ValidationError as error:
        raise UsageError(_schema_problems(error, text, product_file)) from error
    _refuse_duplicates(product, text, product_file)
    _refuse_unknown_domains(product, text, product_file)
    _refuse_test_keys(product, text, product_file)
    _refuse_unknown_embeddings(product, text, product_file)
    _refuse_engine_without_its_accelerator(product, text, product_file)
    base = product_file.resolve().parent
    return Config(
        product_file=product_file.resolve(),
        vendor=product.vendor,
        product=product.product,
        version=product.version,
        flavour=product.flavour,
        keys=_absolute(base, product.keys),
        license_service=_absolute(base, product.license_service),
        domains=tuple(_absolute(base, path) for path in product.domains),
        engine=product.engine,
        accelerator=product.accelerator,
        peers=_networks(product, text, product_file),
        ledger=_absolute(base, product.ledger) if product.ledger else None,
        packages=product.os.packages,
        mirror=product.os.mirror,
        extra_tree=_absolute(base, product.os.extra_tree) if product.os.extra_tree else None,
        extra_command_line=product.os.extra_command_line,
        state_bytes=product.state.size_mib * 1024 * 1024,
        payloads=tuple(
            PayloadConfig(
                payload_id=payload.id,
                kind=payload.kind,
                domain=payload.domain,
                path=_absolute(base, payload.path),
                license=_absolute(base, payload.license),
            )
            for payload in product.payload
        ),
        documents=_documents(product.documents),
    )


def load_config(product_file: Path) -> Config:
    """Read and parse a product file.

    Raises:
        UsageError: as :func:`parse_config`; also a file that cannot be read.
    """
    try:
        with product_file.open("rb") as stream:
            data = stream.read(PRODUCT_FILE_LIMIT + 1)
        if len(data) > PRODUCT_FILE_LIMIT:
            raise UsageError(f"{product_file}: longer than {PRODUCT_FILE_LIMIT} bytes; that is no product file.")
        text = data.decode("utf-8")
    except OSError as error:
        raise UsageError(f"{product_file}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{product_file}: line {line}: not UTF-8.") from error
    return parse_config(text, product_file)


def _absolute(base: Path, path: Path) -> Path:
    return (base / path.expanduser()).absolute()


def _schema_problems(error: ValidationError, text: str, product_file: Path) -> str:
    """One line per problem, each with line and key."""
    problems = error.errors(include_url=False)
    # An array with a wrong entry is itself reported as too short.
    inner = [one["loc"] for one in problems]
    told = [one for one in problems if not any(other[: len(one["loc"])] == one["loc"] != other for other in inner)]
    return "\n".join(
        f"{product_file}: line {find_line(text, one['loc'])}: {dotted(one['loc'])}: {problem_sentence(one)}"
        for one in told
    )


def _refuse_duplicates(product: ProductFile, text: str, product_file: Path) -> None:
    first: dict[str, int] = {}
    for index, payload in enumerate(product.payload):
        line = find_line(text, ("payload", index, "id"))
        if payload.id in first:
            raise UsageError(
                f"{product_file}: line {line}: payload[{index}].id: {payload.id!r} is already the id of the payload"
                f" in line {first[payload.id]}; each needs its own."
            )
        first[payload.id] = line


def _networks(product: ProductFile, text: str, product_file: Path) -> tuple[IPv4Network | IPv6Network, ...]:
    found = []
    where = f"{product_file}: line {find_line(text, ('peers',))}: peers"
    for network in product.peers:
        try:
            found.append(ip_network(network))
            require_narrow(found[-1])
        except ValueError as error:
            raise UsageError(f"{where}: {error}.") from error
    if len(found) != len(set(found)):
        raise UsageError(f"{where}: a network stands twice.")
    return tuple(found)


def _refuse_unknown_domains(product: ProductFile, text: str, product_file: Path) -> None:
    names = [path.stem for path in product.domains]
    line = find_line(text, ("domains",))
    if len(names) != len(set(names)):
        raise UsageError(f"{product_file}: line {line}: domains: two files of one name; domains are called by it.")
    for index, payload in enumerate(product.payload):
        if payload.domain not in names:
            raise UsageError(
                f"{product_file}: line {find_line(text, ('payload', index, 'domain'))}: payload[{index}].domain:"
                f" no {payload.domain}.toml is among the domains in line {line}."
            )


def _documents(table: DocumentsTable | None) -> DocumentVectors | None:
    if table is None:
        return None
    return DocumentVectors(
        model=table.embeddings, passage_prefix=table.passage_prefix, question_prefix=table.question_prefix
    )


def _refuse_unknown_embeddings(product: ProductFile, text: str, product_file: Path) -> None:
    models = [one.id for one in product.payload if one.kind is PayloadKind.MODEL]
    if product.documents is not None and product.documents.embeddings not in models:
        line = find_line(text, ("documents", "embeddings"))
        raise UsageError(
            f"{product_file}: line {line}: documents.embeddings: no payload of kind model has the id"
            f" {product.documents.embeddings!r}."
        )


def _refuse_engine_without_its_accelerator(product: ProductFile, text: str, product_file: Path) -> None:
    if product.engine == "vllm" and product.accelerator == "none":
        line = find_line(text, ("engine",))
        raise UsageError(f'{product_file}: line {line}: engine: "vllm" needs accelerator = "cuda".')


def _refuse_test_keys(product: ProductFile, text: str, product_file: Path) -> None:
    """A production image has nothing planted in it; a test image says so in its manifest and is licensed apart."""
    if product.flavour == "test":
        return
    for key in ("extra_tree", "extra_command_line"):
        if getattr(product.os, key):
            line = find_line(text, ("os", key))
            raise UsageError(f'{product_file}: line {line}: os.{key}: only with flavour = "test".')
