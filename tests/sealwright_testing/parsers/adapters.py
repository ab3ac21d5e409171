"""The customer's adapters: examples as they come, and what gateway, service and trainer say to each other."""

from __future__ import annotations

from collections.abc import Iterable

from sealwright_appliance.adapters.examples import parse_examples
from sealwright_appliance.adapters.messages import (
    AdapterOperation,
    AdapterReply,
    AdapterRequest,
    KeptAdapter,
    Trained,
    TrainerWord,
    TrainingCounts,
    parse_adapter_reply,
    parse_adapter_request,
    parse_kept_adapter,
    parse_trainer_word,
)
from sealwright_appliance.adapters.weights import LearnedAdapter, adapter_file, weights_size
from sealwright_appliance.serve.adapter_routes import parse_adapter_order
from sealwright_appliance.serve.errors import ApiError
from sealwright_policies.wire.encoding import document_bytes, parse_json
from sealwright_testing.adapters import example_line, examples, learned, shapes_of
from sealwright_testing.parsers.parser import Parser

SHAPES = shapes_of()


def of_adapters() -> Iterable[Parser]:
    """Readers, and messages."""
    adapter, numbers = learned(SHAPES)
    kept = KeptAdapter(
        adapter_id=f"adapter-{'0' * 24}", model="medical", member="own", name="ward", created=1, expires=2, examples=10
    )
    asked = AdapterRequest(operation=AdapterOperation.ADD, model="medical", name="ward", keys=["a"], size=3)
    word = TrainerWord(percent=100, trained=Trained(adapter=adapter, loss_before=2.5, loss_after=1.5))
    order = b'{"model":"medical","name":"ward","examples":"x","keys":["a"]}'
    line = example_line("q", "a", system="s").encode()
    yield Parser("examples", parse_examples, (b"\n" + examples(),))
    yield Parser("example", lambda raw: parse_examples(examples() + raw), (line,))
    yield Parser("adapter request", parse_adapter_request, (document_bytes(asked),))
    reply = AdapterReply(adapters=[kept], models=["x"], trainings=TrainingCounts(finished=1, failed=2))
    yield Parser("adapter reply", parse_adapter_reply, (document_bytes(reply),))
    yield Parser("kept adapter", parse_kept_adapter, (document_bytes(kept),))
    yield Parser("trainer's word", parse_trainer_word, (document_bytes(word),))
    yield Parser("adapter of a model", _of_model, (document_bytes(adapter),))
    yield Parser("adapter's numbers", lambda raw: adapter_file(adapter, raw, SHAPES), (numbers,))
    yield Parser("adapter order", parse_adapter_order, (order,), ApiError)


def _of_model(raw: bytes) -> int:
    return weights_size(parse_json(LearnedAdapter, raw, limit=1 << 16), SHAPES)
