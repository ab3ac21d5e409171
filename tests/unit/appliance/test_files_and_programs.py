"""Files whole after a power cut; programs run with secrets that nobody else sees; keys kept as hashes."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_appliance.api_keys import KEYS_MOST, ApiKeyError, ApiKeys, KeyFile, StoredKey, draw_api_key
from sealwright_appliance.files import read_file, write_durably
from sealwright_appliance.paths import Paths
from sealwright_appliance.release_files import load_release, root_hash, with_variants
from sealwright_appliance.run import ENVIRONMENT, ToolError, run
from sealwright_appliance.tls import give_to_gateway, kept_tls_identity
from sealwright_policies.appraisal.boot_variants import VARIANTS_ON_ESP
from sealwright_policies.appraisal.reference_values import MANIFEST_ON_ESP
from sealwright_policies.errors import OperationError, RejectionCode, UsageError, VerificationError
from sealwright_policies.wire.encoding import document_bytes
from sealwright_policies.wire.state_approval import approved_states
from sealwright_testing.evidence_factory import SyntheticBox
from sealwright_testing.fat32 import fat32_volume
from sealwright_testing.image_inputs import make_service

SERVICE = make_service().service


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Nothing is left beside it, and its mode does not depend on the umask."""
    target = tmp_path / "folder" / "file"
    mask = os.umask(0o077)
    try:
        write_durably(target, b"first", mode=0o644)
        write_durably(target, b"second", mode=0o644)
    finally:
        os.umask(mask)
    assert target.read_bytes() == b"second"
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full in the middle."""
    target = tmp_path / "file"
    write_durably(target, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OperationError, match="No space left"):
        write_durably(target, b"new")
    assert target.read_bytes() == b"old"


def test_reading_is_bounded(tmp_path: Path) -> None:
    """A file that grew is refused; one that is missing is None."""
    (tmp_path / "file").write_bytes(b"x" * 11)
    with pytest.raises(OperationError, match="longer than 10"):
        read_file(tmp_path / "file", 10)
    assert read_file(tmp_path / "none", 10) is None


@pytest.mark.timeout(30)
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody writes into it, for ever."""
    os.mkfifo(tmp_path / "fifo")
    assert read_file(tmp_path / "fifo", 10) == b""


def test_a_secret_reaches_the_program_alone() -> None:
    """Not in its arguments, not in its environment; the descriptor is not there for others."""
    secret = bytes(range(64))
    script = (
        "import sys; path = sys.argv[1]; "
        "print(open(path, 'rb').read().hex(), path, open('/proc/self/cmdline', 'rb').read().hex(), "
        "open('/proc/self/environ', 'rb').read().hex())"
    )
    content, path, arguments, environment = run(
        ["/usr/bin/python3", "-c", script, "{secret0}"], secrets=[secret]
    ).split()
    assert content == secret.hex()
    assert path.startswith("/dev/fd/")
    assert secret.hex() not in arguments + environment


def test_programs_get_no_environment_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was set for this process reaches them."""
    monkeypatch.setenv("LD_PRELOAD_NAMESAKE", "x")
    printed = run(["/usr/bin/env"])
    assert {line.split("=")[0] for line in printed.splitlines()} == set(ENVIRONMENT)


def test_a_failure_says_what_the_program_said() -> None:
    """Its last words and its status; a missing program by name."""
    with pytest.raises(ToolError, match="cannot access") as caught:
        run(["/usr/bin/ls", "/no/such/file"])
    assert caught.value.status == 2
    with pytest.raises(OperationError, match="no-such-program is missing"):
        run(["no-such-program"])


def test_a_program_that_hangs_is_ended() -> None:
    """The boot goes on with a reason."""
    with pytest.raises(OperationError, match="did not end within"):
        run(["/usr/bin/sleep", "60"], timeout_s=0.1)


def test_api_keys_are_kept_as_hashes(tmp_path: Path) -> None:
    """The key is not kept; its name is not given twice, so that nobody replaces the administrator's."""
    keys = ApiKeys(tmp_path / "api-keys.json")
    key = keys.create("first", admin=True)
    (stored,) = keys.load().keys
    assert stored.sha256 == hashlib.sha256(key.encode()).hexdigest()
    assert stored.admin
    assert key.encode() not in (tmp_path / "api-keys.json").read_bytes()
    with pytest.raises(UsageError, match="named 'first' already"):
        keys.create("first", admin=False)
    assert keys.load().keys == [stored]
    keys.ensure("first", key, admin=True)
    assert keys.load().keys == [stored]
    with pytest.raises(UsageError, match="named 'first' already"):
        keys.ensure("first", draw_api_key(), admin=True)


