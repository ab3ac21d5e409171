"""A GGUF of BERT's architecture that knows which words mean the same, because its tables were written that way.

A word's row is the vector of its concept; attention and feed-forward parts are zeros, so a text's vector is the mean of
its words'. It shows that vectors are made, kept and compared as they should be by the real engine with a real file of
this kind; how well trained models embed, it does not.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

WIDTH, FEED_FORWARD, CONTEXT = 64, 128, 512
CONTROL, NORMAL = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONCEPTS = (
    ("physician", "doctor", "clinician", "医"),
    ("pyrexia", "fever", "feverish", "烧"),
    ("juveniles", "child", "kid", "孩", "童"),
    ("vehicle", "car", "automobile", "车"),
    ("cafeteria", "lunch", "eat", "饭"),
    ("shuts", "closing", "close", "关"),
    ("blood", "gore", "血"),
    ("drug", "pill", "药"),
)
BESIDE = ("the", "a", "in", "of", "to", "my", "when", "does", "is", "at", "who", "for", "word", "passage", "query")
"""Words that mean nothing, as all words do that are not in the vocabulary."""


def write_concept_gguf(path: Path, *, seed: int = 0) -> None:
    """Write the model; another seed gives the concepts other vectors."""
    draw = np.random.default_rng(seed)
    tokens, rows = list(SPECIAL), [np.zeros(WIDTH, np.float32) for _ in SPECIAL]
    for words in CONCEPTS:
        meaning = draw.standard_normal(WIDTH).astype(np.float32)
        tokens += [f"\u2581{word}" for word in words]
        rows += [meaning] * len(words)
    tokens += [f"\u2581{word}" for word in BESIDE]
    rows += [np.zeros(WIDTH, np.float32) for _ in BESIDE]
    writer = gguf.GGUFWriter(path, "bert")
    _add_metadata(writer, tokens)
    for name, tensor in _tensors(np.stack(rows)).items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_metadata(writer: gguf.GGUFWriter, tokens: list[str]) -> None:
    writer.add_name("concepts")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL] * len(SPECIAL) + [NORMAL] * (len(tokens) - len(SPECIAL)))
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_uint32("tokenizer.ggml.cls_token_id", 2)
    writer.add_sep_token_id(3)
    writer.add_mask_token_id(4)


def _tensors(embeddings: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    def zeros(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    found = {
        "token_embd.weight": embeddings,
        "token_types.weight": zeros(2, WIDTH),
        "position_embd.weight": zeros(CONTEXT, WIDTH),
    }
    for part in ("q", "k", "v", "output"):
        found |= {f"blk.0.attn_{part}.weight": zeros(WIDTH, WIDTH), f"blk.0.attn_{part}.bias": zeros(WIDTH)}
    found |= {"blk.0.ffn_up.weight": zeros(FEED_FORWARD, WIDTH), "blk.0.ffn_up.bias": zeros(FEED_FORWARD)}
    found |= {"blk.0.ffn_down.weight": zeros(WIDTH, FEED_FORWARD), "blk.0.ffn_down.bias": zeros(WIDTH)}
    for norm in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        found |= {f"{norm}.weight": np.ones(WIDTH, np.float32), f"{norm}.bias": zeros(WIDTH)}
    return found
