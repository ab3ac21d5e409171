"""The receiver's agent, its TPM made of software keys: what it keeps, records, refuses. See also integration/flows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from sealwright_appliance.flows.domain_files import DomainFiles
from sealwright_appliance.flows.errors import FlowError
from sealwright_appliance.flows.journal import FlowJournal
from sealwright_appliance.flows.party import OwnSide
from sealwright_appliance.flows.receiver import Acceptance, Expectation, FlowReceiver
from sealwright_policies.domains.entrusted import EntrustedText, entrusted_text
from sealwright_policies.flows.content import FrameCipher
from sealwright_policies.flows.documents import FlowParty, FlowStatement, FlowTerms
from sealwright_policies.flows.permission import DomainPair
from sealwright_policies.flows.verification import Ourselves
from sealwright_policies.wire.messages import ImportBlob
from sealwright_testing.flows import CONTENT, CONTENT_KEY, FLOW_ID, Exchange, Party, domains
from sealwright_testing.laid_files import files_of
from sealwright_testing.license_world import LicenseWorld

OTHER_ID = "1e" * 16


@dataclass
class SoftwareSide:
    """What OwnSide is, for a device of software keys."""

    party: Party
    moment: int
    closed: frozenset[str] = frozenset()

    @property
    def ourselves(self) -> Ourselves:
        """As it sees itself."""
        return self.party.ourselves

    @property
    def fingerprint(self) -> bytes:
        """Of its certificate."""
        return self.party.fingerprint

    @property
    def domains(self) -> SoftwareSide:
        """Itself."""
        return self

    def pair(self, source: str, target: str) -> DomainPair:
        """The two that chain."""
        found = {one.name: one for one in domains(*self.party.texts)}
        return DomainPair(found[source], found[target])

    def text(self, name: str) -> EntrustedText:
        """What one of them says."""
        return entrusted_text(name, {one.name: one for one in domains(*self.party.texts)})

    def now(self) -> int:
        """A clock."""
        return self.moment

    def require_open(self, *names: str) -> None:
        """This start has refused those that are closed."""
        if self.closed.intersection(names):
            raise FlowError(403, "DOMAIN_CLOSED", "Refused at this start.")

    def show(self, nonce: bytes, payload: bytes, pair: DomainPair) -> FlowParty:
        """Its word for itself."""
        assert pair
        return self.party.show(nonce, payload)

    def state(self, nonce: bytes, payload: bytes) -> FlowStatement:
        """A quote."""
        return self.party.statement(nonce, payload)

    def open_key(self, wrapped: ImportBlob) -> bytes:
        """What the exchange wraps; how a TPM opens it is tested with one."""
        assert wrapped
        return CONTENT_KEY


@dataclass
class Receiving:
    """A receiver, and the exchange that it is asked in."""

    exchange: Exchange
    side: SoftwareSide
    receiver: FlowReceiver
    files: DomainFiles

    @classmethod
    def at(cls, folder: Path, world: LicenseWorld) -> Receiving:
        """A new one, which expects the sender."""
        exchange = Exchange.between(world)
        party = exchange.receiver
        side, files = SoftwareSide(party, exchange.now), files_of(folder / "domains", exchange.hello.target)
        journal = FlowJournal(folder / "records", party.device.device_id, party.license_id)
        receiver = FlowReceiver(cast(OwnSide, side), files, journal, folder / "expected.json")
        made = cls(exchange, side, receiver, files)
        made.expect()
        return made

    def expect(self) -> None:
        """As its administrator does."""
        hello = self.exchange.hello
        self.receiver.expect(Expectation(source=hello.source, target=hello.target, device_id=hello.device_id))

    def offered(self, **changes: Any) -> tuple[FlowTerms, Acceptance]:
        """Hello and offer of a flow."""
        terms = self.exchange.terms(**changes)
        welcome = self.receiver.welcome(self.exchange.hello)
        return terms, self.receiver.accept(self.exchange.offer(terms, nonce=welcome.nonce))

    def send(self, terms: FlowTerms) -> None:
        """The only frame."""
        self.receiver.take(terms.flow_id, 0, FrameCipher.of(terms, CONTENT_KEY).seal(0, CONTENT))

    def restart(self) -> None:
        """Only what is on the disk is left."""
        old = self.receiver
        self.receiver = FlowReceiver(old.side, old.files, old.journal, old.expectations)

    def half_files(self) -> list[str]:
        """Flows of which something lies there."""
        return sorted(path.name for path in self.files.root.glob("*/.incoming/*"))


@pytest.fixture
def receiving(tmp_path: Path, world: LicenseWorld) -> Receiving:
    """Expects the exchange's sender."""
    return Receiving.at(tmp_path, world)