def test_a_revoked_key_is_gone_and_the_last_administrators_stays(tmp_path: Path) -> None:
    """Without one nobody could make a key any more; with two, either may go."""
    keys = ApiKeys(tmp_path / "api-keys.json", lambda: 1_700_000_000.9)
    first, _ = keys.create("first", admin=True), keys.create("ward", admin=False)
    assert {key.created for key in keys.load().keys} == {1_700_000_000}
    for name, status, code in (("nobody", 404, "UNKNOWN_API_KEY"), ("first", 409, "LAST_ADMIN_KEY")):
        with pytest.raises(ApiKeyError) as caught:
            keys.revoke(name)
        assert (caught.value.status, caught.value.code) == (status, code)
    keys.revoke("ward")
    assert not keys.holds("ward")
    second = keys.create("second", admin=True)
    keys.revoke("first")
    keys.require_admin(second)
    with pytest.raises(ApiKeyError):
        keys.require_admin(first)


def test_a_key_may_have_models_and_an_end_and_an_administrators_neither(tmp_path: Path) -> None:
    """Else the last administrator's could end; and a key is made whose end is to come."""
    keys = ApiKeys(tmp_path / "api-keys.json", lambda: 100.0)
    keys.create("ward", admin=False, models=["medical"], expires=101)
    (stored,) = keys.load().keys
    assert (stored.models, stored.expires) == (["medical"], 101)
    with pytest.raises(UsageError, match="end of the key is over"):
        keys.create("x", admin=False, expires=100)
    for name, bound in (("y", {"models": ["medical"]}), ("z", {"expires": 101})):
        with pytest.raises(UsageError, match="An administrator's key"):
            keys.create(name, admin=True, **bound)
    assert keys.load().keys == [stored]


def test_keys_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    """They are for all models, and have no end."""
    digest = "0" * 64
    key = f'{{"name": "a", "sha256": "{digest}", "admin": true, "created": 1}}'
    (tmp_path / "api-keys.json").write_text(f'{{"keys": [{key}]}}')
    (stored,) = ApiKeys(tmp_path / "api-keys.json").load().keys
    assert (stored.models, stored.expires) == (None, None)


def test_as_many_keys_as_there_may_be_are_read_again(tmp_path: Path) -> None:
    """With the longest names, and the most and longest models."""
    models = [f"{number:064}" for number in range(32)]
    one = StoredKey(name="a", sha256="0" * 64, admin=False, created=2**40, models=models, expires=2**39)
    full = [one.model_copy(update={"name": chr(0x10000) * 60 + f"{at:04}"}) for at in range(KEYS_MOST)]
    (tmp_path / "api-keys.json").write_bytes(document_bytes(KeyFile(keys=full)))
    assert len(ApiKeys(tmp_path / "api-keys.json").load().keys) == KEYS_MOST


def test_the_certificate_stays(tmp_path: Path) -> None:
    """The console's fingerprint is the same after a restart; the gateway gets copies that others cannot read."""
    first = kept_tls_identity(tmp_path / "state", "a" * 52)
    assert kept_tls_identity(tmp_path / "state", "b" * 52) == first
    give_to_gateway(first, tmp_path / "tls", None)
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "tls/key.pem").stat().st_mode) == 0o640
    with pytest.raises(OperationError, match="group nobody-has-this does not exist"):
        give_to_gateway(first, tmp_path / "tls", "nobody-has-this")


@pytest.fixture(scope="module")
def synthetic() -> SyntheticBox:
    """A release."""
    return SyntheticBox(manifest_changes={"service_id": SERVICE.service_id})


