"""Checkpoint to GGUF: architecture ``llama``, matrices in 16 bits, vectors in 32, tokenizer and chat template inside.

16 bits because greedy answers then equal torch's: the network is rounded to them before it is judged, and the files
are small anyway. Needs the ``gguf`` package; ``gguf``'s own specification names the keys and tensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from sealwright_testing.models.checkpoint import BOS, CHAT_TEMPLATE, EOS, Checkpoint

# No "output": llama.cpp then takes the embedding as output matrix.
_WHOLE_MODEL = {"model.embed_tokens": "token_embd", "model.norm": "output_norm"}
_OF_A_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def interleave_rotary_rows(weight: NDArray[np.floating[Any]], heads: int) -> NDArray[np.floating[Any]]:
    """Reorder the rows of q or k for llama.cpp, which turns neighbours (2i, 2i + 1) of a head, not (i, i + half).

    Args:
        weight: Shape (heads * head size, width), each head's two halves one after the other.
        heads: Number of heads: query heads for q, key heads for k.
    """
    rows, width = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, width).swapaxes(1, 2).reshape(rows, width)


def tensor_name(name: str) -> str:
    """The GGUF name of a weight."""
    stem = name.removesuffix(".weight")
    if stem in _WHOLE_MODEL:
        return f"{_WHOLE_MODEL[stem]}.weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{_OF_A_LAYER[part]}.weight"


def write_gguf(checkpoint: Checkpoint, path: Path) -> None:
    """Write the whole model."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer, checkpoint)
    _add_tokenizer(writer, checkpoint)
    rotary_heads = {"q_proj.weight": "head_count", "k_proj.weight": "kv_head_count"}
    for name, trained in checkpoint.weights.items():
        heads = next((count for suffix, count in rotary_heads.items() if name.endswith(suffix)), None)
        weight = interleave_rotary_rows(trained, int(checkpoint.shape[heads])) if heads else trained
        kind = np.float16 if weight.ndim == 2 else np.float32
        writer.add_tensor(tensor_name(name), np.ascontiguousarray(weight.astype(kind)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, checkpoint: Checkpoint) -> None:
    shape = checkpoint.shape
    writer.add_name(checkpoint.title)
    writer.add_license("CC0-1.0")
    writer.add_languages(["en", "zh"])
    writer.add_context_length(int(shape["context"]))
    writer.add_embedding_length(int(shape["width"]))
    writer.add_block_count(int(shape["layers"]))
    writer.add_feed_forward_length(int(shape["feed_forward"]))
    writer.add_head_count(int(shape["head_count"]))
    writer.add_head_count_kv(int(shape["kv_head_count"]))
    writer.add_key_length(int(shape["head_size"]))
    writer.add_value_length(int(shape["head_size"]))
    writer.add_rope_dimension_count(int(shape["head_size"]))
    writer.add_rope_freq_base(shape["rope_base"])
    writer.add_layer_norm_rms_eps(shape["norm_epsilon"])
    writer.add_vocab_size(int(shape["vocabulary"]))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def _add_tokenizer(writer: gguf.GGUFWriter, checkpoint: Checkpoint) -> None:
    tokenizer = checkpoint.tokenizer
    control = set(tokenizer.specials)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(list(tokenizer.tokens))
    writer.add_token_types(
        [gguf.TokenType.CONTROL if token in control else gguf.TokenType.NORMAL for token in tokenizer.tokens]
    )
    writer.add_token_merges([" ".join(pair) for pair in tokenizer.merges])
    writer.add_bos_token_id(tokenizer.id_of(BOS))
    writer.add_eos_token_id(tokenizer.id_of(EOS))
    # The chat template writes the beginning token itself.
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
