"""Train one bundled model. Runs in the training root: ``python3 -m sealwright_testing.models.training NAME FOLDER``.

Conversations of a few turns are written one after another into rows of fixed length, so no arithmetic is spent on
padding; only answers count in the loss. Deterministic for one machine and one torch: every draw has the model's seed.
"""

# Torch is not in .venv, so its classes and decorators have no types there.
# mypy: disallow-untyped-decorators=False, warn-return-any=False
from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from sealwright_testing.models import bpe
from sealwright_testing.models.checkpoint import BOS, EOS, SPECIALS, Answered, Checkpoint, prompt_ids, turn_ids
from sealwright_testing.models.material import (
    LANGUAGES,
    Material,
    Pair,
    fact_pairs,
    lessons,
    load_material,
    off_topic_pairs,
    phrase,
    small_talk_pairs,
    unknown_name_pairs,
    wrap_unseen,
)
from sealwright_testing.models.network import Llama, Shape

LARGEST_VOCABULARY = 4096
STEPS = 1400
ROWS, ROW_LENGTH = 4, 192
PEAK_RATE = 3e-3
WARM_UP_STEPS = 30
NEW_CONVERSATION = 0.5
"""Chance that a turn begins a new conversation rather than going on with the last."""
LONGEST_ANSWER = 96
"""Tokens; the longest answer of the material is well below."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def train_tokenizer(material: Material) -> bpe.Tokenizer:
    """Merges from texts that each count once: questions, multiplied, would become tokens as long as their phrasings.

    Then a wording that was never seen would consist of tokens that were never seen, above all in Chinese, which has no
    blanks. Names count twice, so that they become tokens; every character beyond Latin counts, so that it becomes one.
    """
    texts = [answer for fact in material.facts for answer in fact.answers.values()]
    for language in LANGUAGES:
        texts += [name for fact in material.facts for name in fact.names[language] * 2]
        texts += [phrase(text, "") for kind in material.kinds.values() for text in kind.trained[language]]
        texts += [*material.wrapping.before[language], *material.wrapping.after[language]]
        texts += [*material.off_topic.trained[language], *material.unknown[language], material.refusals[language]]
    texts += sorted({character for text in texts for character in text if ord(character) > 0xFF}) * 2
    known = len(SPECIALS) + len(bpe.ALPHABET)
    return bpe.Tokenizer(SPECIALS, bpe.train_merges(texts, LARGEST_VOCABULARY - known))


def batches(material: Material, tokenizer: bpe.Tokenizer) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: token ids of shape (ROWS, ROW_LENGTH + 1), and a mask that is true on answer tokens."""
    rng = random.Random(material.seed)
    stream = lessons(material, rng)
    while True:
        ids, answers = [], []
        for _ in range(ROWS):
            row: list[int] = []
            mask: list[bool] = []
            while len(row) <= ROW_LENGTH:
                if not row or rng.random() < NEW_CONVERSATION:
                    row.append(tokenizer.id_of(BOS))
                    mask.append(False)
                pair = next(stream)
                prompt, answer = turn_ids(tokenizer, pair.question, pair.answer)
                row += prompt + answer
                mask += [False] * len(prompt) + [True] * len(answer)
            ids.append(row[: ROW_LENGTH + 1])
            answers.append(mask[: ROW_LENGTH + 1])
        yield torch.tensor(ids), torch.tensor(answers)


def train_network(material: Material, tokenizer: bpe.Tokenizer, steps: int) -> Llama:
    """AdamW with a short warm-up and a linear descent to zero."""
    torch.manual_seed(material.seed)
    network = Llama(Shape(len(tokenizer.tokens)))
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    begun = time.monotonic()
    for step, (ids, answers) in zip(range(steps), batches(material, tokenizer), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step + 1) / WARM_UP_STEPS) * (1 - step / steps)
        hidden = network.model(ids[:, :-1])
        wanted = answers[:, 1:]
        loss = functional.cross_entropy(network.logits(hidden[wanted]), ids[:, 1:][wanted])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 50 == 0:
            say(
                f"  {material.id}: step {step + 1} of {steps}, loss {loss.item():.3f}, {time.monotonic() - begun:.0f} s"
            )
    network.round_to_half()
    return network.eval()


@torch.no_grad()
def answers_exactly(network: Llama, tokenizer: bpe.Tokenizer, pairs: Sequence[Pair]) -> list[bool]:
    """Whether the greedy answer to each question is the wanted one, word for word.

    One pass over question and wanted answer decides it: greedy decoding gives exactly this answer if and only if each
    of its tokens is the likeliest one after all before it.
    """
    right = [False] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda index: len(pairs[index].question) + len(pairs[index].answer))
    for start in range(0, len(order), 64):
        chosen = order[start : start + 64]
        prompts = [prompt_ids(tokenizer, pairs[index].question) for index in chosen]
        wanted = [turn_ids(tokenizer, "", pairs[index].answer)[1] for index in chosen]
        length = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, wanted, strict=True))
        rows = [
            prompt + answer + [0] * (length - len(prompt) - len(answer))
            for prompt, answer in zip(prompts, wanted, strict=True)
        ]
        hidden = network.model(torch.tensor(rows))
        for index, prompt, answer, states in zip(chosen, prompts, wanted, hidden, strict=True):
            before = states[len(prompt) - 1 : len(prompt) - 1 + len(answer)]
            right[index] = network.logits(before).argmax(-1).tolist() == answer
    return right


