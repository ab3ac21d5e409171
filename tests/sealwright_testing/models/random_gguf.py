"""Llamas of a real size with random weights, for measuring speed: ``python -m sealwright_testing.models.random_gguf``.

Q4_0, written tensor by tensor (memory: the largest one, 37 MB): one pool of random blocks is drawn and repeated. They
compute as much as a trained model of the same shape, and say nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from sealwright_testing.models.bpe import ALPHABET

BLOCK_WEIGHTS, BLOCK_BYTES = 32, 18
"""Q4_0: 32 weights of four bits behind one 16-bit scale."""
_POOL_BLOCKS = 1 << 18
"""4.5 MiB of random bytes."""
FIRST_TOKENS = ("<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)))
END = 2
LEAN = 40.0
_NIBBLE_SPREAD = 4.61
"""Standard deviation of a uniform nibble, -8 to 7."""

PLAIN_TEMPLATE = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}[assistant] "
TOOL_TEMPLATE = """\
{%- if tools %}{{- '<|im_start|>system\nYou may call functions:\n<tools>' }}
{%- for tool in tools %}{{- '\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\n</tools>\nA call is <tool_call>\n{"name": NAME, "arguments": OBJECT}\n</tool_call><|im_end|>\n' }}{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
{%- elif message.role == 'assistant' and message.tool_calls %}
{{- '<|im_start|>assistant' }}{%- if message.content %}{{- '\n' + message.content }}{%- endif %}
{%- for call in message.tool_calls %}
{{- '\n<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) }}
{{- '}\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
"""With functions and calls, in the way of Hermes and Qwen."""
CALL = "<tool_call>\n"
"""As the one token that random weights say: the engine's grammar leads them through the rest of the call."""


@dataclass(frozen=True, slots=True)
class RandomShape:
    width: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int = 32_000
    context: int = 2048
    template: str = PLAIN_TEMPLATE
    word: str | None = None
    """A token that the model says wherever it may say it and may not end."""
    pooling: gguf.PoolingType | None = None
    """How a text's hidden states become one embedding; None: the model gives none."""
    cut: str | None = None
    """Whose byte-pair tokenizer's way to cut a text it has, by llama.cpp's name; None: a SentencePiece tokenizer."""


SHAPES = {
    "201m": RandomShape(width=1024, feed_forward=2816, layers=12, heads=16, kv_heads=4),
    "1.1b": RandomShape(width=2048, feed_forward=5632, layers=22, heads=32, kv_heads=4),
}


@dataclass(frozen=True, slots=True)
class Matrix:
    name: str
    rows: int
    columns: int

    @property
    def size_bytes(self) -> int:
        return self.rows * self.columns // BLOCK_WEIGHTS * BLOCK_BYTES


def matrices(shape: RandomShape) -> list[Matrix]:
    """All quantised tensors of a Llama of this shape."""
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads
    found = [Matrix("token_embd.weight", shape.vocabulary, width), Matrix("output.weight", shape.vocabulary, width)]
    for layer in range(shape.layers):
        parts = {
            "attn_q": (width, width),
            "attn_k": (kv_width, width),
            "attn_v": (kv_width, width),
            "attn_output": (width, width),
            "ffn_gate": (shape.feed_forward, width),
            "ffn_up": (shape.feed_forward, width),
            "ffn_down": (width, shape.feed_forward),
        }
        found += [Matrix(f"blk.{layer}.{part}.weight", *size) for part, size in parts.items()]
    return found


def norms(shape: RandomShape) -> list[str]:
    """The names of the norm vectors."""
    return ["output_norm.weight"] + [
        f"blk.{layer}.{part}.weight" for layer in range(shape.layers) for part in ("attn_norm", "ffn_norm")
    ]


def parameter_count(shape: RandomShape) -> int:
    """All weights, norms included."""
    return sum(m.rows * m.columns for m in matrices(shape)) + len(norms(shape)) * shape.width


def vocabulary(size: int, word: str | None = None) -> tuple[list[str], list[gguf.TokenType]]:
    """A SentencePiece-like vocabulary: three control tokens, the bytes, ``word``, then invented words."""
    consonants, vowels = "bcdfghklmnprstvz", "aeiou"
    syllables = ["".join(letters) for letters in product(consonants, vowels, consonants)]
    words = ("\u2581" + first + second for first in ["", *syllables] for second in syllables)
    tokens = list(FIRST_TOKENS)
    types = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    tokens += [] if word is None else [word]
    tokens += [next(words) for _ in range(size - len(tokens))]
    return tokens, types + [gguf.TokenType.NORMAL] * (size - len(types))


def _leaning(shape: RandomShape, pool: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a layer adds to each hidden state, so that :attr:`RandomShape.word` is likely: rows of the output."""
    output = next(matrix for matrix in matrices(shape) if matrix.name == "output.weight")
    rows = _random_blocks(output, pool).reshape(output.rows, -1)
    end, word = gguf.dequantize(rows[[END, len(FIRST_TOKENS)]], gguf.GGMLQuantizationType.Q4_0)
    leaning: NDArray[np.float32] = LEAN * (1.5 * end + word).astype(np.float32)
    return leaning


def write_random_gguf(
    path: Path, shape: RandomShape, *, seed: int = 0, change: Callable[[gguf.GGUFWriter], None] | None = None
) -> None:
    """Write a model with random weights; the same bytes for the same shape and seed.

    Args:
        change: what else becomes of metadata and tensor table before they are written.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    writer = gguf.GGUFWriter(partial, "llama")
    _add_metadata(writer, shape)
    quantised, vectors = matrices(shape), norms(shape)
    for matrix in quantised:
        writer.add_tensor_info(
            matrix.name,
            [matrix.rows, matrix.columns // BLOCK_WEIGHTS * BLOCK_BYTES],
            np.dtype(np.uint8),
            matrix.size_bytes,
            raw_dtype=gguf.GGMLQuantizationType.Q4_0,
        )
    for name in vectors:
        writer.add_tensor_info(name, [shape.width], np.dtype(np.float32), 4 * shape.width)
    lean = None if shape.word is None else f"blk.{shape.layers - 1}.attn_output.bias"
    if lean is not None:
        writer.add_tensor_info(lean, [shape.width], np.dtype(np.float32), 4 * shape.width)
    if change is not None:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    pool = np.random.default_rng(seed).integers(0, 256, (_POOL_BLOCKS, BLOCK_BYTES), dtype=np.uint8)
    for matrix in quantised:
        writer.write_tensor_data(_random_blocks(matrix, pool))
    for _ in vectors:
        writer.write_tensor_data(np.ones(shape.width, np.float32))
    if lean is not None:
        writer.write_tensor_data(_leaning(shape, pool))
    writer.close()
    partial.rename(path)


def _random_blocks(matrix: Matrix, pool: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes of one matrix, its weights spread as training starts them: standard deviation 1 / sqrt(columns)."""
    blocks = np.resize(pool, (matrix.size_bytes // BLOCK_BYTES, BLOCK_BYTES))
    scale = np.float16(matrix.columns**-0.5 / _NIBBLE_SPREAD)
    blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    return blocks


def _add_metadata(writer: gguf.GGUFWriter, shape: RandomShape) -> None:
    writer.add_name("random weights")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    tokens, types = vocabulary(shape.vocabulary, shape.word)
    if shape.cut is None:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
    else:
        tokens[3:260] = [*ALPHABET, "aa"]
        types[3:260] = [gguf.TokenType.NORMAL] * 257
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(shape.cut)
        writer.add_token_merges(["a a"])
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(rank) for rank in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(END)
    writer.add_add_bos_token(True)
    writer.add_chat_template(shape.template)
    # The engine reads the beginning of a turn through the grammar of calls, which knows of no space before it.
    writer.add_add_space_prefix(shape.template == PLAIN_TEMPLATE)
    if shape.pooling is not None:
        writer.add_pooling_type(shape.pooling)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sealwright_testing.models.random_gguf", description=__doc__)
    parser.add_argument("shape", choices=sorted(SHAPES))
    parser.add_argument("path", type=Path)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    write_random_gguf(arguments.path, shape)
    size = arguments.path.stat().st_size
    print(f"{parameter_count(shape) / 1e6:.0f} M weights, {size / 1e6:.0f} MB: {arguments.path}", file=sys.stderr)


if __name__ == "__main__":
    main()