def test_another_flow_for_the_same_expectation_drops_the_older(receiving: Receiving) -> None:
    """Whoever is expected once cannot fill the volume with beginnings; not even over a restart."""
    terms, _ = receiving.offered()
    receiving.send(terms)
    assert receiving.half_files() == [FLOW_ID]
    receiving.restart()
    receiving.expect()
    receiving.offered(flow_id=OTHER_ID, name="other.csv")
    assert receiving.half_files() == [OTHER_ID]
    with pytest.raises(FlowError, match="No offer of this flow"):
        receiving.send(terms)


def test_what_comes_for_another_expectation_stays(receiving: Receiving) -> None:
    first = receiving.exchange
    receiving.send(receiving.offered()[0])
    receiving.exchange = Exchange(Party(first.sender.world, first.sender.box, 3), first.receiver)
    receiving.expect()
    receiving.restart()
    receiving.offered(flow_id=OTHER_ID, name="other.csv")
    assert receiving.half_files() == [FLOW_ID, OTHER_ID]


def test_the_same_flow_is_gone_on_with(receiving: Receiving) -> None:
    terms, _ = receiving.offered()
    receiving.send(terms)
    _, accepted = receiving.offered()
    assert accepted.next_frame == 1
    receiving.receiver.finish(FLOW_ID)
    assert [one.flow_id for one in receiving.files.all_files()] == [FLOW_ID]


def test_an_id_that_has_a_record_brings_no_other_file(receiving: Receiving) -> None:
    terms, _ = receiving.offered()
    receiving.send(terms)
    receiving.receiver.finish(FLOW_ID)
    receiving.expect()
    with pytest.raises(FlowError) as caught:
        receiving.offered(name="other.csv")
    assert (caught.value.status, caught.value.code) == (403, "FLOW_MISMATCH")
    assert receiving.half_files() == []


def test_nothing_is_recorded_of_a_file_whose_place_was_taken_meanwhile(receiving: Receiving) -> None:
    """The customer has put one of that name in."""
    terms, _ = receiving.offered()
    receiving.send(terms)
    file = receiving.receiver._file(terms).model_copy(update={"flow_id": None})
    own = receiving.files.incoming("import-1", file, receiving.side.text(file.domain))
    own.append(0, CONTENT)
    own.put_in_place()
    with pytest.raises(FlowError, match="already"):
        receiving.receiver.finish(FLOW_ID)
    assert receiving.receiver.journal.load() == []


@pytest.mark.parametrize("end", ["source", "target"])
def test_nothing_is_received_of_or_into_a_domain_that_this_start_refused(receiving: Receiving, end: str) -> None:
    """Neither expected anew, nor what was expected before it was refused."""
    receiving.side.closed = frozenset({getattr(receiving.exchange.hello, end)})
    for attempt in (receiving.expect, lambda: receiving.receiver.welcome(receiving.exchange.hello)):
        with pytest.raises(FlowError) as caught:
            attempt()
        assert (caught.value.status, caught.value.code) == (403, "DOMAIN_CLOSED")
