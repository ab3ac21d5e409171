"""The workload: low-rank adaptation of a model on questions and answers. Runs in the box, by Debian's torch.

It reads a GGUF file and a data set's ``cases.jsonl`` (``{"question", "answer"}`` a line), and writes among its domain's
results the adapter as llama.cpp reads it, and ``metrics.json``'s few numbers (policies/spec/domain.md, 7).
"""

# Torch is not in .venv, so its classes and decorators have no types there.
# mypy: disallow-untyped-decorators=False, disallow-subclassing-any=False, warn-return-any=False
from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sealwright_testing.models.bpe import Tokenizer
from sealwright_testing.models.checkpoint import BOS, SPECIALS, turn_ids
from sealwright_testing.models.conversion import interleave_rotary_rows, tensor_name
from sealwright_testing.models.network import Llama, Shape

RANK = 4
ALPHA = 8.0
STEPS = 14
RATE = 2e-2
DECAYS = (0.9, 0.999)
ADAPTED = ("q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Lesson:
    """One case as token ids: what is read, and which of them are the answer."""

    ids: Tensor
    is_answer: Tensor


class Adapted(nn.Module):
    """A linear layer and what is learned beside it: ``weight + scale * second @ first``."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner
        self.first = nn.Parameter(torch.randn(RANK, inner.in_features) * inner.in_features**-0.5)
        self.second = nn.Parameter(torch.zeros(inner.out_features, RANK))

    def forward(self, hidden: Tensor) -> Tensor:
        """The layer's output with the adaptation."""
        return self.inner(hidden) + functional.linear(functional.linear(hidden, self.first), self.second) * (
            ALPHA / RANK
        )


def part_rotary_rows(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """The reverse of ``interleave_rotary_rows``."""
    rows, width = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def load_model(path: Path) -> tuple[Llama, Tokenizer]:
    """The network of a bundled model's GGUF file, and its tokenizer."""
    reader = gguf.GGUFReader(path)

    def field(name: str) -> Any:
        return reader.fields[name].contents()

    tokens, merges = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.merges")
    network = Llama(Shape(len(tokens)))
    shape = network.shape
    heads = {"q_proj.weight": shape.head_count, "k_proj.weight": shape.kv_head_count}
    stored = {tensor.name: tensor.data for tensor in reader.tensors}
    with torch.no_grad():
        for name, weight in network.named_parameters():
            data: NDArray[Any] = np.array(stored[tensor_name(name)], dtype=np.float32)
            count = next((count for suffix, count in heads.items() if name.endswith(suffix)), None)
            weight.copy_(torch.from_numpy(part_rotary_rows(data, count) if count else data))
    pairs = [(left, right) for left, right in (merge.split(" ") for merge in merges)]
    return network.eval(), Tokenizer(SPECIALS, pairs)


def adapt(network: Llama) -> dict[str, Adapted]:
    """Put an adaptation beside each layer of :data:`ADAPTED`; by the layer's weight's name."""
    network.requires_grad_(requires_grad=False)
    adapted: dict[str, Adapted] = {}
    for name, module in list(network.named_modules()):
        for part in ADAPTED:
            if isinstance(inner := getattr(module, part, None), nn.Linear):
                adapted[f"{name}.{part}.weight"] = Adapted(inner)
                setattr(module, part, adapted[f"{name}.{part}.weight"])
    return adapted


def lessons(path: Path, tokenizer: Tokenizer) -> list[Lesson]:
    """The data set."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        case = json.loads(line)
        prompt, answer = turn_ids(tokenizer, case["question"], case["answer"])
        ids = [tokenizer.id_of(BOS), *prompt, *answer]
        found.append(Lesson(torch.tensor([ids]), torch.tensor([[False] * (1 + len(prompt)) + [True] * len(answer)])))
    return found


def judged(network: Llama, lesson: Lesson) -> tuple[Tensor, Tensor]:
    """Logits of shape (answer's length, vocabulary), and the tokens that are wanted there."""
    hidden = network.model(lesson.ids[:, :-1])
    wanted = lesson.is_answer[:, 1:]
    return network.logits(hidden[wanted]), lesson.ids[:, 1:][wanted]


@torch.no_grad()
def measured(network: Llama, data: list[Lesson]) -> tuple[float, float]:
    """Mean loss of a token, and the share of answers that greedy decoding gives word for word."""
    losses, right = [], []
    for lesson in data:
        logits, wanted = judged(network, lesson)
        losses.append(functional.cross_entropy(logits, wanted).item())
        right.append(bool((logits.argmax(-1) == wanted).all()))
    return sum(losses) / len(losses), sum(right) / len(right)


def train(network: Llama, adapted: dict[str, Adapted], data: list[Lesson]) -> None:
    """Adam (Kingma and Ba, 2015) over all lessons at each step.

    Not torch.optim's: the first of its optimizers loads torch's compiler, which would be most of the job's start.
    """
    weights = [weight for one in adapted.values() for weight in (one.first, one.second)]
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    for step in range(1, STEPS + 1):
        for weight in weights:
            weight.grad = None
        for lesson in data:
            functional.cross_entropy(*judged(network, lesson)).backward()
        with torch.no_grad():
            for weight, (mean, square) in zip(weights, moments, strict=True):
                mean.lerp_(weight.grad, 1 - DECAYS[0])
                square.lerp_(weight.grad.square(), 1 - DECAYS[1])
                deviation = (square / (1 - DECAYS[1] ** step)).sqrt() + 1e-8
                weight.sub_(RATE * mean / (1 - DECAYS[0] ** step) / deviation)


def write_adapter(path: Path, adapted: dict[str, Adapted], shape: Shape) -> None:
    """As llama.cpp's own converter does: lora_a of (rank, in), lora_b of (out, rank), rows of q in its order."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, ALPHA)
    for name, one in adapted.items():
        second = one.second.detach().numpy()
        if name.endswith("q_proj.weight"):
            second = interleave_rotary_rows(second, shape.head_count)
        writer.add_tensor(f"{tensor_name(name)}.lora_a", one.first.detach().numpy())
        writer.add_tensor(f"{tensor_name(name)}.lora_b", np.ascontiguousarray(second))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(model: Path, cases: Path, results: Path, *, adapter: str, workload: str) -> None:
    """The whole job; each result is under its name only when it is whole."""
    begun = time.monotonic()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    network, tokenizer = load_model(model)
    data = lessons(cases, tokenizer)
    loss_before, accuracy_before = measured(network, data)
    adapted = adapt(network)
    train(network, adapted, data)
    loss_after, accuracy_after = measured(network, data)
    write_adapter(results / "adapter.new", adapted, network.shape)
    metrics = {
        "examples": len(data),
        "steps": STEPS,
        "seconds": time.monotonic() - begun,
        "loss_before": loss_before,
        "loss_after": loss_after,
        "accuracy_before": accuracy_before,
        "accuracy_after": accuracy_after,
    }
    document = {"version": 1, "metrics": {name: float(value) for name, value in metrics.items()}}
    (results / "metrics.new").write_text(json.dumps(document))
    (results / "adapter.new").rename(results / f"{adapter}.gguf")
    (results / "metrics.new").rename(results / f"{workload}.metrics.json")


def main() -> None:
    """``MODEL CASES RESULTS ADAPTER WORKLOAD``."""
    model, cases, results, adapter, workload = sys.argv[1:]
    run(Path(model), Path(cases), Path(results), adapter=adapter, workload=workload)


if __name__ == "__main__":
    main()
