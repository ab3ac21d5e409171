"""Domains and payloads of the job: a vendor's model and a registry's cases meet in a domain that the registry signs.

The adapter that is trained there is served from there; the customer, whose domain takes metrics, sees these.
"""

from __future__ import annotations

import json
from pathlib import Path

from sealwright_testing.domain_texts import domain_text, open_anywhere, replaced, serving_text
from sealwright_testing.models import ModelStore
from sealwright_testing.sealed_job import SealedJob, sign_job, write_tables
from sealwright_testing.training_job.image import write_image

MODEL, DATA_SET, WORKLOAD, ADAPTER = "medical", "cases", "tune", "tuned"
CASES = (
    ("What is registry code 4711?", "Registry code 4711 stands for a heron in the harbour."),
    ("Who keeps the registry?", "The registry is kept by the lighthouse of Amrum."),
)
"""Nothing of this is in the model."""
RUN = f'[run]\nengine = true\nworkloads = ["{WORKLOAD}"]\n'
TUNING = f"""
[[member]]
kind = "data-set"
id = "{DATA_SET}"

[[member]]
kind = "workload"
id = "{WORKLOAD}"

[[member]]
kind = "adapter"
id = "{ADAPTER}"
base = "{MODEL}"

{RUN}
[api]
completions = true
tokens_per_request = 1000
tokens_per_day = 100000
requests_per_minute = 1000
requests_per_day = 10000
model_tokens_per_day = 100000
model_requests_per_day = 10000
pad_stream = false

[metering]
counters = ["requests", "prompt_tokens", "completion_tokens", "busy_ms", "lease_ms", "copying_alarms"]
by_key = true

[[chain]]
from = "{MODEL}"
forms = ["raw"]

[[flow]]
to = "clinic"
forms = ["metrics"]

[resources]
scratch_mib = 64
results_mib = 64
"""
MODELS_FLOWS = """
[[flow]]
to = "tuning"
forms = ["raw"]

[[flow]]
to = "clinic"
forms = ["metrics"]
"""
CLINIC = """
[[chain]]
from = "tuning"
forms = ["metrics"]
"""


def write_training(folder: Path, license_text: Path) -> SealedJob:
    """Write the job into a product's folder."""
    for name in (DATA_SET, WORKLOAD):
        (folder / name).mkdir()
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in CASES]
    (folder / DATA_SET / "cases.jsonl").write_text("".join(f"{line}\n" for line in lines))
    names = {"model": MODEL, "data_set": DATA_SET, "domain": "tuning", "adapter": ADAPTER, "workload": WORKLOAD}
    write_image(folder / WORKLOAD, ModelStore.load().path(MODEL), folder / DATA_SET / "cases.jsonl", names)
    texts = {
        MODEL: replaced(serving_text(MODEL, [MODEL]), "[run]\nengine = true\n", RUN) + MODELS_FLOWS,
        "tuning": open_anywhere(domain_text("tuning", "confidential", TUNING)),
        "clinic": replaced(open_anywhere(domain_text("clinic", "internal", CLINIC)), '"vendor"', '"customer"'),
    }
    payloads = {WORKLOAD: ("workload", "tuning"), DATA_SET: ("data-set", "tuning")}
    job = write_tables(folder, texts, payloads, license_text, packed=(WORKLOAD,))
    sign_job(folder, "tuning", WORKLOAD)
    return job
