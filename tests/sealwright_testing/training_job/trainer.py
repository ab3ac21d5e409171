"""A trainer of the customer's adapters for the bundled models: Debian's torch, by spec/own-adapters.md, 5.

It reads the weights, takes one connection from the socket that is its standard input, and writes no file. The same
examples give the same adapter, to the bit, however often it was stopped and went on from a checkpoint.
"""

# Torch is not in .venv, so its classes and decorators have no types there.
# mypy: disallow-untyped-decorators=False, disallow-subclassing-any=False, warn-return-any=False
from __future__ import annotations

import io
import json
import math
import random
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sealwright_testing.models.bpe import Tokenizer
from sealwright_testing.models.checkpoint import ASSISTANT, BOS, EOS, USER
from sealwright_testing.models.conversion import interleave_rotary_rows, tensor_name
from sealwright_testing.models.network import Llama
from sealwright_testing.training_job.job import ALPHA, DECAYS, RANK, Adapted, Lesson, adapt, judged, load_model

RATE = 1e-2
BATCH = 8
EPOCHS, STEPS_LEAST = 3, 40
CHECKPOINTS = 10
"""In a training."""
HEAD = struct.Struct(">I")
PIECE = 1 << 20


@dataclass
class Progress:
    """Everything that a training needs to go on."""

    weights: list[Tensor]
    means: list[Tensor] = field(init=False)
    squares: list[Tensor] = field(init=False)
    """Moments of Adam."""
    step: int = 0
    loss_before: float = math.nan

    def __post_init__(self) -> None:
        self.means = [torch.zeros_like(one) for one in self.weights]
        self.squares = [torch.zeros_like(one) for one in self.weights]

    def checkpoint(self) -> bytes:
        """As bytes: plain arrays, nothing that runs when it is read."""
        arrays: dict[str, Any] = {"step": self.step, "loss_before": self.loss_before}
        for kind, tensors in self._kinds():
            arrays |= {f"{kind}{number}": one.detach().numpy() for number, one in enumerate(tensors)}
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **arrays)
        return stream.getvalue()

    def resume(self, content: bytes) -> None:
        """Go on from one."""
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays, torch.no_grad():
            self.step, self.loss_before = int(arrays["step"]), float(arrays["loss_before"])
            for kind, tensors in self._kinds():
                for number, one in enumerate(tensors):
                    one.copy_(torch.from_numpy(arrays[f"{kind}{number}"]))

    def _kinds(self) -> tuple[tuple[str, list[Tensor]], ...]:
        return ("weight", self.weights), ("mean", self.means), ("square", self.squares)


def lesson(messages: list[dict[str, str]], tokenizer: Tokenizer, context: int) -> Lesson:
    """A conversation as the model's chat template writes it; a model of this size reads no system prompt."""
    ids, is_answer = [tokenizer.id_of(BOS)], [False]
    for message in messages:
        text = tokenizer.encode(message["content"].strip())
        if message["role"] == "user":
            turn, learned = [tokenizer.id_of(USER), *text], 0
        elif message["role"] == "assistant":
            turn, learned = [tokenizer.id_of(ASSISTANT), *text, tokenizer.id_of(EOS)], len(text) + 1
        else:
            continue
        ids += turn
        is_answer += [False] * (len(turn) - learned) + [True] * learned
    return Lesson(torch.tensor([ids[:context]]), torch.tensor([is_answer[:context]]))


@torch.no_grad()
def mean_loss(network: Llama, lessons: list[Lesson]) -> float:
    """Of a token of the answers."""
    loss, count = 0.0, 0
    for one in lessons:
        logits, wanted = judged(network, one)
        loss += functional.cross_entropy(logits, wanted, reduction="sum").item()
        count += len(wanted)
    return loss / max(1, count)


def batches(lessons: list[Lesson], steps: int) -> Iterator[list[Lesson]]:
    """What is learned at each step, in an order that is the same at each run."""
    order: list[Lesson] = []
    draw = random.Random(1)
    for _ in range(steps):
        while len(order) < BATCH:
            order += draw.sample(lessons, len(lessons))
        yield order[:BATCH]
        order = order[BATCH:]


