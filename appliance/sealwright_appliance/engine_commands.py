"""How vLLM is started: its command line and environment. That of llama-server stands in sealwright-engine@.service."""

from __future__ import annotations

from pathlib import Path

from sealwright_appliance.engines import PARALLEL_REQUESTS

FAST_SHAPES = '{"backend": "xgrammar", "disable_any_whitespace": true}'
"""Of JSON that follows a schema: else a model may say blanks for ever, as llama.cpp's grammars do not let it."""


def vllm_command(
    model_id: str, model: Path, socket: Path, *, context: int, memory_share: float, at_once: int = PARALLEL_REQUESTS
) -> list[str]:
    """The command line.

    Args:
        model: a folder in Hugging Face's form.
        socket: all that it listens on.
        context: tokens of the longest request with its reply; 0: what the model was made for.
        memory_share: of the GPU's memory, for weights, working memory and keys and values together. vLLM takes all of
            that as it starts, so the shares of all engines of one GPU are at most 1.
        at_once: requests that are answered together.
    """
    longest = ["--max-model-len", str(context)] if context else []
    return [
        "vllm",
        "serve",
        str(model),
        "--uds",
        str(socket),
        "--served-model-name",
        model_id,
        *longest,
        "--max-num-seqs",
        str(at_once),
        "--gpu-memory-utilization",
        f"{memory_share:.2f}",
        # Sampling as the request says: a model's own defaults would be no part of what was asked.
        "--generation-config",
        "vllm",
        "--structured-outputs-config",
        FAST_SHAPES,
        "--disable-fastapi-docs",
        "--disable-uvicorn-access-log",
        "--uvicorn-log-level",
        "warning",
    ]


def vllm_environment(scratch: Path) -> dict[str, str]:
    """Variables besides the unit's own: nothing is fetched or told, and what is compiled lies in one folder.

    Args:
        scratch: which the engine may write to.
    """
    return {
        "HOME": str(scratch),
        "VLLM_CACHE_ROOT": str(scratch / "vllm"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }
