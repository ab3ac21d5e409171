"""Writes the vectors of ``tests/vectors/transparency/``: proofs, checkpoints, releases in the log, audits, keys.

Run ``python -m sealwright_testing.transparency_vectors tests/vectors/transparency`` after a change of a format. New
keys are drawn. The tree's hashes are computed here from RFC 6962's definition, not by the code under test.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealwright_policies.errors import RejectionCode
from sealwright_testing.vectors import Vector

SIZE = 7
RELEASE_ID = "ab" * 32
RELEASE = {
    "version": 1,
    "kind": "release",
    "release_id": RELEASE_ID,
    "product": "sealed-advisor",
    "product_version": "1.2",
}
PLACE = 4
INVALID = RejectionCode.LOG_PROOF_INVALID


def tree_hash(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if len(entries) < 2:
        return hashlib.sha256(b"\x00" + entries[0] if entries else b"").digest()
    k = largest_split(len(entries))
    return hashlib.sha256(b"\x01" + tree_hash(entries[:k]) + tree_hash(entries[k:])).digest()


def audit_path(index: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(entries) < 2:
        return []
    k = largest_split(len(entries))
    if index < k:
        return [*audit_path(index, entries[:k]), tree_hash(entries[k:])]
    return [*audit_path(index - k, entries[k:]), tree_hash(entries[:k])]


def subproof(first: int, entries: Sequence[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if first == len(entries):
        return [] if whole else [tree_hash(entries)]
    k = largest_split(len(entries))
    if first <= k:
        return [*subproof(first, entries[:k], whole=whole), tree_hash(entries[k:])]
    return [*subproof(first - k, entries[k:], whole=False), tree_hash(entries[:k])]


def largest_split(size: int) -> int:
    """The largest power of two below a size."""
    k = 1
    while k * 2 < size:
        k *= 2
    return k


class Scene:
    """A log of seven entries, a release among them."""

    def __init__(self) -> None:
        self.entries = [b"entry %d" % number for number in range(SIZE)]
        self.entries[PLACE] = json.dumps(RELEASE, separators=(",", ":")).encode()
        self.key, self.other_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        self.origin = "sealwright/v1/log/service-1"

    def note(self, *, size: int = SIZE, key: Ed25519PrivateKey | None = None, origin: str = "") -> str:
        """A signed checkpoint of the first entries."""
        signer, name = key or self.key, origin or self.origin
        text = f"{name}\n{size}\n{base64.b64encode(tree_hash(self.entries[:size])).decode()}\n"
        return f"{text}\n{self.signature(text, name, signer)}"

    def signature(self, text: str, name: str, key: Ed25519PrivateKey) -> str:
        """A signature line."""
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        key_id = hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4]
        return f"— {name} {base64.b64encode(key_id + key.sign(text.encode())).decode()}\n"

    def pem(self) -> str:
        """The log's key."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def proof_vectors(scene: Scene) -> list[Vector]:
    """Inclusion and consistency."""
    entries = scene.entries
    path, steps = ([one.hex() for one in proof] for proof in (audit_path(2, entries), subproof(3, entries)))
    inclusion: dict[str, Any] = {
        "leaf": tree_hash(entries[2:3]).hex(),
        "index": 2,
        "size": SIZE,
        "path": path,
        "root": tree_hash(entries).hex(),
    }
    consistency: dict[str, Any] = {
        "first": 3,
        "second": SIZE,
        "first_root": tree_hash(entries[:3]).hex(),
        "second_root": tree_hash(entries).hex(),
        "path": steps,
    }
    nodes = tree_hash(entries[0:1]) + tree_hash(entries[1:2])
    forged = hashlib.sha256(b"\x00" + nodes).hexdigest()

    def included(name: str, description: str, code: RejectionCode | None = INVALID, **changes: Any) -> Vector:
        return Vector(name, description, "transparency.md 3", "verify_inclusion", inclusion | changes, code)

    def consistent(name: str, description: str, code: RejectionCode | None = INVALID, **changes: Any) -> Vector:
        return Vector(name, description, "transparency.md 3", "verify_consistency", consistency | changes, code)

    return [
        included("inclusion-good", "an entry in the middle", None),
        included("inclusion-of-last", "the last entry, whose path is shorter", None, index=6,
                 leaf=tree_hash(entries[6:]).hex(), path=[one.hex() for one in audit_path(6, entries)]),
        included("inclusion-of-only", "a log of one entry", None, index=0, size=1, path=[],
                 leaf=tree_hash(entries[:1]).hex(), root=tree_hash(entries[:1]).hex()),
        included("inclusion-other-entry", "another entry", leaf=tree_hash(entries[3:4]).hex()),
        included("inclusion-other-place", "the neighbour's place", index=3),
        included("inclusion-beyond-the-end", "a place beyond the log", index=7),
        included("inclusion-cut", "a path without its last hash", path=path[:-1]),
        included("inclusion-longer", "a path with one hash more", path=[*path, "00" * 32]),
        included("inclusion-old-tree", "a root of an older tree", root=tree_hash(entries[:6]).hex()),
        included("inclusion-inner-node", "two inner hashes as an entry", leaf=forged, index=0, size=4,
                 path=path[1:2], root=tree_hash(entries[:4]).hex()),
        consistent("consistency-good", "three entries, then seven", None),
        consistent("consistency-of-power-of-two", "four entries, whose root is in the tree of seven", None, first=4,
                   first_root=tree_hash(entries[:4]).hex(), path=[one.hex() for one in subproof(4, entries)]),
        consistent("consistency-with-empty", "the empty log", None, first=0, path=[],
                   first_root=hashlib.sha256().hexdigest()),
        consistent("consistency-other-beginning", "an earlier log with another entry",
                   first_root=tree_hash([*entries[:2], b"other"]).hex()),
        consistent("consistency-split-view", "one size, two roots", first=7, first_root=tree_hash(entries[::-1]).hex(),
                   path=[]),
        consistent("consistency-cut", "a path without its last hash", path=steps[:-1]),
        consistent("consistency-shrunk", "a later log that is smaller", first=7, second=3),
    ]  # fmt: skip


