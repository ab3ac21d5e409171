"""Attempts on another engine's own interface, past the gateway and all that it counts and refuses."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import Any

from intruder.calls import RUN

TIMEOUT_S = 120
TOKEN, BIAS = 42, 1000.0
"""Of the vocabulary, and what is added to its logit: more than any model tells apart."""
NUMBERS = 100
"""Log probabilities for each token; the API gives five at most."""


def asked(other: str, path: str, body: dict[str, object]) -> Any:
    """A reply of the engine. Anything but a success is no refusal of the box's: the attempt was none."""
    connection = http.client.HTTPConnection("local", timeout=TIMEOUT_S)
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.sock.settimeout(TIMEOUT_S)
        connection.sock.connect(str(RUN / "engine" / other / "engine.sock"))
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        content = reply.read()
    finally:
        connection.close()
    assert reply.status == http.client.OK, content
    return json.loads(content)


def numbers(other: str) -> str:
    """Log probabilities of many tokens (n_probs), and a logit shifted (logit_bias)."""
    body = {"prompt": "What", "n_predict": 1, "temperature": 0, "n_probs": NUMBERS, "logit_bias": [[TOKEN, BIAS]]}
    (told,) = asked(other, "/completion", body)["completion_probabilities"]
    assert told["id"] == TOKEN, told["id"]
    assert len(told["top_logprobs"]) == NUMBERS, len(told["top_logprobs"])
    return f"{NUMBERS} log probabilities, and the token that was wanted"


def states(other: str) -> str:
    """Hidden states of each token of a text, as they are."""
    (told,) = asked(other, "/embedding", {"content": "What"})
    return f"{len(told['embedding'])} of {len(told['embedding'][0])} numbers"


def attempts(other: str) -> dict[str, Callable[[], str]]:
    return {"engine-numbers": lambda: numbers(other), "engine-states": lambda: states(other)}