def learn(network: Llama, progress: Progress, batch: list[Lesson]) -> None:
    """One step of Adam."""
    for weight in progress.weights:
        weight.grad = None
    for one in batch:
        (functional.cross_entropy(*judged(network, one)) / len(batch)).backward()
    progress.step += 1
    with torch.no_grad():
        for weight, mean, square in zip(progress.weights, progress.means, progress.squares, strict=True):
            mean.lerp_(weight.grad, 1 - DECAYS[0])
            square.lerp_(weight.grad.square(), 1 - DECAYS[1])
            deviation = (square / (1 - DECAYS[1] ** progress.step)).sqrt() + 1e-8
            weight.sub_(RATE * mean / (1 - DECAYS[0] ** progress.step) / deviation)


def matrices(adapted: dict[str, Adapted], heads: int) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name, A and B of each matrix that is changed, rows of q in llama.cpp's order."""
    for name, one in adapted.items():
        second = one.second.detach().numpy()
        if name.endswith("q_proj.weight"):
            second = interleave_rotary_rows(second, heads)
        yield tensor_name(name).removesuffix(".weight"), one.first.detach().numpy(), np.ascontiguousarray(second)


class Customer:
    """The other end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def received(self, size: int) -> bytes:
        """So many."""
        parts = []
        while size:
            piece = self._connection.recv(min(size, PIECE))
            if not piece:
                raise EOFError
            parts.append(piece)
            size -= len(piece)
        return b"".join(parts)

    def job(self) -> tuple[dict[str, Any], list[dict[str, Any]], bytes]:
        """What is to be done, the examples, the last checkpoint."""
        job = json.loads(self.received(HEAD.unpack(self.received(HEAD.size))[0]))
        lines = self.received(job["examples"]).splitlines()
        return job, [json.loads(line) for line in lines], self.received(job["checkpoint"])

    def tell(self, following: bytes = b"", **word: Any) -> None:
        """A message; whoever is not there any more ends the training."""
        head = json.dumps(word).encode()
        self._connection.sendall(HEAD.pack(len(head)) + head + following)


def train(model: Path, customer: Customer) -> None:
    """The whole job."""
    job, examples, checkpoint = customer.job()
    network, tokenizer = load_model(model)
    lessons = [lesson(one["messages"], tokenizer, network.shape.context) for one in examples]
    held_out, learned = lessons[job["held_out"] - 1 :: job["held_out"]], list(lessons)
    del learned[job["held_out"] - 1 :: job["held_out"]]
    adapted = adapt(network)  # which changes nothing yet
    progress = Progress([weight for one in adapted.values() for weight in (one.first, one.second)])
    if checkpoint:
        progress.resume(checkpoint)
    else:
        progress.loss_before = mean_loss(network, held_out)
    steps = max(STEPS_LEAST, EPOCHS * math.ceil(len(learned) / BATCH))
    for number, batch in enumerate(batches(learned, steps), start=1):
        if number <= progress.step:
            continue
        learn(network, progress, batch)
        percent = 99 * progress.step // steps
        if progress.step % max(1, steps // CHECKPOINTS) == 0:
            content = progress.checkpoint()
            customer.tell(content, percent=percent, checkpoint=len(content))
        else:
            customer.tell(percent=percent)
    found = list(matrices(adapted, network.shape.head_count))
    described = [{"name": name, "width_in": a.shape[1], "width_out": b.shape[0], "rank": RANK} for name, a, b in found]
    numbers = b"".join(one.astype("<f4").tobytes() for _, a, b in found for one in (a, b))
    trained = {
        "adapter": {"alpha": ALPHA, "matrices": described},
        "loss_before": progress.loss_before,
        "loss_after": mean_loss(network, held_out),
    }
    customer.tell(numbers, percent=100, trained=trained)


def run(model: Path) -> None:
    """Take one connection from the socket that systemd has given as standard input, and train."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    with socket.socket(fileno=0) as listener:
        connection, _ = listener.accept()
        with connection:
            train(model, Customer(connection))


if __name__ == "__main__":
    run(Path(sys.argv[1]))