def checkpoint_vectors(scene: Scene) -> list[Vector]:
    """Signed notes."""
    good = scene.note()
    text, line = good.split("\n\n")

    def vector(name: str, description: str, note: str, **expected: Any) -> Vector:
        values = {"note": note, "key": scene.pem(), "origin": scene.origin}
        return Vector(name, description, "transparency.md 2", "verify_checkpoint", values, **expected)

    return [
        vector("checkpoint-good", "as signed", good),
        vector("checkpoint-with-witness", "a further line by a witness",
               good + scene.signature(f"{text}\n", "witness.example", scene.other_key)),
        vector("checkpoint-other-key", "signed by another key", scene.note(key=scene.other_key), code=INVALID),
        vector("checkpoint-other-log", "of another service", scene.note(origin="sealwright/v1/log/x"), code=INVALID),
        vector("checkpoint-other-size", "another size than signed", good.replace("\n7\n", "\n8\n"), code=INVALID),
        vector("checkpoint-signed-twice", "the log's line twice", good + line, code=INVALID),
        vector("checkpoint-leading-zero", "a second spelling of the size", good.replace("\n7\n", "\n07\n"),
               outcome="malformed"),
        vector("checkpoint-extension", "a further line in the text", good.replace("\n\n", "\nmore\n\n", 1),
               outcome="malformed"),
        vector("checkpoint-unsigned", "no signature line", f"{text}\n\n", outcome="malformed"),
        vector("checkpoint-trailing", "a byte behind it", good + " ", outcome="malformed"),
    ]  # fmt: skip


def schedule_vectors(scene: Scene) -> list[Vector]:
    """Checkpoints of a log whose first key was followed by another, and retired by entry 5."""
    by_both = scene.note() + scene.signature(scene.note().partition("\n\n")[0] + "\n", scene.origin, scene.other_key)
    public = scene.other_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    raw = scene.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    retired = {
        "version": 1, "kind": "log-key", "entry_id": "00" * 16, "at": 0, "event": "retired",
        "key": hashlib.sha256(raw).hexdigest(),
    }  # fmt: skip

    def vector(name: str, description: str, note: str, code: RejectionCode | None = None, entries: Any = 5) -> Vector:
        noted = {str(entries): json.dumps(retired, separators=(",", ":"))} if entries else {}
        values = {"note": note, "keys": [scene.pem(), public], "origin": scene.origin, "log_keys": noted}
        return Vector(name, description, "transparency.md 8", "verify_scheduled", values, code)

    return [
        vector("schedule-before-retirement", "the first key, up to its end", scene.note(size=5)),
        vector("schedule-behind-retirement", "the first key, one entry later", scene.note(size=6),
               RejectionCode.LOG_KEY_RETIRED),
        vector("schedule-both-sign", "both keys, behind the end of the first", by_both),
        vector("schedule-second-key", "the second key", scene.note(key=scene.other_key)),
        vector("schedule-not-retired", "the first key, which the log has not retired", scene.note(), entries=None),
        vector("schedule-unknown-key", "a key that no public file names", scene.note(key=Ed25519PrivateKey.generate()),
               INVALID),
    ]  # fmt: skip


def release_vectors(scene: Scene) -> list[Vector]:
    """What a lease carries."""
    path, short = ([one.hex() for one in audit_path(PLACE, scene.entries[:size])] for size in (SIZE, 6))
    proof = {
        "product": RELEASE["product"],
        "product_version": RELEASE["product_version"],
        "index": PLACE,
        "path": path,
        "checkpoint": scene.note(),
    }

    def vector(name: str, description: str, release_id: str = RELEASE_ID, **changes: Any) -> Vector:
        code = changes.pop("code", INVALID)
        values = {"proof": proof | changes, "release_id": release_id, "log_key": scene.pem()}
        return Vector(name, description, "transparency.md 6", "verify_release_proof", values, code)

    return [
        vector("release-logged", "as a lease carries it", code=None),
        vector("release-under-older-checkpoint", "an older checkpoint is as good", code=None,
               path=short, checkpoint=scene.note(size=6)),
        vector("release-other", "the proof of another release", "cd" * 32),
        vector("release-as-other-version", "the log has it as another version", product_version="1.3"),
        vector("release-other-place", "the place of another entry", index=5),
        vector("release-path-cut", "a path without its last hash", path=path[:-1]),
        vector("release-path-of-older-tree", "a path of an older tree", path=short),
        vector("release-before-it-was-logged", "a checkpoint from before", checkpoint=scene.note(size=PLACE)),
        vector("release-other-log-key", "a log of somebody else's", checkpoint=scene.note(key=scene.other_key)),
    ]  # fmt: skip


