"""Nothing leaves the box: after a mixed run no prompt, document, key or piece of a model is anywhere outside of it.

Outside is all that its owner can read without opening it: the console, the network, the whole disk, firmware variables
and the TPM's NV storage, what the box answers to those who ask about it, and what has come to the licence service. The
machine's memory is the control: there they are, and the same search finds them.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from sealwright_testing import customer
from sealwright_testing.domain_texts import KEPT_DAYS
from sealwright_testing.models import ModelStore
from sealwright_testing.redteam.canaries import forms, found_in, weight_windows
from sealwright_testing.redteam.controls import control
from sealwright_testing.scene import Scene
from sealwright_testing.vendor import CommandError, command
from sealwright_testing.virtual_box import VirtualBox
from sealwright_testing.world import TEST_MACHINE

pytestmark = [pytest.mark.vm, pytest.mark.redteam]

MEBIBYTE = 1 << 20
SHOWN = (
    ("status",),
    ("keys", "list"),
    ("metering", "show"),
    ("metering", "report"),
    ("outflow", "show"),
    ("release", "list"),
    ("support", "preview"),
)
"""Commands of the customer that print what the box tells of itself."""


def test_nothing_leaves_the_box(scene: Scene, tmp_path: Path) -> None:
    tag, sent_in_clear = (f"canary-{secrets.token_hex(12)}" for _ in range(2))
    texts = {"prompts and documents": forms(tag.encode())}
    windows = {name: window for path in models() for name, window in weight_windows(path).items()}
    weights = {name: frozenset({window}) for name, window in windows.items()}
    outside = tmp_path / "outside"
    outside.mkdir()
    network = outside / "network.pcap"
    capture = ("-object", f"filter-dump,id=dump,netdev=net0,maxlen=65535,file={network}")
    box = scene.activated_box(machine=dataclasses.replace(TEST_MACHINE, extra=capture)).start()
    box.expect("sealwright: state serving: ")
    customer.wait_for_https(box)

    mixed_run(scene, box, tag, outside)
    keep_conversations(scene, box, tag)
    with streaming(scene, box, tag):
        memory = dump_memory(box, tmp_path / "memory")
    call_in_clear(box, sent_in_clear)
    (outside / "console").write_text(box.console.text)
    collect_answers(scene, box, outside)
    box.power_off()

    in_memory = found_in(memory, texts | weights)
    memory.unlink()
    control(in_memory >= texts.keys(), "memory has what was sent in")
    control(in_memory & weights.keys(), "memory has weights")
    control(found_in(network, {"in clear": forms(sent_in_clear.encode())}), "the network is heard")
    box.tools.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", box.disk, outside / "disk.raw")
    for place in (outside, box.variables, box.tpm_state, scene.vendor.directory / "license"):
        assert found_in(place, texts | weights) == set(), place


def models() -> list[Path]:
    store = ModelStore.load()
    return [store.path(name) for name in store.names]


def mixed_run(scene: Scene, box: VirtualBox, tag: str, outside: Path) -> None:
    """Questions that are answered, refused, broken and cut off; the words of refusals are kept."""
    activated = scene.activated
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
    with customer.plain_client(box, activated.api_key, activated.placard.tls_fingerprint) as client:
        replies = [client.post("/v1/chat/completions", json=body) for body in bodies]
        replies += [
            client.post("/v1/chat/completions", content=json.dumps(asked)[:-1]),
            client.get(f"/v1/{tag}?{tag}={tag}", headers={"X-Patient": tag}),
            client.get("/v1/models", headers={"Authorization": f"Bearer {tag}"}),
        ]
        with suppress(httpx.HTTPError):
            client.request(tag, "/v1/models")
        file = {"file": (f"{tag}.txt", f"The word is {tag}. " * 20)}
        replies.append(client.post("/v1/files", data={"purpose": "assistants"}, files=file))
        search = {"type": "file_search", "vector_store_ids": ["documents"]}
        question = {"model": "medical", "input": f"What of {tag}?", "tools": [search]}
        replies.append(client.post("/v1/responses", json=question))
    assert [reply.status_code for reply in [*replies[:2], *replies[-2:]]] == [200, 200, 200, 200]
    refused = [reply.text for reply in replies if reply.status_code >= 400]
    assert len(refused) >= 6
    (outside / "refusals").write_text("\n".join(refused))


def keep_conversations(scene: Scene, box: VirtualBox, tag: str) -> None:
    """One that stays, one that is deleted, and one that a domain lets nobody keep."""
    activated = scene.activated

    def chat(model: str) -> dict[str, object]:
        turns = [{"role": role, "model": model, "text": f"{tag} {role}"} for role in ("user", "assistant")]
        return {"title": tag, "turns": turns}

    with customer.plain_client(box, activated.api_key, activated.placard.tls_fingerprint) as client:
        assert client.get("/conversations").json() == {"kept": {"medical": 0} | KEPT_DAYS, "conversations": []}
        first, second = (client.post("/conversations", json=chat("finance")).raise_for_status() for _ in range(2))
        assert client.get(f"/conversations/{first.json()['id']}").json()["title"] == tag
        client.delete(f"/conversations/{second.json()['id']}").raise_for_status()
        assert client.post("/conversations", json=chat("medical")).status_code == 403
        (kept,) = client.get("/conversations").json()["conversations"]
        assert kept["id"] == first.json()["id"]


@contextmanager
def streaming(scene: Scene, box: VirtualBox, tag: str) -> Iterator[None]:
    """A question that is being answered."""
    activated = scene.activated
    with customer.colleague(box, activated.api_key, activated.placard.tls_fingerprint) as client:
        chunks = client.chat.completions.create(
            model="medical", messages=[{"role": "user", "content": f"Who is {tag}?"}], max_tokens=400, stream=True
        )
        next(chunks)
        yield


def dump_memory(box: VirtualBox, target: Path) -> Path:
    """All of the machine's memory, as a cold boot would have it."""
    box.execute("pmemsave", val=0, size=box.machine.memory_mib * MEBIBYTE, filename=str(target))
    return target


def call_in_clear(box: VirtualBox, words: str) -> None:
    """Something that everybody on the network can read: the control of the capture."""
    with socket.create_connection(("127.0.0.1", box.port)) as client:
        client.sendall(f"GET /{words} HTTP/1.1\r\n\r\n".encode())
        with suppress(OSError):
            client.recv(4096)


def has_open_meter(ask: Callable[..., str]) -> bool:
    """The box opens it at its first look that finds the TPM free."""
    try:
        ask("metering", "show")
    except CommandError:
        return False
    return True


def collect_answers(scene: Scene, box: VirtualBox, outside: Path) -> None:
    """What the box tells of itself, to the customer and to whoever looks after it."""
    activated = scene.activated
    url, fingerprint = f"https://127.0.0.1:{box.port}", activated.placard.tls_fingerprint

    def ask(*words: str) -> str:
        return command("sealwright-box", *words, url, "--fingerprint", fingerprint, typed=f"{activated.api_key}\n")

    box.wait_until(lambda: has_open_meter(ask), "an open meter")
    for words in SHOWN:
        said = ask(*words)
        (outside / "-".join(words)).write_text(said)
    customer.verify(box, activated.placard, scene.vendor)
    with customer.plain_client(box, activated.api_key, fingerprint) as client:
        (outside / "metrics").write_text(client.get("/metrics").raise_for_status().text)
