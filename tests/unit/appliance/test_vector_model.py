"""By which model a gateway searches documents: what the root names, if it is open and may."""

from __future__ import annotations

from sealwright_appliance.gateway import vector_model
from sealwright_appliance.serve.document_vectors import VectorModel
from sealwright_appliance.status import PayloadState, PayloadStatus
from sealwright_policies.engines import NOTHING_KNOWN, DocumentVectors, ReleaseEngines
from sealwright_policies.outflow import NOTHING_SAID, OutflowPolicy, ReleaseOutflow

NAMED = DocumentVectors(model="vectors")
ENGINES = ReleaseEngines(version=1, models={}, documents=NAMED)
LET_OUT = ReleaseOutflow(version=1, models={"vectors": OutflowPolicy(embeddings=True)})


def opened(name: str) -> list[PayloadStatus]:
    is_open, root_hash = PayloadState.OPEN, "5e" * 32
    return [
        PayloadStatus(
            payload_id=name, kind="model", domain="d", file_name="m.gguf", partition_id=root_hash, state=is_open
        )
    ]


def test_the_named_model_is_taken_with_the_root_hash_of_its_partition() -> None:
    assert vector_model(ENGINES, opened("vectors"), LET_OUT) == VectorModel(NAMED, "5e" * 32)


def test_none_is_taken_that_is_not_named_not_open_or_lets_no_vectors_out() -> None:
    assert vector_model(NOTHING_KNOWN, opened("vectors"), LET_OUT) is None
    assert vector_model(ENGINES, opened("other"), LET_OUT) is None
    assert vector_model(ENGINES, opened("vectors"), NOTHING_SAID) is None
