"""``sealwright-policy verify-quote``: check a quote from files, with any AK and in any one bank."""

from __future__ import annotations

import argparse
from pathlib import Path

from sealwright_policies.cli_command import add_command
from sealwright_policies.cli_files import read_file
from sealwright_policies.cli_quote_files import (
    MAX_PCR_FILE_SIZE,
    load_attest,
    load_attestation_key,
    load_signatures,
    parse_pcr_values,
)
from sealwright_policies.errors import UsageError
from sealwright_policies.tcg.attestation import verify_quote_with_key
from sealwright_policies.tcg.pcr import bank_name, parse_selection

DESCRIPTION = """\
Check that a quote is signed by the AK, was made for the qualifying data, is over exactly the selected PCRs of one bank,
and that these had the given values. Files are taken as tpm2-tools, OpenSSL and others write them.
"""
EPILOG = """\
examples:
  tpm2_quote -c ak.ctx -l sha256:0,2,4,7,11 -q $NONCE -m quote.msg -s quote.sig
  sealwright-policy verify-quote --ak ak.pem --attest quote.msg --signature quote.sig \\
      --qualifying-data $NONCE --pcrs pcrs.json --select sha256:0,2,4,7,11

  --pcrs takes what `sealwright-policy eventlog --json` prints, {"sha256": {"0": "<hex>", ...}}, or {"0": "<hex>", ...}
"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "verify-quote",
        help_="check a TPM quote against an AK, qualifying data, a selection and PCR values",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    parser.add_argument(
        "--ak",
        type=Path,
        required=True,
        metavar="PEM",
        help="public key (also DER, TPM2B_PUBLIC): P-256, P-384, P-521 or RSA",
    )
    parser.add_argument(
        "--attest", type=Path, required=True, metavar="FILE", help="TPMS_ATTEST as signed, or TPM2B_ATTEST"
    )
    parser.add_argument(
        "--signature", type=Path, required=True, metavar="FILE", help="TPMT_SIGNATURE, or plain: ECDSA in DER, raw RSA"
    )
    parser.add_argument("--qualifying-data", required=True, metavar="HEX", help="what extraData must be; may be empty")
    parser.add_argument("--pcrs", type=Path, required=True, metavar="FILE.json", help="PCR values as JSON")
    parser.add_argument("--select", required=True, metavar="BANK:LIST", help="for example sha256:0,1,2,7 or sha256:0-7")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Verify, and print what is now known."""
    bank, selection = parse_selection(options.select)
    qualifying_data = _hex_argument(options.qualifying_data)
    key = load_attestation_key(options.ak)
    attest = load_attest(options.attest)
    signatures = load_signatures(options.signature, key)
    pcrs = parse_pcr_values(read_file(options.pcrs, max_size=MAX_PCR_FILE_SIZE), bank)
    quote = verify_quote_with_key(
        key, attest, signatures, qualifying_data=qualifying_data, pcrs=pcrs, selection=selection, bank=bank
    )
    clock = quote.clock_info
    print(
        f"OK: the quote is by this key over {bank_name(bank)}:{','.join(map(str, selection))} with the given values; "
        f"clock {clock.clock_ms} ms, {clock.reset_count} resets, {clock.restart_count} restarts, "
        f"clock {'safe' if clock.safe else 'not safe'}, firmware {quote.firmware_version:#018x}"
    )
    return 0


def _hex_argument(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise UsageError("--qualifying-data is not hexadecimal") from None
