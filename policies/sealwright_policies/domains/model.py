"""The domain file as data (policies/spec/domain.md, 1): tables, keys, defaults, and the order of each key.

The one place for defaults and descriptions: reader, compiler, comparison and the reference in docs/ all go by these
fields. A key with an :class:`Order` in its annotation permits something and is compared along a chain; its default is
the strictest value, or there is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from sealwright_policies.appraisal.reference_values import ProductVersion, version_key
from sealwright_policies.domains.endpoints import REACH, Endpoint
from sealwright_policies.domains.fields import Name, Table, once
from sealwright_policies.domains.orders import (
    AT_LEAST,
    AT_MOST,
    BELOW_VERSION,
    FROM_VERSION,
    SUBSET,
    SUPERSET,
    Excess,
    Ranked,
    listed,
)
from sealwright_policies.errors import FormatError
from sealwright_policies.outflow import RATE_MOST, TOKENS_MOST, TOP_LOGPROBS_MOST
from sealwright_policies.tpm_tier import TpmTier
from sealwright_policies.wire.encoding import Identifier, canonical_base64
from sealwright_policies.wire.envelope import load_p256_public_der

LARGEST = 2**40
"""Of budgets."""
SHARED_LIMITS = (
    "tokens_per_day",
    "requests_per_minute",
    "requests_per_day",
    "model_tokens_per_day",
    "model_requests_per_day",
)
"""Keys of ``[api]`` that bound completions and embeddings alike."""
DAYS_MOST = 3650
OWN_ADAPTERS_MOST = 64
SIZE_MOST = 16 * 1024 * 1024
"""MiB."""
RESULTS_LEAST_MIB = 4
"""Below this mke2fs makes an ext4 without a journal, which a power cut would damage."""


class OwnerKind(StrEnum):
    """Whose a domain is."""

    VENDOR = "vendor"
    DATA_OWNER = "data-owner"
    CUSTOMER = "customer"


class Level(StrEnum):
    """In ascending order."""

    INTERNAL = "internal"
    CONFIDENTIAL = "confidential"
    SEALED = "sealed"


LEVELS = Ranked(Level)
"""The order of ``level``."""


class MemberKind(StrEnum):
    """What a member is. The first three are the kinds of sealed payloads; an adapter is made in a domain."""

    MODEL = "model"
    DATA_SET = "data-set"
    WORKLOAD = "workload"
    ADAPTER = "adapter"


class Form(StrEnum):
    """In which form data flows."""

    METRICS = "metrics"
    AGGREGATES = "aggregates"
    RESULTS = "results"
    ADAPTER = "adapter"
    RAW = "raw"

    @property
    def is_bound(self) -> bool:
        """Whether limits go with it; metrics and aggregates are released."""
        return self not in (Form.METRICS, Form.AGGREGATES)


class Import(StrEnum):
    """What the administrator of a box may put into a domain. No adapters: an engine reads one, whatever it says."""

    DATA_SET = "data-set"
    RESULTS = "results"


class Counter(StrEnum):
    """Counts of a metering receipt (policies/spec/metering.md)."""

    REQUESTS = "requests"
    PROMPT_TOKENS = "prompt_tokens"
    COMPLETION_TOKENS = "completion_tokens"
    BUSY_MS = "busy_ms"
    LEASE_MS = "lease_ms"
    COPYING_ALARMS = "copying_alarms"


def _checked_key(text: str) -> str:
    try:
        load_p256_public_der(canonical_base64(text))
    except FormatError as error:
        raise ValueError("not the public key of a P-256 key, DER in base64") from error
    return text


OwnerKey = Annotated[str, StringConstraints(max_length=256), AfterValidator(_checked_key)]
"""SubjectPublicKeyInfo on P-256: DER, in canonical base64."""


class Owner(Table):
    """``[owner]``."""

    kind: Annotated[OwnerKind, Field(description="`vendor`, `data-owner` or `customer`")]
    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"),
        Field(description="who it is, for people"),
    ]
    key: Annotated[
        OwnerKey | None,
        Field(description="its public key, by which it signs the domain and the workloads that may run"),
    ] = None
    vendor_workloads: Annotated[
        bool, Field(description="workloads need no signature by that key; the vendor's manifest is enough for them")
    ] = False

    @model_validator(mode="after")
    def _vendor_workloads_have_key(self) -> Owner:
        if self.vendor_workloads and self.key is None:
            raise ValueError("vendor_workloads goes with a key; without one the vendor signs everything")
        return self


class Member(Table):
    """One ``[[member]]``."""

    kind: Annotated[MemberKind, Field(description="`model`, `data-set`, `workload` or `adapter`")]
    id: Annotated[Name, Field(description="payload id")]
    base: Annotated[Name | None, Field(description="model that an adapter belongs to; for adapters only")] = None
    trainer: Annotated[
        Name | None,
        Field(description="workload that trains adapters on examples of the customer's; for adapters only"),
    ] = None

    @model_validator(mode="after")
    def _adapter_has_base(self) -> Member:
        if (self.kind is MemberKind.ADAPTER) != (self.base is not None):
            raise ValueError("an adapter, and nothing else, names its base")
        if self.trainer is not None and self.base is None:
            raise ValueError("an adapter, and nothing else, names its trainer")
        return self


class Opening(Table):
    """``[open]``: who may open members."""

    from_version: Annotated[ProductVersion, FROM_VERSION, Field(description="first release that may")]
    below_version: Annotated[ProductVersion, BELOW_VERSION, Field(description="first release that may not any more")]
    tiers: Annotated[
        tuple[TpmTier, ...],
        once(),
        SUBSET,
        Field(min_length=1, max_length=3, description="kinds of TPM: `software`, `firmware`, `discrete`"),
    ]
    features: Annotated[
        tuple[Identifier, ...],
        once(),
        SUPERSET,
        Field(max_length=16, description="features that the licence must have; `[]` asks for none"),
    ]

    @model_validator(mode="after")
    def _not_empty(self) -> Opening:
        if version_key(self.from_version) >= version_key(self.below_version):
            raise ValueError("no version is from from_version on and below below_version")
        return self


class Running(Table):
    """``[run]``: what may run on members."""

    engine: Annotated[bool, AT_MOST, Field(description="the inference engine of the verity root")] = False
    workloads: Annotated[
        tuple[Name, ...],
        once(),
        SUBSET,
        Field(max_length=32, description="signed workload images"),
    ] = ()
    writable_code: Annotated[
        bool,
        AT_MOST,
        Field(
            description="workloads may make code at run time (JIT compilers), as far as their unit goes: the IPE "
            "policy of every image forbids it all the same"
        ),
    ] = False
    own_adapters: Annotated[
        int,
        AT_MOST,
        Field(
            ge=0, le=OWN_ADAPTERS_MOST, description="adapters of a model that the customer may have trained; 0: none"
        ),
    ] = 0
    imports: Annotated[
        tuple[Import, ...],
        once(),
        SUBSET,
        Field(
            max_length=2,
            description="files that a box's administrator may put in: of `data-set`, `results`; `[]`: none",
        ),
    ] = ()


class Answers(Table):
    """``[api]``: what the engine's answers may contain."""

    completions: Annotated[bool, AT_MOST, Field(description="chat and text completions")] = False
    embeddings: Annotated[bool, AT_MOST, Field(description="embedding vectors")] = False
    logprobs: Annotated[
        int,
        AT_MOST,
        Field(ge=0, le=TOP_LOGPROBS_MOST, description="alternatives with their log-probabilities; 0: none at all"),
    ] = 0
    tokens_per_request: Annotated[int, AT_MOST, Field(ge=0, le=TOKENS_MOST, description="tokens of an answer")] = 0
    tokens_per_day: Annotated[
        int, AT_MOST, Field(ge=0, le=LARGEST, description="tokens of an API key's answers in a day")
    ] = 0
    requests_per_minute: Annotated[
        int, AT_MOST, Field(ge=0, le=RATE_MOST, description="requests of an API key in a minute")
    ] = 0
    requests_per_day: Annotated[
        int, AT_MOST, Field(ge=0, le=LARGEST, description="requests of an API key in a day")
    ] = 0
    model_tokens_per_day: Annotated[
        int, AT_MOST, Field(ge=0, le=LARGEST, description="tokens of a model's answers in a day, to all API keys")
    ] = 0
    model_requests_per_day: Annotated[
        int, AT_MOST, Field(ge=0, le=LARGEST, description="requests to a model in a day, of all API keys")
    ] = 0
    pad_stream: Annotated[bool, AT_LEAST, Field(description="streamed chunks are padded to one length")] = True

    @model_validator(mode="after")
    def _what_is_let_out_has_limits(self) -> Answers:
        limits = ("tokens_per_request", *SHARED_LIMITS) if self.completions else SHARED_LIMITS
        missing = [name for name in limits if getattr(self, name) == 0]
        if missing and (self.completions or self.embeddings):
            what = "completions" if self.completions else "embeddings"
            raise ValueError(f"{what} need {listed(missing)} above 0")
        return self


