"""Key locators: read and written alike, and never with a PIN in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwright_custody.locator import CredentialLocator, FileLocator, TokenLocator, parse_locator
from sealwright_policies.errors import UsageError

URI = "pkcs11:token=vendor%20hsm;object=lease-policy;id=%01%FF?module-path=/usr/lib/p11.so&pin-source=file:/etc/pin"


def test_the_three_kinds() -> None:
    assert parse_locator("file:a/b.pem") == FileLocator(Path("a/b.pem"))
    assert parse_locator("credential:lease-policy") == CredentialLocator("lease-policy")
    found = parse_locator(URI)
    assert found == TokenLocator(
        Path("/usr/lib/p11.so"), "vendor hsm", FileLocator(Path("/etc/pin")), "lease-policy", b"\x01\xff"
    )
    assert str(found) == URI


def test_a_pin_may_be_a_credential_or_a_bare_path() -> None:
    found = parse_locator("pkcs11:token=t?module-path=/m.so&pin-source=credential:pin")
    assert isinstance(found, TokenLocator)
    assert found.pin == CredentialLocator("pin")
    bare = parse_locator("pkcs11:token=t;type=private?module-path=/m.so&pin-source=/etc/pin")
    assert isinstance(bare, TokenLocator)
    assert bare.pin == FileLocator(Path("/etc/pin"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (URI.replace("pin-source=file:/etc/pin", "pin-value=1234"), "A PIN must not stand"),
        (URI.replace("&pin-source=file:/etc/pin", ""), "pin-source is missing"),
        (URI.replace("token=vendor%20hsm;", ""), "token is missing"),
        (URI.replace("object=", "slot-id="), "'slot-id' is not known"),
        (URI.replace("object=", "token="), "stands twice"),
        (URI.replace("lease-policy", "%FF%FE"), "not UTF-8"),
        (URI.replace(";id=", ";type=public;id="), "must be private"),
        ("credential:../pin", "letters, digits"),
        ("credential:..", "letters, digits"),
        ("file:", "expected file:PATH"),
        ("lease.pem", "expected file:"),
        ("http://x", "expected file:PATH"),
        ("file:" + "a" * 2000, "expected file:"),
        ("file:a\nb", "expected file:"),
    ],
)
def test_what_is_none(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        parse_locator(text)
    assert "1234" not in str(caught.value)


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)


@given(NAMES, NAMES, st.binary(max_size=8), NAMES)
def test_a_written_locator_reads_as_itself(token: str, label: str, key_id: bytes, path: str) -> None:
    made = TokenLocator(Path("/m") / path.replace("/", "_"), token, FileLocator(Path("/p")), label, key_id)
    assert parse_locator(str(made)) == made


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    for candidate in (text, f"pkcs11:{text}", f"file:{text}", f"credential:{text}"):
        try:
            parse_locator(candidate)
        except UsageError:
            continue