def installed(root: Path, synthetic: SyntheticBox, command_line: str) -> Paths:
    """A box's files."""
    paths = Paths(root=root)
    key = synthetic.manifest_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for path, content in (
        (paths.partition("esp"), fat32_volume((MANIFEST_ON_ESP, synthetic.release_envelope))),
        (paths.manifest_key, key),
        (paths.release_key, synthetic.release.manifest.release_key.encode()),
        (paths.service, document_bytes(SERVICE)),
        (paths.kernel_command_line, command_line.encode()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return paths


def add_variants(paths: Paths, synthetic: SyntheticBox, variants: bytes) -> None:
    """Put ways signed later beside the manifest."""
    files = (MANIFEST_ON_ESP, synthetic.release_envelope), (VARIANTS_ON_ESP, variants)
    paths.partition("esp").write_bytes(fat32_volume(*files))


def test_the_manifest_of_the_running_root_is_taken(tmp_path: Path, synthetic: SyntheticBox) -> None:
    """Its signature and its root hash."""
    paths = installed(tmp_path, synthetic, f"quiet roothash={'5a' * 32} panic=5\n")
    assert load_release(paths).release_id == synthetic.release.release_id


@pytest.mark.parametrize(
    "command_line", [f"roothash={'00' * 32}", "quiet", f"roothash={'5a' * 32} roothash={'00' * 32}"]
)
def test_a_manifest_of_another_root_is_refused(tmp_path: Path, synthetic: SyntheticBox, command_line: str) -> None:
    """A signed manifest of another release on the ESP gives no layout for this one."""
    with pytest.raises(VerificationError) as caught:
        load_release(installed(tmp_path, synthetic, command_line))
    assert caught.value.code == RejectionCode.MANIFEST_MISMATCH


def test_a_manifest_by_another_key_is_refused(tmp_path: Path, synthetic: SyntheticBox) -> None:
    """The key in the root decides."""
    paths = installed(tmp_path, synthetic, f"roothash={'5a' * 32}")
    installed(tmp_path / "other", SyntheticBox(), "")
    paths.manifest_key.write_bytes(Paths(root=tmp_path / "other").manifest_key.read_bytes())
    with pytest.raises(VerificationError) as caught:
        load_release(paths)
    assert caught.value.code == RejectionCode.DOCUMENT_SIGNATURE


def test_ways_signed_later_are_taken_from_the_esp(tmp_path: Path, synthetic: SyntheticBox) -> None:
    """They are approved for the state volume like those of the manifest."""
    paths = installed(tmp_path, synthetic, f"roothash={'5a' * 32}")
    way = synthetic.way(b"something of this maker's own")
    add_variants(paths, synthetic, synthetic.variants(way))
    release = with_variants(paths, load_release(paths))
    assert release.variants == (way,)
    assert approved_states(release)[-1][4].hex() == way.pcr4


def test_ways_signed_by_another_key_are_refused(tmp_path: Path, synthetic: SyntheticBox) -> None:
    """The ESP is anybody's to write; the manifest key in the root decides."""
    paths = installed(tmp_path, synthetic, f"roothash={'5a' * 32}")
    stranger = ec.generate_private_key(ec.SECP256R1())
    add_variants(paths, synthetic, synthetic.variants(synthetic.way(b"x"), key=stranger))
    release = load_release(paths)
    assert release.variants == ()
    with pytest.raises(VerificationError) as caught:
        with_variants(paths, release)
    assert caught.value.code == RejectionCode.DOCUMENT_SIGNATURE


def test_a_manifest_that_names_another_release_key_is_refused(tmp_path: Path, synthetic: SyntheticBox) -> None:
    """Signed by the manifest key: the key for share B is still the one that was measured with the root."""
    paths = installed(tmp_path, synthetic, f"roothash={'5a' * 32}")
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    paths.release_key.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(VerificationError, match="another release key") as caught:
        load_release(paths)
    assert caught.value.code == RejectionCode.MANIFEST_MISMATCH


def test_a_manifest_for_another_service_is_refused(tmp_path: Path, synthetic: SyntheticBox) -> None:
    paths = installed(tmp_path, synthetic, f"roothash={'5a' * 32}")
    paths.service.write_bytes(document_bytes(SERVICE.model_copy(update={"service_id": "service-of-somebody-else"})))
    with pytest.raises(VerificationError, match="another licence service") as caught:
        load_release(paths)
    assert caught.value.code == RejectionCode.MANIFEST_MISMATCH


@pytest.mark.parametrize("missing", ["manifest_key", "release_key", "service"])
def test_a_root_without_its_keys_is_said(tmp_path: Path, synthetic: SyntheticBox, missing: str) -> None:
    paths = installed(tmp_path, synthetic, f"roothash={'5a' * 32}")
    getattr(paths, missing).unlink()
    with pytest.raises(OperationError, match="is missing"):
        load_release(paths)


def test_a_missing_manifest_is_said(tmp_path: Path) -> None:
    """An ESP with another file."""
    paths = Paths(root=tmp_path)
    paths.partition("esp").parent.mkdir(parents=True)
    paths.partition("esp").write_bytes(fat32_volume(("EFI/sealwright/other.json", b"{}")))
    with pytest.raises(OperationError, match="release manifest on the ESP is missing"):
        load_release(paths)


def test_the_last_root_hash_counts() -> None:
    """As systemd reads the command line."""
    assert root_hash("a roothash=11 b roothash=22") == "22"
    assert root_hash("xroothash=11") == ""