class Flow(Table):
    """One ``[[flow]]``: what may leave to another domain."""

    to: Annotated[Name, Field(description="the other domain")]
    forms: Annotated[
        tuple[Form, ...],
        once(),
        Field(
            min_length=1,
            description="of `metrics`, `aggregates`, `results`, `adapter`, `raw`; nothing in a box makes or moves "
            "aggregates yet",
        ),
    ]


class Chain(Table):
    """One ``[[chain]]``: what this domain takes from another."""

    source: Annotated[Name, Field(alias="from", description="the other domain")]
    forms: Annotated[
        tuple[Form, ...],
        once(),
        Field(min_length=1, description="as in `[[flow]]`; with a bound one its limits come along"),
    ]

    @property
    def is_bound(self) -> bool:
        """Whether the limits of the other domain hold here."""
        return any(form.is_bound for form in self.forms)


class Retention(Table):
    """``[retention]``: days that data is kept; what 0 means is said of each."""

    prompts_days: Annotated[
        int,
        AT_MOST,
        Field(ge=0, le=DAYS_MOST, description="prompts and answers; 0: during the request"),
    ] = 0
    results_days: Annotated[
        int,
        AT_MOST,
        Field(ge=0, le=DAYS_MOST, description="files on a box, and what workloads wrote; 0 counts as 1"),
    ] = 0
    logs_days: Annotated[
        int, AT_MOST, Field(ge=0, le=DAYS_MOST, description="log lines about members; 0: none are stored")
    ] = 0