def found_vectors(scene: Scene, vector: Callable[..., Vector]) -> list[Vector]:
    """Exports in which each entry is about one row: how it was found, and how it was left."""

    def of_states(*states: str) -> dict[str, Any]:
        made = Scene()
        made.key = scene.key
        made.entries = [
            b'{"version":1,"kind":"operation","entry_id":"%032x","at":1,"operation_id":"o","actor_kind":"cli",'
            b'"actor":"a","operation":"test","subject":"",'
            b'"rows":[{"table":"licenses","key":"l",%s}]}' % (number, state.encode())
            for number, state in enumerate(states)
        ]
        return {"entries": [entry.decode() for entry in made.entries], "checkpoint": made.note(size=len(states))}

    one, two = '"%s"' % ("11" * 32), '"%s"' % ("22" * 32)
    new, gone = f'"sha256":{one},"before":null', f'"sha256":null,"before":{one}'
    return [
        vector("audit-row-found-as-left", "new, gone, new", **of_states(new, gone, new), clean=True),
        vector("audit-row-found-otherwise", "edited in between", **of_states(new, f'"sha256":{one},"before":{two}')),
        vector("audit-row-found-gone", "removed in between", **of_states(new, new)),
        vector("audit-row-found-there", "put in by nobody", **of_states(gone)),
        vector("audit-row-found-unsaid", "it does not say how", **of_states(f'"sha256":{one}')),
    ]


def audit_vectors() -> list[Vector]:
    """Exports of a log, and checkpoints that the auditor has kept."""
    scene = Scene()
    scene.entries = [
        b'{"version":1,"kind":"decision","entry_id":"%032x","at":%d,"decision_id":"d","purpose":"renew","code":"ok",'
        b'"device_id":"e","license_id":"l","rows":[]}' % (number, number)
        for number in range(SIZE)
    ]
    lines = [entry.decode() for entry in scene.entries]
    mismatch = RejectionCode.AUDIT_MISMATCH

    def vector(
        name: str, description: str, entries: list[str], *, kept: str = "", clean: bool = False, checkpoint: str = ""
    ) -> Vector:
        values = {"entries": entries, "checkpoint": checkpoint or scene.note(), "kept": kept, "log_key": scene.pem()}
        code = None if clean else mismatch
        return Vector(name, description, "transparency.md 7", "audit", values, code)

    signed_before = scene.note(size=4)
    caused_by_nobody = Scene()
    caused_by_nobody.key = scene.key
    caused_by_nobody.entries = [
        *scene.entries[:-1],
        b'{"version":1,"kind":"change","entry_id":"%032x","at":6,"reason":"written","rows":[]}' % 6,
    ]
    changed = [entry.decode() for entry in caused_by_nobody.entries]
    other = Scene()
    other.key, other.entries = scene.key, [b"another history"] * 4
    return [
        vector("audit-good", "as exported, with an earlier checkpoint", lines, kept=signed_before, clean=True),
        vector("audit-entry-edited", "another time", [lines[0].replace('"at":0', '"at":1'), *lines[1:]]),
        vector("audit-entry-removed", "one entry less in the middle", [*lines[:3], *lines[4:]]),
        vector("audit-last-entry-removed", "one entry less at the end", lines[:-1]),
        vector("audit-entry-added", "one entry more than was signed", [*lines, lines[0]]),
        vector("audit-entries-reordered", "two entries changed places", [lines[1], lines[0], *lines[2:]]),
        vector("audit-not-an-entry", "an unknown field", [lines[0].replace('"at":0', '"at":0,"note":""'), *lines[1:]]),
        vector(
            "audit-change-without-a-cause",
            "a change that no decision and no operation speaks for",
            changed,
            checkpoint=caused_by_nobody.note(),
        ),
        *found_vectors(scene, vector),
        vector("audit-other-history-kept", "a checkpoint of another history", lines, kept=other.note(size=4)),
    ]


def write(directory: Path) -> None:
    """Write every vector, replacing those that are there."""
    shutil.rmtree(directory, ignore_errors=True)
    scene = Scene()
    of_scene = (proof_vectors, checkpoint_vectors, schedule_vectors, release_vectors)
    for vector in (*(vector for made in of_scene for vector in made(scene)), *audit_vectors()):
        vector.write(directory)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
