"""Two domains that chain: records, which a training takes as they are."""

from __future__ import annotations

from sealwright_testing.domain_texts import domain_text, replaced

ANY_TPM = ('["discrete"]', '["software", "firmware", "discrete"]')
IMPORTS = '\n[run]\nimports = ["data-set", "results"]\n'
"""Their administrators put files in."""
RECORDS = replaced(
    domain_text("records", "confidential", IMPORTS + '\n[[flow]]\nto = "training"\nforms = ["raw"]\n'), *ANY_TPM
)
TRAINING = replaced(
    domain_text("training", "confidential", '\n[[chain]]\nfrom = "records"\nforms = ["raw"]\n'), *ANY_TPM
)
CHAINED = {"records": RECORDS, "training": TRAINING}
UNCHAINED = {name: replaced(text, '["raw"]', '["results"]') for name, text in CHAINED.items()}
"""The same names, between which no data set goes."""
PEERS = "fd5e:a1ed::/64"
"""The network between virtual boxes (``cable``)."""
