"""Models and requests of `archipel bench exact`: random ones by size or family, and a directory.

Law: what is asked follows from (subject, index) alone, so that every process asks the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archipel.bench.contestants import workload_named
from archipel.engine.capacity import EngineLimits
from archipel.engine.engine import LocalEngine, Request
from archipel.engine.exact.forcing import Line, batches, force
from archipel.engine.exact.scoring import arithmetic_named
from archipel.engine.fused import FusedDecoder
from archipel.engine.noise import random_tokens, uniforms
from archipel.engine.sampler import Draw
from archipel.model.config import EXACT_FAMILIES, DecoderConfig, Family
from archipel.model.directory import expected_shapes, read_config, read_model
from archipel.model.tokenizer import Tokenizer, UnknownText
from archipel.work.calibration import shipped_text

SIZES = ("demo", "30m", "100m")
_SEED = 7
_SPREAD = 0.02
"""Of random weights."""
_LONGEST = 120


@dataclass(frozen=True)
class Subject:
    """A model."""

    name: str
    config: DecoderConfig
    state: Mapping[str, Tensor]
    """bf16."""
    text: tuple[int, ...] = ()
    """What prompts are cut from; without it, they are random tokens."""
    prompts: tuple[tuple[int, ...], ...] = ()
    """What the model is for, instead of either."""
    num_new: int = 48
    """Tokens of an answer to look at, as far as the model's positions allow."""
    older: Mapping[str, Tensor] | None = None
    """Weights one update before, if it was trained here."""


@dataclass(frozen=True)
class Answers:
    """Completions of equal length, (R, T) each."""

    tokens: np.ndarray
    logprobs: np.ndarray


def subject_named(name: str) -> Subject:
    """`demo`, `30m`, `100m`, a family (a small model of it), or the path of a model directory."""
    if name not in SIZES and name not in EXACT_FAMILIES:
        model = read_model(Path(name), torch.bfloat16)
        state = {key: weight.detach() for key, weight in model.named_parameters()}
        return Subject(Path(name).name, read_config(Path(name)), state, _text(Path(name)))
    config = workload_named(name).config if name in SIZES else _small(name)  # type: ignore[arg-type]  # one of EXACT_FAMILIES
    return Subject(name, config, _random(config))


def _random(config: DecoderConfig) -> dict[str, Tensor]:
    """Like fresh weights, but from numpy: torch draws other numbers where it may use fewer instructions."""
    draw = np.random.Generator(np.random.Philox(key=_SEED))
    state = {}
    for name, shape in expected_shapes(config).items():
        values = draw.standard_normal(shape, dtype=np.float32) * np.float32(_SPREAD)
        state[name] = torch.from_numpy(
            values + 1 if name.endswith("norm.weight") else values
        ).bfloat16()
    return state


def _text(path: Path) -> tuple[int, ...]:
    try:
        return tuple(Tokenizer.from_directory(path).encode(shipped_text(), parse_special=False))
    except UnknownText:
        return ()


def _small(family: Family) -> DecoderConfig:
    return DecoderConfig(
        family,
        vocab_size=320,
        hidden_size=96,
        num_layers=2,
        num_heads=6,
        num_kv_heads=2,
        head_dim=16,
        intermediate_size=200,
        max_position_embeddings=512,
    )


def engine_of(subject: Subject, kind: str) -> LocalEngine:
    """With the weights of the subject; `kind` is fp32, bf16 or a variant."""
    config = subject.config
    engine = LocalEngine(config, arithmetic=arithmetic_named(kind, config))
    engine.load(subject.state)
    return engine


def _prompt(subject: Subject, index: int, length: int) -> tuple[int, ...]:
    if subject.prompts:
        return subject.prompts[index % len(subject.prompts)]
    if len(subject.text) <= length:
        return random_tokens(_SEED, index, length, subject.config.vocab_size)
    start = index * 101 % (len(subject.text) - length)
    return subject.text[start : start + length]


def requests_of(
    subject: Subject, count: int, num_new: int, group: int = 1, prompt: int | None = None
) -> list[Request]:
    """Groups of rollouts, at temperature 1.

    prompt: tokens of each; else 1 to 120, as far as the model's positions allow.
    """
    most = min(_LONGEST, subject.config.max_position_embeddings - num_new)
    return [
        Request(
            key=str(i), prompt=_prompt(subject, i, prompt or 1 + i * 37 % most),
            seed=1000 + i, num_rollouts=group, max_new_tokens=num_new,
        )
        for i in range(count)
    ]  # fmt: skip


def answers_of(engine: LocalEngine, requests: list[Request]) -> Answers:
    """Generate, all together; a row for each rollout, group after group."""
    rollouts = [one for group in engine.generate(requests) for one in group]
    return Answers(
        np.array([each.tokens for each in rollouts]),
        np.array([each.logprobs for each in rollouts], dtype=np.float32),
    )


@torch.inference_mode()
def decoder_of(subject: Subject, kind: str) -> FusedDecoder:
    """What `recomputed` runs on; making it quantises the weights."""
    return FusedDecoder(subject.config, subject.state, arithmetic_named(kind, subject.config))


@torch.inference_mode()
def recomputed(
    subject: Subject,
    kind: str,
    requests: list[Request],
    given: np.ndarray,
    made: FusedDecoder | None = None,
) -> Answers:
    """What follows each token of `given` (R, T) by this arithmetic and noise: one prefill, no decoding."""
    decoder = made or decoder_of(subject, kind)
    owners = [(i, number) for i, each in enumerate(requests) for number in range(each.num_rollouts)]
    lines = [
        Line(i, requests[i].prompt, tuple(row))
        for (i, _), row in zip(owners, given.tolist(), strict=True)
    ]
    noise = uniforms(
        np.array([requests[i].seed for i, _ in owners], np.uint64),
        np.array([number for _, number in owners], np.uint64), given.shape[1],
    )  # fmt: skip
    found = Answers(np.zeros_like(given), np.zeros(given.shape, np.float32))
    first = 0
    for batch in batches(lines, decoder, EngineLimits()):

        def take(at: np.ndarray, places: np.ndarray, logits: Tensor, first: int = first) -> None:
            draw = Draw(torch.from_numpy(noise[at + first, places]).unsqueeze(1), None, None)
            tokens, logprobs = decoder.arithmetic.sample(logits, draw)
            found.tokens[at + first, places] = tokens.numpy()
            found.logprobs[at + first, places] = logprobs.numpy()

        force(decoder, batch, EngineLimits(), take)
        first += len(batch)
    return found
