"""A good quote in files, and the command line of ``sealwright-policy verify-quote`` that names them."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.cli import main
from sealwright_policies.tcg.algorithms import AlgorithmId
from sealwright_testing.attestations import AttestFields, SoftwareAk, quote_bytes
from sealwright_testing.event_logs import LogWriter, replay, separator

EVENTS = [separator(pcr) for pcr in range(8)]
LOG = LogWriter((AlgorithmId.SHA1, AlgorithmId.SHA256)).log(EVENTS)
NONCE = bytes(range(32))
PCRS = replay(EVENTS, AlgorithmId.SHA256)
AK = SoftwareAk()
QUOTE = quote_bytes(AttestFields(AK.qualified_name, NONCE), PCRS)
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


def pem(key: PublicKey) -> bytes:
    """The key as people keep it."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class QuoteCase:
    """The files of a quote; write over one of them, then run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.select = "sha256:0-7"
        self.qualifying_data = NONCE.hex()
        self.write("ak.pem", pem(AK.private_key.public_key()))
        self.write("attest", QUOTE)
        self.write("signature", AK.sign(QUOTE))
        self.write("pcrs.json", json.dumps({str(index): value.hex() for index, value in PCRS.items()}).encode())

    def write(self, name: str, data: bytes) -> None:
        """Write one of the files anew."""
        (self.directory / name).write_bytes(data)

    def run(self) -> int:
        """Verify; return the exit code."""
        path = self.directory
        command = ["verify-quote", "--ak", f"{path}/ak.pem", "--attest", f"{path}/attest"]
        command += ["--signature", f"{path}/signature", "--qualifying-data", self.qualifying_data]
        command += ["--pcrs", f"{path}/pcrs.json", "--select", self.select]
        return main(command)
