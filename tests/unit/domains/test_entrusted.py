"""What came under a text of a domain is opened under a later one only if that is within it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.domains.canonical import DOMAIN_LABEL
from sealwright_policies.domains.endpoints import Endpoint
from sealwright_policies.domains.entrusted import (
    EntrustedText,
    entrusted_bytes,
    entrusted_text,
    parse_entrusted,
    widenings,
    wider_limits,
)
from sealwright_policies.domains.limits import LIMITS
from sealwright_policies.domains.model import Domain, Flow, Form
from sealwright_policies.errors import FormatError
from sealwright_policies.wire.framing import framed_digest
from sealwright_testing.domain_texts import domain_text, parse, replaced

KEY, OTHER_KEY = (
    base64.b64encode(
        ec.derive_private_key(number, ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).decode()
    for number in (1, 2)
)
CHAIN = '\n[[chain]]\nfrom = "records"\nforms = ["{form}"]\n'
RECORDS = domain_text("records", more='\n[[flow]]\nto = "training"\nforms = ["raw", "adapter"]\n')
TRAINING = domain_text(
    "training", "confidential", '\n[run]\nworkloads = ["lora"]\nengine = true\n' + CHAIN.format(form="raw")
)


def text(training: str = TRAINING, records: str = RECORDS) -> EntrustedText:
    """Of the domain ``training``."""
    domains = [parse(one).domain for one in (training, records)]
    return entrusted_text("training", {one.name: one for one in domains})


def keyed(owner: str, *lines: str) -> str:
    """A domain whose owner has a key."""
    return replaced(owner, 'name = "somebody"', "\n".join(('name = "somebody"', *lines)))


def test_the_same_text_and_a_narrower_one_are_within() -> None:
    assert widenings(text(), text()) == ()
    narrower = replaced(replaced(TRAINING, "engine = true\n", ""), '"2.0"', '"1.5"')
    assert widenings(text(), text(narrower)) == ()
    assert widenings(text(narrower), text()) == (
        "open.below_version: 2.0, was below 1.5",
        "run.engine: true, was at most false",
    )


def test_what_permits_nothing_may_change() -> None:
    more = TRAINING + '\n[[member]]\nkind = "adapter"\nid = "a"\nbase = "m"\n\n[resources]\nresults_mib = 64\n'
    assert widenings(text(), text(more)) == ()
    assert widenings(text(more), text()) == ()


def test_a_chain_that_is_gone_is_told_and_a_new_one_only_adds_limits() -> None:
    alone = replaced(TRAINING, CHAIN.format(form="raw"), "")
    assert widenings(text(), text(alone)) == ("chain: raw from records no more",)
    assert widenings(text(), text(replaced(TRAINING, '["raw"]', '["adapter"]'))) == ("chain: raw from records no more",)
    assert widenings(text(alone), text()) == ()
    released = replaced(TRAINING, '["raw"]', '["metrics"]')
    assert widenings(text(released), text(alone)) == ()


def test_another_name_is_another_domain() -> None:
    other = entrusted_text("records", {"records": parse(RECORDS).domain})
    assert widenings(text(), other) == ("name: records, was training",)


@pytest.mark.parametrize("whose", ["training", "records"])
def test_an_owner_keeps_his_say(whose: str) -> None:
    """Also the one upstream, who signs what runs on his data."""

    def of(*lines: str, name: str = "somebody") -> EntrustedText:
        training, records = (
            replaced(keyed(one, *lines), '"somebody"', f'"{name}"') if which == whose else one
            for which, one in (("training", TRAINING), ("records", RECORDS))
        )
        return text(training, records)

    key, other, enough = f'key = "{KEY}"', f'key = "{OTHER_KEY}"', "vendor_workloads = true"
    named = "owner" if whose == "training" else "owner of records"
    assert widenings(of(), of(key)) == ()
    assert widenings(of(), of(key, enough)) == ()
    assert widenings(of(key, enough), of(key)) == ()
    assert widenings(of(key), of()) == (f"{named}: no key",)
    assert widenings(of(key), of(other)) == (f"{named}: another key",)
    assert widenings(of(key), of(key, enough)) == (f"{named}: vendor_workloads",)
    assert widenings(of(), of(name="someone else")) == (f"{named}: someone else, was somebody",)


def test_what_was_kept_is_read_as_it_was() -> None:
    assert parse_entrusted(entrusted_bytes(text())) == text()


def test_a_text_from_before_a_key_there_is_now_forbids_what_the_key_lets() -> None:
    """Else every release with a new key would have what came under a text that is silent on it."""
    values = json.loads(text().form)
    del values["run"]["imports"]
    older = with_form(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())
    assert widenings(parse_entrusted(older), text()) == ()
    let_in = replaced(TRAINING, "engine = true\n", 'engine = true\nimports = ["data-set"]\n')
    assert widenings(parse_entrusted(older), text(let_in)) == ("run.imports: data-set, was only none",)


def test_a_text_of_a_later_product_is_not_read() -> None:
    values = json.loads(text().form) | {"later": 1}
    with pytest.raises(FormatError, match="later"):
        parse_entrusted(with_form(json.dumps(values).encode()))


def test_a_text_is_that_of_its_digest_and_has_all_its_owners() -> None:
    changes: tuple[dict[str, Any], ...] = ({"digest": "00" * 32}, {"owners": {}})
    for change in changes:
        with pytest.raises(FormatError):
            parse_entrusted(entrusted_bytes(text().model_copy(update=change)))


def with_form(form: bytes) -> bytes:
    digest = framed_digest(DOMAIN_LABEL, form).hex()
    return entrusted_bytes(text().model_copy(update={"form": form, "digest": digest}))


# --- whatever the texts say -----------------------------------------------------------------------------------------

WIDER: dict[str, Any] = {
    "level": "internal",
    "open.from_version": "0.1",
    "open.below_version": "3.0",
    "open.tiers": ("discrete", "software"),
    "open.features": (),
    "run.engine": True,
    "run.workloads": ("lora", "other"),
    "run.writable_code": True,
    "run.imports": ("results",),
    "run.own_adapters": 5,
    "api.completions": True,
    "api.embeddings": True,
    "api.pad_stream": False,
    "egress": (Endpoint(host="192.0.2.1", port=443),),
    "flow": (Flow(to="elsewhere", forms=(Form.METRICS,)),),
    "metering.counters": ("requests", "busy_ms"),
    "metering.by_key": True,
}
"""A wider value for each key; of numbers, one more."""
KEYS = list(LIMITS)


def changed(domain: Domain, key: str, value: Any) -> Domain:
    """With another value of one key."""
    first, _, second = key.partition(".")
    if not second:
        return domain.model_copy(update={first: value})
    return domain.model_copy(update={first: getattr(domain, first).model_copy(update={second: value})})


@given(narrowed=st.sets(st.sampled_from(KEYS)), widened=st.sampled_from(KEYS))
def test_one_wider_key_is_found_whatever_else_is_narrower(narrowed: set[str], widened: str) -> None:
    """The other way round, what is narrower in all is within."""
    base = parse(domain_text("training", more='\n[run]\nworkloads = ["lora"]\n')).domain
    base = changed(changed(base, "open.features", ("training",)), "level", "confidential")
    wide = base
    for key in KEYS:
        wide = changed(wide, key, _wider(key, LIMITS[key].value(base)))
    narrow = wide
    for key in narrowed - {widened}:
        narrow = changed(narrow, key, LIMITS[key].value(base))
    before = changed(wide, widened, LIMITS[widened].value(base))
    found = wider_limits(before, narrow)
    assert [one.partition(":")[0] for one in found] == [widened]
    assert not list(wider_limits(wide, narrow))


def _wider(key: str, value: Any) -> Any:
    return WIDER[key] if key in WIDER else value + 1
