"""Small Llamas with random weights as a folder in Hugging Face's form, which is what vLLM loads.

What they say means nothing and is the same each time. A greedy reply never ends by itself: the row of the end's token
is nothing, so some other token is always likelier.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sealwright_testing.models.bpe import ALPHABET
from sealwright_testing.models.random_gguf import PLAIN_TEMPLATE, RandomShape

END = "</s>"
BEGIN = "<s>"


def write_random_folder(folder: Path, shape: RandomShape, *, seed: int = 0) -> None:
    """Write ``config.json``, ``model.safetensors`` and the tokenizer; the same bytes for the same shape and seed."""
    folder.mkdir(parents=True)
    tokens = _vocabulary(shape.vocabulary)
    _write_json(folder / "config.json", _config(shape))
    _write_json(folder / "tokenizer.json", _tokenizer(tokens))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(shape))
    _write_tensors(folder / "model.safetensors", shape, np.random.default_rng(seed))


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")


def _config(shape: RandomShape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_size": shape.width,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.width // shape.heads,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }


def _vocabulary(size: int) -> list[str]:
    """Beginning and end, the bytes, then pairs of letters."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    pairs = [first + second for first in ("Ġ", *letters) for second in letters]
    tokens = [BEGIN, END, *ALPHABET, *pairs][:size]
    return tokens + [f"<unused{number}>" for number in range(size - len(tokens))]


def _tokenizer(tokens: list[str]) -> dict[str, Any]:
    merges = [list(token) for token in tokens[2 + len(ALPHABET) :] if len(token) == len("et")]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": at, "content": one, **special} for at, one in enumerate((BEGIN, END))],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {one: at for at, one in enumerate(tokens)}, "merges": merges},
    }


def _tokenizer_config(shape: RandomShape) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "model_max_length": shape.context,
        "chat_template": PLAIN_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }


def _tensors(shape: RandomShape) -> dict[str, tuple[int, ...]]:
    width, kv_width = shape.width, shape.width // shape.heads * shape.kv_heads
    found: dict[str, tuple[int, ...]] = {
        "lm_head.weight": (shape.vocabulary, width),
        "model.embed_tokens.weight": (shape.vocabulary, width),
        "model.norm.weight": (width,),
    }
    of_layer = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv_width, width),
        "self_attn.v_proj": (kv_width, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (shape.feed_forward, width),
        "mlp.up_proj": (shape.feed_forward, width),
        "mlp.down_proj": (width, shape.feed_forward),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    for layer in range(shape.layers):
        found |= {f"model.layers.{layer}.{name}.weight": size for name, size in of_layer.items()}
    return found


def _write_tensors(path: Path, shape: RandomShape, random: np.random.Generator) -> None:
    """In the form of safetensors: the header's length, the header, the numbers, of which a BF16 is the upper half of a
    32-bit one."""
    sizes, header, at = _tensors(shape), {}, 0
    for name, size in sizes.items():
        end = at + 2 * int(np.prod(size))
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for name, size in sizes.items():
            stream.write(_numbers(name, size, random).view(np.uint32).__rshift__(16).astype("<u2").tobytes())


def _numbers(name: str, size: tuple[int, ...], random: np.random.Generator) -> NDArray[np.float32]:
    if len(size) == 1:
        return np.ones(size, np.float32)
    made = random.standard_normal(size, np.float32) * np.float32(size[1] ** -0.5)
    if name == "lm_head.weight":
        made[:2] = 0
    return made
