"""What a box makes of a domain: questions of `sealwright-policy explain`, put to whatever holds the compiled files.

Nothing here reads a domain's keys: the gateway's, agent's and meter's own code is asked, with what the compiler wrote.
"""

from __future__ import annotations

import asyncio
import configparser
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sealwright_appliance.api_keys import ApiKeyError, ApiKeys
from sealwright_appliance.conversation_endpoints import PromptsDays
from sealwright_appliance.conversations import Conversations, Sealed
from sealwright_appliance.files import write_durably
from sealwright_appliance.flows.domain_files import DomainFile as BoxFile
from sealwright_appliance.flows.own_domains import OwnDomains
from sealwright_appliance.flows.retention import Retention
from sealwright_appliance.metering.box_meter import BoxMeter
from sealwright_appliance.metering.journal import Batch, BatchRow
from sealwright_appliance.metering.meter_store import MeterStore
from sealwright_appliance.metering.metering_terms import load_terms
from sealwright_appliance.outflow.key_states import KnownKeys
from sealwright_appliance.outflow.ledger import Asked, Ledger, grant
from sealwright_appliance.paths import Paths
from sealwright_appliance.retention_calendar import RetentionCalendar
from sealwright_appliance.serve.chat import ChatRequest, parse_chat_request
from sealwright_appliance.serve.embedding import parse_embedding_request
from sealwright_appliance.serve.errors import ApiError
from sealwright_appliance.serve.watch import Watch
from sealwright_policies.domains.canonical import parse_canonical_form
from sealwright_policies.domains.chain import Domains, verify_domains
from sealwright_policies.domains.compiler import compile_domains
from sealwright_policies.domains.compiler.journal import journal
from sealwright_policies.domains.model import Domain
from sealwright_policies.flows.documents import FileKind
from sealwright_policies.metering.receipt import OTHER_KEYS, SealedReceipt
from sealwright_policies.outflow import OUTFLOW_FILE, OutflowPolicy, parse_outflow
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.lease import DAY_S
from sealwright_policies.wire.service import LicenseService
from sealwright_testing.domain_texts import ROOT_HASHES, example_texts, parse_texts
from sealwright_testing.laid_files import files_of
from sealwright_testing.metering import DEVICE, HOUR_MS, LICENSE, PARTITION, point

MODEL = "asked"
"""A model that is put into the domain, so that there is one to ask; no shipped domain has another of this name."""
MEMBER = f'\n[[member]]\nkind = "model"\nid = "{MODEL}"\n'
WARD = (MODEL, "ward")
KEYS = [f"ward-{number}" for number in range(6)]
"""As many as it takes to use a model's budgets up; no shipped domain gives a key less than a fifth of them."""
BEGUN = 1_800_000_000
NOBODY = LicenseService.model_construct(**{"service_id": "nobody"})  # type: ignore[arg-type]
OWNER, CONVERSATION = "0a" * 32, "1a" * 16


@dataclass(frozen=True)
class _Root(OwnDomains):
    """The domains of a root, without the manifest that vouches for them."""

    files: Mapping[str, bytes]
    served_by: str
    """Domain of the one model."""

    def names(self) -> list[str]:
        return sorted(Path(path).stem for path in self.files if Path(path).parent.name == "domains")

    def load(self, name: str) -> Domain:
        return parse_canonical_form(self.files[f"/usr/share/sealwright/domains/{name}.json"])

    def served(self) -> dict[str, str]:
        return {MODEL: self.served_by}


