"""Does llama.cpp give what torch gave? Same token ids for text, same greedy answers, right answers through the chat.

The comparison runs against llama-server as the image carries it, over its own API.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sealwright_policies.errors import OperationError
from sealwright_testing.llama import RunningLlama, running_llama
from sealwright_testing.models.bpe import Tokenizer
from sealwright_testing.models.checkpoint import Checkpoint
from sealwright_testing.models.material import LANGUAGES, Material, Pair, fact_pairs
from sealwright_testing.models.store import Sample

LEAST_SAME_ANSWERS = 0.98
"""16-bit activations may turn a near-tie in an answer that the model does not know; known ones do not turn."""
LONGEST_ANSWER = 96
SAMPLES_PER_LANGUAGE = 4

# Where byte-level tokenizers go wrong: contractions, runs of blanks, digits, marks, rare scripts, no-break spaces.
_HARD_TEXTS = (
    "it's we've they'll I'd I'm don't you're 'S 'sx ''s",
    "  two  blanks\tand\n\nlines \r\n end  ",
    " ",
    "\n",
    "3.14 1,000 10% ²³ ½ Ⅻ ٣٤",
    "naïve café e\u0301 Ω ß ﬁ",
    "高血压140/90毫米汞柱，“引号”。 全角　空格",
    "日本語 한국어 עברית العربية हिन्दी",
    "🙂👩‍⚕️ 🇨🇭",
    "a\u00a0b\u2009c\u200bd\u2028e\x1cf\x85g",
    "<|user|> is plain text here <|eos|>",
    "!!!...???——（）【】",
)


@dataclass(frozen=True, slots=True)
class Parity:
    """What was compared: texts with the same token ids, and answers that torch and llama.cpp share."""

    texts: int
    answers: int
    same_answers: int


def check_parity(checkpoint: Checkpoint, material: Material, model: Path) -> tuple[Parity, list[Sample]]:
    """Compare a GGUF with its checkpoint.

    Returns:
        What was compared, and questions in both languages with the answers given through the chat template.

    Raises:
        OperationError: llama.cpp splits a text otherwise, or answers otherwise than torch.
    """
    with running_llama(model) as llama:
        texts = list(sample_texts(material))
        for text in texts:
            _check_tokens(llama, checkpoint.tokenizer, text)
        same = sum(
            llama.complete(answered.prompt, limit=LONGEST_ANSWER) == answered.answer for answered in checkpoint.answered
        )
        parity = Parity(len(texts), len(checkpoint.answered), same)
        if same < LEAST_SAME_ANSWERS * len(checkpoint.answered):
            raise OperationError(f"llama.cpp repeats only {same} of torch's {len(checkpoint.answered)} greedy answers.")
        return parity, right_samples(llama, material)


def sample_texts(material: Material) -> Iterator[str]:
    """Texts for the comparison of tokenizers: hard ones, every answer, random strings of many scripts."""
    yield from _HARD_TEXTS
    for fact in material.facts:
        yield from fact.answers.values()
    rng = random.Random(material.seed)
    scripts = [range(0x20, 0x7F), range(0xA0, 0x250), range(0x370, 0x400), range(0x3000, 0x3030), range(0x4E00, 0x9FA5)]
    for _ in range(200):
        yield "".join(chr(rng.choice(rng.choice(scripts))) for _ in range(rng.randrange(1, 40)))


def _check_tokens(llama: RunningLlama, tokenizer: Tokenizer, text: str) -> None:
    theirs, ours = llama.tokenize(text), tokenizer.encode(text)
    if theirs != ours:
        raise OperationError(f"llama.cpp splits {text!r} into {theirs}, our tokenizer into {ours}.")


def right_samples(llama: RunningLlama, material: Material) -> list[Sample]:
    """Questions that are answered word for word through the chat template, languages in turn."""
    found: dict[str, list[Sample]] = {language: [] for language in LANGUAGES}
    for pairs in fact_pairs(material, held_out=False):
        pair: Pair = pairs[0]
        if len(found[pair.language]) < SAMPLES_PER_LANGUAGE and llama.ask(pair.question) == pair.answer:
            found[pair.language].append(Sample(pair.question, pair.answer))
    return [sample for samples in zip(*found.values(), strict=False) for sample in samples]
