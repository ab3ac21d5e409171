"""A Llama in plain torch: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Weight names and the rotary layout (two halves of a head turn together) are those of Hugging Face checkpoints, so
``conversion`` has to reorder the rows of q and k as every GGUF converter does. Linear layers have no biases; the
embedding serves as output matrix too, so that answers name what was asked about after fewer steps.
"""

# Torch is not in .venv, so its classes and decorators have no types there.
# mypy: disallow-subclassing-any=False
from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a network; ``head_count * head_size`` need not be ``width``."""

    vocabulary: int
    width: int = 192
    feed_forward: int = 512
    layers: int = 3
    head_count: int = 6
    kv_head_count: int = 3
    head_size: int = 32
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-5
    context: int = 1024

    def as_dict(self) -> dict[str, int | float]:
        return asdict(self)


class Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.width, shape.head_count * shape.head_size, bias=False)
        self.k_proj = nn.Linear(shape.width, shape.kv_head_count * shape.head_size, bias=False)
        self.v_proj = nn.Linear(shape.width, shape.kv_head_count * shape.head_size, bias=False)
        self.o_proj = nn.Linear(shape.head_count * shape.head_size, shape.width, bias=False)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        batch, length, _ = hidden.shape

        def heads(projected: Tensor) -> Tensor:
            return projected.view(batch, length, -1, self.shape.head_size).transpose(1, 2)

        query = rotate(heads(self.q_proj(hidden)), cosine, sine)
        key = rotate(heads(self.k_proj(hidden)), cosine, sine)
        value = heads(self.v_proj(hidden))
        groups = self.shape.head_count // self.shape.kv_head_count
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(batch, length, -1))
        return out


def rotate(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn each pair (i, i + half) of a head by the angle of its position."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


class FeedForward(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down_proj = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        out: Tensor = self.down_proj(functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return out


class Norm(nn.Module):
    """Root-mean-square norm with a learned scale."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape.width))
        self.epsilon = shape.norm_epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.epsilon) * self.weight


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = Norm(shape)
        self.self_attn = Attention(shape)
        self.post_attention_layernorm = Norm(shape)
        self.mlp = FeedForward(shape)

    def forward(self, hidden: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), cosine, sine)
        out: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return out


class Decoder(nn.Module):
    """Embedding, layers and last norm: token ids of shape (batch, length) to hidden states."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape)
        frequencies = shape.rope_base ** (-torch.arange(0, shape.head_size, 2) / shape.head_size)
        angles = torch.outer(torch.arange(shape.context), frequencies)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        cosine, sine = self.get_buffer("cosine")[:length], self.get_buffer("sine")[:length]
        hidden: Tensor = self.embed_tokens(ids)
        for layer in self.layers:
            hidden = layer(hidden, cosine, sine)
        out: Tensor = self.norm(hidden)
        return out


class Llama(nn.Module):
    """The decoder with the embedding as output matrix; ``forward`` gives the logits of every position."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.model = Decoder(shape)
        depth_scale = 1 / math.sqrt(2 * shape.layers)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                nn.init.normal_(weight, std=0.02 if "embed" in name else weight.shape[1] ** -0.5)
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.data.mul_(depth_scale)

    def forward(self, ids: Tensor) -> Tensor:
        return self.logits(self.model(ids))

    def logits(self, hidden: Tensor) -> Tensor:
        """How likely each token is to come next, for hidden states of any leading shape."""
        return functional.linear(hidden, self.model.embed_tokens.weight)

    def round_to_half(self) -> None:
        """Round every matrix to 16 bits in place, as the GGUF file will hold it."""
        for weight in self.parameters():
            if weight.dim() == 2:
                weight.data.copy_(weight.data.half())