@dataclass(frozen=True)
class HeldDomain:
    """One of the shipped domains, in a box with all of them."""

    name: str
    folder: Path
    """For what the box writes."""
    files: Mapping[str, bytes]
    alone: str
    """The journal's drop-in of a product that has this domain only: in one with others, the shortest days hold."""

    def lets(self, verb: str, words: list[str]) -> bool:
        """Whether it happens; ``return``, ``keep`` and ``report`` are known."""
        if verb == "report" and words[0] != "by_key":
            return self._report_counter(*words)
        return bool(getattr(self, f"_{verb}_{words[0]}")(*words))

    # --- the gateway -------------------------------------------------------------------------------------------------

    @property
    def _policy(self) -> OutflowPolicy:
        return parse_outflow(self.files[OUTFLOW_FILE]).of(MODEL)

    def _asked(self, **more: Any) -> ChatRequest:
        """A chat request that the gateway has let in.

        Raises:
            ApiError: it has not.
        """
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
        request = parse_chat_request(json.dumps(body | more).encode())
        request.require_permitted(self._policy)
        return request

    def _return_completions(self, _: str) -> bool:
        with suppress(ApiError):
            return bool(self._asked())
        return False

    def _return_embeddings(self, _: str) -> bool:
        with suppress(ApiError):
            parse_embedding_request(json.dumps({"model": MODEL, "input": "hello"}).encode()).require_permitted(
                self._policy
            )
            return True
        return False

    def _return_logprobs(self, _: str, amount: str) -> bool:
        with suppress(ApiError):
            return bool(self._asked(logprobs=True, top_logprobs=int(amount)))
        return False

    def _return_tokens_per_request(self, _: str, amount: str) -> bool:
        with suppress(ApiError):
            return self._asked(max_tokens=int(amount)).answer_tokens(self._policy) >= int(amount)
        return False

    def _return_tokens_per_day(self, _: str, amount: str) -> bool:
        return self._most("tokens", int(amount), [WARD[1]])

    def _return_requests_per_day(self, _: str, amount: str) -> bool:
        return self._most("requests", int(amount), [WARD[1]])

    def _return_model_tokens_per_day(self, _: str, amount: str) -> bool:
        return self._most("tokens", int(amount), KEYS)

    def _return_model_requests_per_day(self, _: str, amount: str) -> bool:
        return self._most("requests", int(amount), KEYS)

    def _most(self, what: str, amount: int, keys: Sequence[str]) -> bool:
        """Whether these keys get so much together in a day."""
        ledger, given = Ledger(), 0
        for key in keys:
            while left := amount - given:
                asked = Asked(key, **{"requests": 0, "tokens": 0, what: left})
                ledger, one = grant(ledger, {MODEL: self._policy}, asked)
                if not getattr(one, what):
                    break
                given += min(left, getattr(one, what))
        return self._answers and given >= amount

    def _return_requests_per_minute(self, _: str, amount: str) -> bool:
        async def ask() -> bool:
            watch = Watch(_told_nobody, lambda: 0.0)
            with suppress(ApiError):
                for prompts in (int(amount) - 1, 1):
                    await watch.admit(WARD, self._policy, KnownKeys({}, 0.0), prompts=prompts)
                return True
            return False

        return self._answers and asyncio.run(ask())

    @property
    def _answers(self) -> bool:
        return self._return_completions("") or self._return_embeddings("")

    # --- the agent ---------------------------------------------------------------------------------------------------

    @property
    def _root(self) -> _Root:
        return _Root(Paths(root=self.folder), self.files, self.name)

    def _keep_prompts(self, _: str, days: str) -> bool:
        """Stored, and there a second before the last day ends."""
        terms = PromptsDays(self._root)
        keys = ApiKeys(self.folder / "api-keys.json")
        keys.create("ward", admin=False)
        calendar = self.folder / "calendar.json"
        kept = Conversations(self.folder / "kept", keys, lambda: terms.by_model, calendar, lambda: BEGUN)
        with suppress(ApiKeyError):
            kept.store(OWNER, keys.load().keys[0].sha256, Sealed(CONVERSATION, [MODEL], b"title", b"text"), new=True)
            at = BEGUN + int(days) * DAY_S - 1
            write_durably(calendar, document_bytes(RetentionCalendar(version=1, at=at, clock_ms=0)))
            kept.look()
            return bool(kept.read(OWNER, CONVERSATION))
        return False

    def _keep_results(self, _: str, days: str) -> bool:
        """Seen, and there a second before the last day ends."""
        files, at = files_of(self.folder / "files", self.name), [0]
        content = BoxFile(
            version=1, domain=self.name, kind=FileKind.RESULTS, name="rows", size=4, at=0,
            digest=hashlib.sha256(b"rows").hexdigest(),
        )  # fmt: skip
        incoming = files.incoming("import-rows", content, self._root.text(self.name))
        incoming.append(0, b"rows")
        incoming.verify()
        incoming.put_in_place()
        days_of, lock = self._root.kept_days, threading.Lock()
        retention = Retention(days_of, files, self.folder, lambda: at[0] * 1000, lambda: BEGUN, lock, lambda _: None)
        retention.look()
        at[0] += int(days) * DAY_S - 1
        retention.look()
        return bool(files.all_files())

    def _keep_logs(self, _: str, days: str) -> bool:
        """By the words of journald.conf(5), for which a retention of 0 is no limit."""
        written = configparser.ConfigParser()
        written.read_string(self.alone)
        if written["Journal"].get("Storage") == "none":
            return False
        most = int(written["Journal"]["MaxRetentionSec"].removesuffix("day"))
        return most == 0 or int(days) <= most

    def _report_counter(self, counter: str) -> bool:
        if counter in {"lease_ms", "copying_alarms"}:
            return any(getattr(one, counter) for one in self._receipt.receipt.models)
        return any(getattr(row, counter) for row in self._receipt.receipt.rows)

    def _report_by_key(self, _: str) -> bool:
        return any(row.alias != OTHER_KEYS for row in self._receipt.receipt.rows)

    @property
    def _receipt(self) -> SealedReceipt:
        """Of an hour in which a key has asked, and looked as if it copied the model."""
        store, terms = MeterStore(self.folder / "meter"), load_terms(self._root)
        meter = BoxMeter(store, NOBODY, DEVICE, LICENSE, {MODEL: PARTITION}, terms, lambda: BEGUN)
        meter.open(point(0))
        row = BatchRow(model=MODEL, key="ward", requests=1, prompt_tokens=10, completion_tokens=5, busy_ms=7)
        meter.take(Batch(gateway_id="ab" * 16, number=1, rows=[row]))
        meter.note_copying(MODEL)
        meter.pass_time(HOUR_MS, [MODEL])
        return meter.close(point(HOUR_MS), 1)


async def _told_nobody(_: object) -> None:
    """No key's level is anybody's business here."""


def held_example(name: str, folder: Path) -> HeldDomain:
    """A shipped domain, compiled with all others."""
    texts = example_texts()
    texts[f"{name}.toml"] += MEMBER
    domains = verify_domains(parse_texts(texts))
    files = compile_domains(domains, ROOT_HASHES)
    return HeldDomain(name, folder, files, journal(Domains({name: domains.by_name[name]})))