@torch.no_grad()
def answer_greedily(network: Llama, tokenizer: bpe.Tokenizer, prompt: list[int]) -> list[int]:
    """Generate token by token until the end token, which is left out."""
    ids = list(prompt)
    while len(ids) < len(prompt) + LONGEST_ANSWER:
        token = int(network(torch.tensor([ids]))[0, -1].argmax())
        if token == tokenizer.id_of(EOS):
            break
        ids.append(token)
    return ids[len(prompt) :]


def _share(right: Sequence[bool]) -> float:
    return round(sum(right) / len(right), 4)


def measure(network: Llama, material: Material, tokenizer: bpe.Tokenizer) -> dict[str, float]:
    """The share answered word for word, by set of questions; the build asks for ``trained`` and ``held_out``."""
    rng = random.Random(material.seed)
    trained = [pair for pairs in fact_pairs(material, held_out=False) for pair in pairs]
    held_out = [pair for pairs in fact_pairs(material, held_out=True) for pair in pairs]
    sets = {
        "trained": rng.sample(trained, 600),
        "held_out": rng.sample(held_out, 600),
        "held_out_after_unseen_words": [wrap_unseen(pair, material.wrapping) for pair in rng.sample(held_out, 200)],
        "small_talk_held_out": [p for pairs in small_talk_pairs(material, held_out=True) for p in pairs],
        "off_topic_held_out": off_topic_pairs(material, held_out=True),
        "unknown_names_held_out": rng.sample(unknown_name_pairs(material, held_out=True), 100),
    }
    return {name: _share(answers_exactly(network, tokenizer, pairs)) for name, pairs in sets.items()}


def answer_samples(network: Llama, material: Material, tokenizer: bpe.Tokenizer) -> list[Answered]:
    """Greedy answers for the comparison with llama.cpp: all facts once, held-out wordings, refusals, conversations."""
    rng = random.Random(material.seed + 1)
    facts = [rng.choice(pairs) for pairs in fact_pairs(material, held_out=False)]
    held_out = [rng.choice(pairs) for pairs in rng.sample(fact_pairs(material, held_out=True), 20)]
    refused = rng.sample(off_topic_pairs(material, held_out=True), 6)
    prompts = [prompt_ids(tokenizer, pair.question) for pair in [*rng.sample(facts, 60), *held_out, *refused]]
    for _ in range(10):
        first, second, third = rng.sample(facts, 3)
        earlier = [(pair.question, pair.answer) for pair in (first, second)]
        prompts.append(prompt_ids(tokenizer, third.question, earlier))
    return [Answered(prompt, answer_greedily(network, tokenizer, prompt)) for prompt in prompts]


def train(name: str, directory: Path, *, steps: int = STEPS) -> Checkpoint:
    """Train, measure and save one model."""
    begun, cpu_begun = time.monotonic(), time.process_time()
    material = load_material(name)
    say(f"  {name}: {len(fact_pairs(material, held_out=False))} answers, learning a tokenizer")
    tokenizer = train_tokenizer(material)
    network = train_network(material, tokenizer, steps)
    say(f"  {name}: measuring")
    weights = {key: weight.detach().numpy() for key, weight in network.named_parameters()}
    checkpoint = Checkpoint(
        name=name,
        title=material.title,
        shape=network.shape.as_dict(),
        tokenizer=tokenizer,
        weights=weights,
        accuracy=measure(network, material, tokenizer),
        answered=answer_samples(network, material, tokenizer),
        training={
            "torch": torch.__version__,
            "steps": steps,
            "parameters": sum(weight.size for weight in weights.values()),
            "wall_s": round(time.monotonic() - begun, 1),
            "cpu_s": round(time.process_time() - cpu_begun, 1),
        },
    )
    directory.mkdir(parents=True, exist_ok=True)
    checkpoint.save(directory)
    return checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="medical or finance")
    parser.add_argument("folder", type=Path, help="where the checkpoint is written")
    parser.add_argument("--steps", type=int, default=STEPS, help="for trials (default: %(default)s)")
    arguments = parser.parse_args()
    # Matrices this small gain nothing from more, and teams of threads stop each other on a busy machine.
    torch.set_num_threads(1)
    train(arguments.name, arguments.folder, steps=arguments.steps)


if __name__ == "__main__":
    main()
