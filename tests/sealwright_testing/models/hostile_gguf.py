"""Model files that the build takes and that end llama-server as it loads them: whole headers that say what is not so.

Each has :data:`CANARY` in its name, its chat template and its tokens, so that a log that quotes the file is found.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gguf
from gguf import GGUFValue, GGUFValueType

from sealwright_testing.models.random_gguf import RandomShape, write_random_gguf

CANARY: Final = "canary-of-the-file"
TINY = RandomShape(width=64, feed_forward=128, layers=1, heads=2, kv_heads=1, vocabulary=300)
_DEEP = 100_000
"""Blocks within blocks, which a parser that calls itself follows until its stack is full."""


@dataclass(frozen=True, slots=True)
class HostileFile:
    """One way to end the loader."""

    change: Callable[[gguf.GGUFWriter], None]
    ends: int
    """As subprocess has it: below zero a signal, which kills; above, the program's own refusal."""

    def write(self, path: Path) -> None:
        """Make the file."""

        def marked(writer: gguf.GGUFWriter) -> None:
            _put(writer, "general.name", CANARY, GGUFValueType.STRING)
            tokens = writer.kv_data[0]["tokenizer.ggml.tokens"].value
            tokens[-1] = CANARY
            template = writer.kv_data[0]["tokenizer.chat_template"]
            template.value = CANARY + str(template.value)
            self.change(writer)

        write_random_gguf(path, TINY, change=marked)


def _put(writer: gguf.GGUFWriter, key: str, value: Any, kind: GGUFValueType, of: GGUFValueType | None = None) -> None:
    writer.kv_data[0][key] = GGUFValue(value, kind, of)


def _number(key: str, value: int) -> Callable[[gguf.GGUFWriter], None]:
    return lambda writer: _put(writer, key, value, GGUFValueType.UINT32)


def _deep_template(writer: gguf.GGUFWriter) -> None:
    text = "{% if 1 %}" * _DEEP + CANARY + "{% endif %}" * _DEEP
    _put(writer, "tokenizer.chat_template", text, GGUFValueType.STRING)


def _endless_tensor(writer: gguf.GGUFWriter) -> None:
    tensor = writer.tensors[0]["token_embd.weight"]
    tensor.shape = (2**40, *tensor.shape[1:])


def _tokens_of_numbers(writer: gguf.GGUFWriter) -> None:
    _put(writer, "tokenizer.ggml.tokens", [7] * TINY.vocabulary, GGUFValueType.ARRAY, GGUFValueType.UINT32)


HOSTILE: Final[Mapping[str, HostileFile]] = {
    "layers-without-end": HostileFile(_number("llama.block_count", 2**32 - 1), -signal.SIGABRT),
    "experts-without-end": HostileFile(_number("llama.expert_count", 2**31), -signal.SIGABRT),
    "template-too-deep": HostileFile(_deep_template, -signal.SIGSEGV),
    "tokens-of-numbers": HostileFile(_tokens_of_numbers, 1),
    "tensor-without-end": HostileFile(_endless_tensor, 1),
}
