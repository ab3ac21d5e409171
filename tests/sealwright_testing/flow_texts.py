"""Two domains that chain: records, which a training takes as they are."""

from __future__ import annotations

from sealwright_testing.domain_texts import domain_text, replaced

ANY_TPM = ('["discrete"]', '["software", "firmware", "discrete"]')
RECORDS = replaced(domain_text("records", "confidential", '\n[[flow]]\nto = "training"\nforms = ["raw"]\n'), *ANY_TPM)
TRAINING = replaced(
    domain_text("training", "confidential", '\n[[chain]]\nfrom = "records"\nforms = ["raw"]\n'), *ANY_TPM
)
