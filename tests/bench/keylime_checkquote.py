"""Runs Keylime's checkquote, in Keylime's own environment; started by sealwright_testing.keylime.

The first line on standard input has the quotes, each further one asks for a round over all of them: answered with the
processor seconds that it took.
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import time

from keylime.tpm.tpm_util import checkquote  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    """Serve rounds until standard input ends."""
    logging.disable(logging.CRITICAL)
    names = ("key", "nonce", "signature", "attest", "pcrs")
    quotes = [tuple(base64.b64decode(quote[name]) for name in names) for quote in json.loads(sys.stdin.readline())]
    for _ in sys.stdin:
        begun = time.process_time()
        for key, nonce, signature, attest, pcrs in quotes:
            checkquote(key, nonce, signature, attest, pcrs, "sha256")
        print(time.process_time() - begun, flush=True)


if __name__ == "__main__":
    main()
