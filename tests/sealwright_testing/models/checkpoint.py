"""A trained model on disk, between the training root and the conversion: weights, tokenizer, what torch answered.

``weights.npz`` holds the matrices under their Hugging Face names; ``checkpoint.json`` the shape, the tokenizer and
torch's own greedy answers, which llama.cpp has to repeat.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sealwright_testing.models.bpe import Tokenizer

BOS, EOS, USER, ASSISTANT = SPECIALS = ("<|bos|>", "<|eos|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{{- '<|bos|>' -}}"
    "{%- for message in messages -%}"
    # A model of this size cannot follow instructions; a system prompt is read and left out.
    "{%- if message['role'] == 'system' -%}{%- set system = message['content'] -%}"
    "{%- elif message['role'] == 'user' -%}{{- '<|user|>' + message['content'] | trim -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- '<|assistant|>' + message['content'] | trim + '<|eos|>' -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


@dataclass(frozen=True, slots=True)
class Answered:
    """What torch answered greedily: the prompt's and the answer's token ids (without the end token)."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """``accuracy`` maps a set of questions to the share answered word for word, 0 to 1."""

    name: str
    title: str
    shape: dict[str, int | float]
    tokenizer: Tokenizer
    weights: Mapping[str, NDArray[np.float32]]
    accuracy: dict[str, float]
    answered: list[Answered]
    training: dict[str, Any]

    def save(self, directory: Path) -> None:
        """Write both files; the caller renames the folder when all is there."""
        np.savez(directory / "weights.npz", allow_pickle=False, **self.weights)
        texts = {
            "name": self.name,
            "title": self.title,
            "shape": self.shape,
            "merges": self.tokenizer.merges,
            "accuracy": self.accuracy,
            "answered": [asdict(answered) for answered in self.answered],
            "training": self.training,
        }
        (directory / "checkpoint.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Checkpoint:
        """Read what :meth:`save` wrote."""
        texts = json.loads((directory / "checkpoint.json").read_text(encoding="utf-8"))
        with np.load(directory / "weights.npz") as archive:
            weights = {name: archive[name] for name in archive.files}
        return cls(
            name=texts["name"],
            title=texts["title"],
            shape=texts["shape"],
            tokenizer=Tokenizer(SPECIALS, [(left, right) for left, right in texts["merges"]]),
            weights=weights,
            accuracy=texts["accuracy"],
            answered=[Answered(**answered) for answered in texts["answered"]],
            training=texts["training"],
        )


def turn_ids(tokenizer: Tokenizer, question: str, answer: str | None = None) -> tuple[list[int], list[int]]:
    """Token ids of one turn, without the beginning token: the prompt, and the answer with its end token."""
    prompt = [tokenizer.id_of(USER), *tokenizer.encode(question), tokenizer.id_of(ASSISTANT)]
    if answer is None:
        return prompt, []
    return prompt, [*tokenizer.encode(answer), tokenizer.id_of(EOS)]


def prompt_ids(tokenizer: Tokenizer, question: str, earlier: list[tuple[str, str]] | None = None) -> list[int]:
    """Token ids of a conversation up to the answer that is wanted, as the chat template writes it."""
    ids = [tokenizer.id_of(BOS)]
    for asked, answered in earlier or []:
        prompt, answer = turn_ids(tokenizer, asked, answered)
        ids += prompt + answer
    return ids + turn_ids(tokenizer, question)[0]
