"""What a key in a PKCS#11 token costs against one in a file: signatures and exchanges, in turns, on one thread.

The token is SoftHSM2, so what is measured is the way through PKCS#11; a real HSM adds its own time and its network's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from sealwright_custody.keeper import Keeper
from sealwright_custody.kinds import KeyKind
from sealwright_custody.locator import FileLocator
from sealwright_testing.bench import Figure, figure, in_turns, ratio
from sealwright_testing.softhsm import new_token

ROUNDS, CALLS = 7, 200
MESSAGE = b"a lease is signed like this" * 8
OTHER = ec.generate_private_key(ec.SECP256R1()).public_key()
NAMES = {KeyKind.P256: "ecdsa_sign", KeyKind.P256_ECDH: "ecdh_exchange", KeyKind.ED25519: "ed25519_sign"}


def measure() -> Iterator[Figure]:
    """The figures."""
    with tempfile.TemporaryDirectory() as directory:
        token = new_token(Path(directory))
        keeper = Keeper(Path(directory))
        for kind, name in NAMES.items():
            inside = _work(keeper.generate(token.locator(name), kind), kind)
            outside = _work(keeper.generate(FileLocator(Path(f"{name}.pem")), kind), kind)
            of_token, of_file = in_turns(ROUNDS, partial(_microseconds, inside), partial(_microseconds, outside))
            yield figure(f"{name}_token_us", of_token, "µs")
            yield figure(f"{name}_file_us", of_file, "µs")
            yield ratio(f"{name}_token_vs_file", of_token, of_file, against="the same key type in a file")
        keeper.close()


def _work(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey, kind: KeyKind) -> Callable[[], object]:
    if isinstance(key, Ed25519PrivateKey):
        return lambda: key.sign(MESSAGE)
    if kind is KeyKind.P256_ECDH:
        return lambda: key.exchange(ec.ECDH(), OTHER)
    return lambda: key.sign(MESSAGE, ec.ECDSA(SHA256()))


def _microseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        work()
    return (time.perf_counter() - start) / CALLS * 1e6