class Metering(Table):
    """``[metering]``: what receipts tell the licence service."""

    counters: Annotated[
        tuple[Counter, ...],
        once(),
        SUBSET,
        Field(
            max_length=len(Counter),
            description="of `requests`, `prompt_tokens`, `completion_tokens`, `busy_ms`, `lease_ms`, `copying_alarms`",
        ),
    ] = ()
    by_key: Annotated[bool, AT_MOST, Field(description="counts of each API key, under its alias")] = False


class Resources(Table):
    """``[resources]``: sizes. Nothing here permits anything."""

    scratch_mib: Annotated[
        int, Field(ge=0, le=SIZE_MOST, description="memory for temporary files of each workload, MiB; 0: none")
    ] = 0
    results_mib: Annotated[
        int,
        Field(ge=0, le=SIZE_MOST, description="volume for results of workloads, MiB, at least 4; 0: none"),
    ] = 0
    tasks: Annotated[int, Field(ge=1, le=4096, description="threads and processes of each unit")] = 256

    @model_validator(mode="after")
    def _results_have_a_file_system(self) -> Resources:
        if 0 < self.results_mib < RESULTS_LEAST_MIB:
            raise ValueError(f"results_mib is 0 or at least {RESULTS_LEAST_MIB}")
        return self


class Flows:
    """The order of ``[[flow]]``."""

    rule = "subset, by domain"

    def beyond(self, value: Sequence[Flow], bound: Sequence[Flow]) -> tuple[Excess, ...]:
        allowed = {one.to: (index, set(one.forms)) for index, one in enumerate(bound)}
        found = []
        for index, one in enumerate(value):
            at, forms = allowed.get(one.to, (None, set()))
            if more := set(one.forms) - forms:
                found.append(Excess(index, f"{listed(more)} to {one.to}", f"only {listed(forms)} to {one.to}", at))
        return tuple(found)

    def meet(self, one: Sequence[Flow], other: Sequence[Flow]) -> tuple[Flow, ...]:
        theirs = {flow.to: set(flow.forms) for flow in other}
        both = ((flow.to, sorted(set(flow.forms) & theirs.get(flow.to, set()))) for flow in one)
        return tuple(Flow(to=to, forms=tuple(forms)) for to, forms in both if forms)


FLOWS = Flows()


class Domain(Table):
    """The whole file."""

    schema_: Annotated[int, Field(alias="schema", ge=1, le=1, description="1")]
    name: Annotated[Name, Field(description="name; the file is called `NAME.toml`")]
    level: Annotated[Level, LEVELS, Field(description="`internal`, `confidential` or `sealed`")]
    owner: Annotated[Owner, Field(description="whose domain it is")]
    open: Annotated[Opening, Field(description="who may open members")]
    member: Annotated[
        tuple[Member, ...], once(lambda one: one.id), Field(max_length=64, description="what lies in it")
    ] = ()
    run: Annotated[Running, Field(description="what may run on members")] = Running()
    egress: Annotated[
        tuple[Endpoint, ...], once(str), REACH, Field(max_length=32, description="what its workloads may reach")
    ] = ()
    api: Annotated[Answers, Field(description="what answers of the engine may contain")] = Answers()
    flow: Annotated[
        tuple[Flow, ...],
        once(lambda one: one.to),
        FLOWS,
        Field(max_length=32, description="where data may go"),
    ] = ()
    chain: Annotated[
        tuple[Chain, ...], once(lambda one: one.source), Field(max_length=16, description="where data comes from")
    ] = ()
    retention: Annotated[Retention, Field(description="how long data is kept")] = Retention()
    metering: Annotated[Metering, Field(description="what receipts tell the licence service")] = Metering()
    resources: Annotated[Resources, Field(description="sizes; these permit nothing")] = Resources()

    def members(self, kind: MemberKind) -> tuple[Member, ...]:
        """Members of one kind, by id."""
        return tuple(sorted((one for one in self.member if one.kind is kind), key=lambda one: one.id))
