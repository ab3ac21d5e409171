"""Nothing leaves the box: after a mixed run no prompt, document, data set, key or piece of a model is outside.

Outside is all that its owner can read without opening it: the console, the network, the whole disk, firmware variables
and the TPM's NV storage, what the box answers to those who ask about it, and what has come to the licence service. The
machine's memory is the control: there they are, and the same search finds them. The run begins with the first start of
a new box, so that the secrets of its activation are sought as well. What passes between boxes is sought in
vm/test_domain_flows, and what an adapter has learnt in vm/test_sealed_training.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from sealwright_testing import customer
from sealwright_testing.domain_texts import KEPT_DAYS
from sealwright_testing.redteam.canaries import forms, found_in, key_forms, weight_windows
from sealwright_testing.redteam.controls import control
from sealwright_testing.redteam.marked_models import mark_of
from sealwright_testing.redteam.network import call_in_clear, capture
from sealwright_testing.scene import Scene
from sealwright_testing.vendor import CommandError, command
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE, World

pytestmark = [pytest.mark.vm, pytest.mark.redteam, pytest.mark.long]

MEBIBYTE = 1 << 20
ROUNDS = 3
SHOWN = (
    ("status",),
    ("keys", "list"),
    ("metering", "show"),
    ("metering", "report"),
    ("outflow", "show"),
    ("release", "list"),
    ("domain", "list"),
    ("domain", "flows"),
    ("support", "preview"),
)
"""Commands of the customer that print what the box tells of itself."""


@dataclass(frozen=True, slots=True)
class Owned:
    """A box, what its console has said, and its customer's secrets."""

    box: VirtualBox
    placard: customer.Placard
    secrets: dict[str, Any]

    @property
    def api_key(self) -> str:
        """The administrator's."""
        return str(self.secrets["api_key"])

    @contextmanager
    def http(self, api_key: str = "") -> Iterator[httpx.Client]:
        """A client that nobody has written for such requests."""
        key = api_key or self.api_key
        with customer.plain_client(self.box, key, self.placard.tls_fingerprint) as client:
            yield client

    @contextmanager
    def openai(self, api_key: str = "") -> Iterator[openai.OpenAI]:
        """The client that programs have."""
        with customer.colleague(self.box, api_key or self.api_key, self.placard.tls_fingerprint) as client:
            yield client

    def administer(self, *words: str | Path) -> Any:
        """One of the administrator's commands."""
        return customer.administer(self.box, self.placard, self.api_key, *words)


def test_nothing_leaves_the_box(scene: Scene, tmp_path: Path) -> None:
    tag, sent_in_clear = (f"canary-{secrets.token_hex(12)}" for _ in range(2))
    outside = tmp_path / "outside"
    outside.mkdir()
    network = outside / "network.pcap"
    owned, wanted = activated(scene, dataclasses.replace(TEST_MACHINE, extra=capture(network)), tmp_path)
    wanted |= {"what is sent in": forms(tag.encode())}
    box = owned.box

    lasting = lay_data(owned, tag, tmp_path)
    wanted |= {"another API key": forms(lasting.encode())}
    for _ in range(ROUNDS):
        mixed_run(owned, lasting, tag, outside)
    keep_conversations(owned, tag)
    with streaming(owned, tag):
        memory = dump_memory(box, tmp_path / "memory")
    call_in_clear(box, sent_in_clear)
    (outside / "console").write_text(box.console.text)
    collect_answers(scene, owned, outside)
    box.power_off()

    marks, windows = weights(scene.world)
    inside = {"what is sent in", "API key", "another API key", *marks}
    # Of pieces of files some lie in memory as they are, and in no other form.
    in_memory = found_in(memory, wanted | marks | {name: frozenset({one}) for name, one in windows.items()})
    memory.unlink()
    control(in_memory >= inside, f"memory has {inside - in_memory} too")
    control(in_memory & windows.keys(), "memory has weights")
    control(found_in(network, {"in clear": forms(sent_in_clear.encode())}), "the network is heard")
    box.tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", box.disk, outside / "disk.raw")
    wanted |= marks | {name: forms(one) for name, one in windows.items()}
    for place in (outside, box.variables, box.tpm_state, scene.vendor.directory / "license"):
        assert found_in(place, wanted) == set(), place


def activated(scene: Scene, machine: Any, folder: Path) -> tuple[Owned, dict[str, frozenset[bytes]]]:
    """A new box that serves, and the secrets of its activation in all their forms: its memory has them as they wait."""
    box = scene.fresh_box(machine=machine).start()
    placard = customer.read_placard(box)
    customer.wait_for_https(box)
    issued = scene.vendor.issue_license()
    reply = customer.post_activation(box, placard.claim_code, issued.activation_code)
    assert reply.status_code == 200, reply.text
    handed = reply.json()
    wanted = {
        "API key": forms(handed["api_key"].encode()),
        "recovery key": forms(handed["recovery_key"].encode()),
        "customer key": key_forms(handed["customer_key_pem"]),
    }
    memory = dump_memory(box, folder / "memory")
    control(found_in(memory, wanted) == wanted.keys(), "memory has them")
    memory.unlink()
    owned = Owned(box, placard, handed)
    with owned.http() as client:
        acknowledged = client.post("/activation/acknowledgement", json={"claim_code": placard.claim_code})
        assert acknowledged.status_code == 200, acknowledged.text
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)
    return owned, wanted


def weights(world: World) -> tuple[dict[str, frozenset[bytes]], dict[str, bytes]]:
    """Of each model the string in its metadata, and pieces of its file."""
    marks = {f"mark of {one.payload_id}": forms(mark_of(one.payload_id).encode()) for one in world.models}
    return marks, {name: window for one in world.models for name, window in weight_windows(one.path).items()}


