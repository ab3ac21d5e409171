"""``sealwright-policy verify-quote``: check a quote from files, with any AK and in any one bank."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealwright_policies.cli_files import read_file
from sealwright_policies.errors import FormatError, UnsupportedError, UsageError
from sealwright_policies.tcg.algorithms import algorithm_name, curve_by_name
from sealwright_policies.tcg.attest import MAX_ATTEST_SIZE
from sealwright_policies.tcg.attestation import verify_quote_with_key
from sealwright_policies.tcg.pcr import DIGEST_SIZES, PCR_COUNT, bank_name, parse_selection
from sealwright_policies.tcg.signature import MAX_SIGNATURE_SIZE, PublicKey

MAX_PEM_SIZE = 16 << 10
MAX_PCR_FILE_SIZE = 64 << 20
"""Bytes; `eventlog --json` writes the events into the same file."""

EPILOG = """\
examples:
  tpm2_quote -c ak.ctx -l sha256:0,2,4,7,11 -q $NONCE -m quote.msg -s quote.sig
  sealwright-policy verify-quote --ak ak.pem --attest quote.msg --signature quote.sig \\
      --qualifying-data $NONCE --pcrs pcrs.json --select sha256:0,2,4,7,11

  --pcrs takes what `sealwright-policy eventlog --json` prints, {"sha256": {"0": "<hex>", ...}}, or {"0": "<hex>", ...}
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "verify-quote",
        help="check a TPM quote against an AK, qualifying data, a selection and PCR values",
        description="Check that a quote is signed by the AK, was made for the qualifying data, is over exactly the "
        "selected PCRs of one bank, and that these had the given values.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--ak", type=Path, required=True, metavar="PEM", help="public key: P-256, P-384, P-521 or RSA")
    parser.add_argument("--attest", type=Path, required=True, metavar="FILE", help="TPMS_ATTEST as signed")
    parser.add_argument("--signature", type=Path, required=True, metavar="FILE", help="TPMT_SIGNATURE")
    parser.add_argument("--qualifying-data", required=True, metavar="HEX", help="what extraData must be; may be empty")
    parser.add_argument("--pcrs", type=Path, required=True, metavar="FILE.json", help="PCR values as JSON")
    parser.add_argument("--select", required=True, metavar="BANK:LIST", help="for example sha256:0,1,2,7 or sha256:0-7")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify, and print what is now known."""
    bank, selection = parse_selection(options.select)
    qualifying_data = _hex_argument(options.qualifying_data)
    key = load_attestation_key(options.ak)
    attest = read_file(options.attest, max_size=MAX_ATTEST_SIZE)
    signature = read_file(options.signature, max_size=MAX_SIGNATURE_SIZE)
    pcrs = parse_pcr_values(read_file(options.pcrs, max_size=MAX_PCR_FILE_SIZE), bank)
    quote = verify_quote_with_key(
        key, attest, signature, qualifying_data=qualifying_data, pcrs=pcrs, selection=selection, bank=bank
    )
    clock = quote.clock_info
    print(
        f"OK: the quote is by this key over {bank_name(bank)}:{','.join(map(str, selection))} with the given values; "
        f"clock {clock.clock_ms} ms, {clock.reset_count} resets, {clock.restart_count} restarts, "
        f"clock {'safe' if clock.safe else 'not safe'}, firmware {quote.firmware_version:#018x}"
    )
    return 0


def load_attestation_key(path: Path) -> PublicKey:
    """Read a PEM public key.

    Raises:
        UsageError: the file cannot be read.
        FormatError: it is no PEM public key.
        UnsupportedError: a key of a type or curve that no AK has.
    """
    pem = read_file(path, max_size=MAX_PEM_SIZE)
    try:
        key = load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise UnsupportedError(f"{path}: {error}") from None
    except ValueError:
        raise FormatError(f"{path}: not a public key in PEM form") from None
    if isinstance(key, rsa.RSAPublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if curve_by_name(key.curve.name) is None:
            raise UnsupportedError(f"{path}: a key on curve {key.curve.name} is not supported")
        return key
    raise UnsupportedError(f"{path}: only RSA and ECDSA keys are supported")


def parse_pcr_values(data: bytes, bank: int) -> dict[int, bytes]:
    """Parse PCR values of ``bank`` from JSON: by PCR, by bank and PCR, or that below ``pcrs``.

    Raises:
        FormatError: not JSON of one of these forms.
    """
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"PCR values: not JSON: {error}") from None
    if isinstance(document, dict) and "pcrs" in document:
        document = document["pcrs"]
    if not isinstance(document, dict):
        raise FormatError("PCR values: not a JSON object")
    if any(name in document for name in map(algorithm_name, DIGEST_SIZES)):
        document = document.get(bank_name(bank), {})
        if not isinstance(document, dict):
            raise FormatError(f"PCR values: {bank_name(bank)} is not an object")
    return dict(_pcr_value(name, value, bank) for name, value in document.items())


def _pcr_value(name: str, value: Any, bank: int) -> tuple[int, bytes]:
    if not (name.isascii() and name.isdigit() and len(name) <= 2 and int(name) < PCR_COUNT):
        raise FormatError(f"PCR values: {name!r} is not a PCR from 0 to {PCR_COUNT - 1}")
    if not isinstance(value, str):
        raise FormatError(f"PCR values: PCR {name} is not text")
    try:
        digest = bytes.fromhex(value.removeprefix("0x"))
    except ValueError:
        raise FormatError(f"PCR values: PCR {name} is not hexadecimal") from None
    if len(digest) != DIGEST_SIZES[bank]:
        raise FormatError(f"PCR values: PCR {name} has {len(digest)} bytes, {bank_name(bank)} has {DIGEST_SIZES[bank]}")
    return int(name), digest


def _hex_argument(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UsageError("--qualifying-data is not hexadecimal") from None
