"""Signed checkpoints: the C2SP note, and that nothing beside it is read."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from sealwright_policies.errors import FormatError, RejectionCode, SealwrightError, VerificationError
from sealwright_policies.transparency.checkpoint import Checkpoint, log_origin, sign_checkpoint, verify_checkpoint

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = log_origin("service-1")
CHECKPOINT = Checkpoint(ORIGIN, 1234, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, KEY)


def verified(note: str) -> Checkpoint:
    return verify_checkpoint(note, KEY.public_key(), ORIGIN)


def test_a_note_is_as_c2sp_has_it() -> None:
    """Spelled out once from signed-note and tlog-checkpoint."""
    raw = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    text = f"sealwright/v1/log/service-1\n1234\n{base64.b64encode(bytes(range(32))).decode()}\n"
    key_id = hashlib.sha256(b"sealwright/v1/log/service-1\n\x01" + raw).digest()[:4]
    signed = base64.b64encode(key_id + KEY.sign(text.encode())).decode()

    assert f"{text}\n\N{EM DASH} sealwright/v1/log/service-1 {signed}\n" == NOTE
    assert verified(NOTE) == CHECKPOINT


def test_lines_of_witnesses_are_passed_over() -> None:
    other = Ed25519PrivateKey.generate()
    witness = sign_checkpoint(Checkpoint("witness.example", 1, bytes(32)), other).split("\n\n")[1]
    namesake = sign_checkpoint(CHECKPOINT, other).split("\n\n")[1]

    assert verified(NOTE + witness) == CHECKPOINT
    assert verified(NOTE + namesake) == CHECKPOINT, "another key id"


@pytest.mark.parametrize(
    "note",
    [
        sign_checkpoint(CHECKPOINT, Ed25519PrivateKey.generate()),
        sign_checkpoint(Checkpoint(log_origin("service-2"), 1234, bytes(32)), KEY),
        NOTE.replace("1234", "1235"),
        NOTE + NOTE.split("\n\n")[1],
    ],
    ids=["other key", "other log", "other size", "signed twice"],
)
def test_a_note_that_the_log_did_not_sign_is_refused(note: str) -> None:
    with pytest.raises(VerificationError) as error:
        verified(note)
    assert error.value.code is RejectionCode.LOG_PROOF_INVALID


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("1234", "01234"),
        NOTE.replace("1234", "-1"),
        NOTE.replace("1234", "+1"),
        NOTE.replace("1234", "1_234"),
        NOTE.replace("1234", "1" + "\N{ARABIC-INDIC DIGIT TWO}"),
        NOTE.replace("1234", str(2**62)),
        NOTE.replace("\n\n", "\nextension\n\n", 1),
        NOTE.replace("\N{EM DASH}", "--"),
        NOTE.replace("=\n\n", "\n\n"),
        NOTE.replace("\n\n", "\n" + "A" * 4096 + "\n\n"),
        NOTE + NOTE.split("\n\n")[1] * 16,
        NOTE.replace("1234", "\ud800"),
        NOTE.split("\n\n")[0] + "\n\n\N{EM DASH} " + ORIGIN + " AAAA\n",
    ],
)
def test_what_is_no_note_is_malformed(note: str) -> None:
    with pytest.raises(FormatError):
        verified(note)


@given(st.text(max_size=200), st.integers(0, len(NOTE)), st.integers(0, len(NOTE)))
def test_no_text_raises_anything_else(text: str, first: int, last: int) -> None:
    for note in (text, NOTE[:first] + text + NOTE[last:]):
        try:
            assert verified(note) == CHECKPOINT
        except SealwrightError:
            continue


@given(
    st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    st.integers(0, 2**62 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_every_checkpoint_reads_back(service_id: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(log_origin(service_id), size, root)

    assert verify_checkpoint(sign_checkpoint(checkpoint, KEY), KEY.public_key(), checkpoint.origin) == checkpoint