def lay_data(owned: Owned, tag: str, folder: Path) -> str:
    """A data set; a second key that stays, which is returned, and one that goes."""
    file = folder / "cohort-7.csv"
    file.write_text(f"id,finding\n7,{tag}\n" * 1000)
    owned.administer("domain", "import", "records", file)
    lasting, gone = (str(owned.administer("keys", "create", name)["api_key"]) for name in ("ward", "gone"))
    owned.administer("keys", "revoke", "gone")
    with owned.http(gone) as client:
        assert client.get("/v1/models").status_code == 401
    return lasting


def mixed_run(owned: Owned, lasting: str, tag: str, outside: Path) -> None:
    """Questions that are answered, refused, broken and cut off; the words of refusals are kept."""
    asked = {"model": "medical", "messages": [{"role": "user", "content": f"What is {tag}?"}], "max_tokens": 8}
    document = [{"role": "system", "content": f"Document: {tag}. " * 20}, {"role": "user", "content": "Sum it up."}]
    bodies = [
        asked,
        asked | {"messages": document},
        asked | {"stream": True},
        asked | {"model": "finance"},
        asked | {"model": tag},
        asked | {tag: 1},
        asked | {"temperature": tag},
        asked | {"messages": document * 500},
        asked | {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": tag}}}},
    ]
    with owned.http() as client:
        replies = [client.post("/v1/chat/completions", json=body) for body in bodies]
        replies += [
            client.post("/v1/chat/completions", content=json.dumps(asked)[:-1]),
            client.get(f"/v1/{tag}?{tag}={tag}", headers={"X-Patient": tag}),
            client.get("/v1/models", headers={"Authorization": f"Bearer {tag}"}),
            client.post("/v1/embeddings", json={"model": "medical", "input": [tag, tag * 2]}),  # made for no vectors
        ]
        with suppress(httpx.HTTPError):
            client.request(tag, "/v1/models")
        replies += use_documents(client, tag)
    with owned.http(lasting) as client:
        replies.append(client.post("/v1/completions", json={"model": "finance", "prompt": tag, "max_tokens": 8}))
    assert [reply.status_code for reply in [*replies[:2], *replies[-4:]]] == [200] * 6
    with streaming(owned, tag, lasting):
        time.sleep(0.1)  # it goes away in the midst of an answer
    refused = [reply.text for reply in replies if reply.status_code >= 400]
    assert len(refused) >= 6
    with (outside / "refusals").open("a") as file:
        file.write("\n".join(refused))


def use_documents(client: httpx.Client, tag: str) -> list[httpx.Response]:
    """One is brought, asked for, and deleted."""
    file = {"file": (f"{tag}.txt", f"The word is {tag}. " * 20)}
    brought = client.post("/v1/files", data={"purpose": "assistants"}, files=file)
    search = {"type": "file_search", "vector_store_ids": ["documents"]}
    question = {"model": "medical", "input": f"What of {tag}?", "tools": [search]}
    answered = client.post("/v1/responses", json=question)
    return [brought, answered, client.delete(f"/v1/files/{brought.json()['id']}")]


def keep_conversations(owned: Owned, tag: str) -> None:
    """One that stays, one that is deleted, and one that a domain lets nobody keep."""

    def chat(model: str) -> dict[str, object]:
        turns = [{"role": role, "model": model, "text": f"{tag} {role}"} for role in ("user", "assistant")]
        return {"title": tag, "turns": turns}

    with owned.http() as client:
        assert client.get("/conversations").json() == {"kept": {"medical": 0} | KEPT_DAYS, "conversations": []}
        first, second = (client.post("/conversations", json=chat("finance")).raise_for_status() for _ in range(2))
        assert client.get(f"/conversations/{first.json()['id']}").json()["title"] == tag
        client.delete(f"/conversations/{second.json()['id']}").raise_for_status()
        assert client.post("/conversations", json=chat("medical")).status_code == 403
        (kept,) = client.get("/conversations").json()["conversations"]
        assert kept["id"] == first.json()["id"]


@contextmanager
def streaming(owned: Owned, tag: str, api_key: str = "") -> Iterator[None]:
    """A question that is being answered."""
    with owned.openai(api_key) as client:
        chunks = client.chat.completions.create(
            model="medical", messages=[{"role": "user", "content": f"Who is {tag}?"}], max_tokens=400, stream=True
        )
        next(chunks)
        yield


def dump_memory(box: VirtualBox, target: Path) -> Path:
    """All of the machine's memory, as a cold boot would have it."""
    box.execute("pmemsave", val=0, size=box.machine.memory_mib * MEBIBYTE, filename=str(target))
    return target


def has_open_meter(ask: Callable[..., str]) -> bool:
    """The box opens it at its first look that finds the TPM free."""
    try:
        ask("metering", "show")
    except CommandError:
        return False
    return True


def collect_answers(scene: Scene, owned: Owned, outside: Path) -> None:
    """What the box tells of itself, to the customer and to whoever looks after it."""
    url, fingerprint = f"https://127.0.0.1:{owned.box.port}", owned.placard.tls_fingerprint

    def ask(*words: str) -> str:
        return command("sealwright-box", *words, url, "--fingerprint", fingerprint, typed=f"{owned.api_key}\n")

    owned.box.wait_until(lambda: has_open_meter(ask), "an open meter")
    for words in SHOWN:
        said = ask(*words)
        (outside / "-".join(words)).write_text(said)
    customer.verify(owned.box, owned.placard, scene.vendor)
    with owned.http() as client:
        (outside / "metrics").write_text(client.get("/metrics").raise_for_status().text)
